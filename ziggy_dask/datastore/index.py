"""What is in a snapshot: products, found by location."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import zarr

from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.repository import ATTRIBUTE
from ziggy_dask.definitions import Location, ProductKind
from ziggy_dask.errors import DatastoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product in a snapshot."""

    path: str
    """Where it is."""
    kind: ProductKind
    """How it is stored."""
    dimension: str
    """Subtask dimension; empty if there is none."""
    labels: Labels | None
    """Items that have data; None if the product is one whole."""
    attributes: Mapping[str, Any]
    """Where it comes from: instance, task, node, unit of work, missing items."""


def find_products(
    session: icechunk.Session, location: Location, patterns: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield path and placeholder values of every product at a location, by path."""
    root = zarr.open_group(session.store, mode="r") if not is_empty(session) else None
    found = [("", root)] if root is not None else []
    for depth in range(1, len(location.segments) + 1):
        start = Location("/".join(location.template.split("/")[:depth]))
        found = [
            (path, child)
            for above, group in found
            for name, child in sorted(group.groups())
            if start.match(path := f"{above}/{name}".lstrip("/"), patterns) is not None
        ]
    for path, group in found:
        if ATTRIBUTE in group.attrs:
            yield path, location.match(path, patterns) or {}


def is_empty(session: icechunk.Session) -> bool:
    """Tell whether nothing was ever stored in a snapshot."""
    try:
        zarr.open_group(session.store, mode="r")
    except FileNotFoundError:
        return True
    return False


def all_products(session: icechunk.Session) -> Iterator[str]:
    """Yield the paths of all products of a snapshot, in order."""
    if is_empty(session):
        return
    waiting = [("", zarr.open_group(session.store, mode="r"))]
    while waiting:
        path, group = waiting.pop()
        if ATTRIBUTE in group.attrs:
            yield path
            continue
        below = sorted(group.groups(), reverse=True)
        waiting.extend((f"{path}/{name}".lstrip("/"), child) for name, child in below)


def read_product(session: icechunk.Session, path: str) -> Product:
    """Return what there is at `path`.

    Raises
    ------
    DatastoreError
        If there is no product.
    """
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        raise DatastoreError(f"the datastore has no product at '{path}'") from None
    attributes = group.attrs.get(ATTRIBUTE)
    if not isinstance(attributes, dict):
        raise DatastoreError(
            f"'{path}' in the datastore is no product, but a directory"
        )
    kind = ProductKind(attributes["kind"])
    dimension = str(attributes["dimension"])
    return Product(
        path=path,
        kind=kind,
        dimension=dimension,
        labels=_labels(session, group, path, kind, dimension, attributes),
        attributes=attributes,
    )


def _labels(
    session: icechunk.Session,
    group: zarr.Group,
    path: str,
    kind: ProductKind,
    dimension: str,
    attributes: Mapping[str, Any],
) -> Labels | None:
    if kind is ProductKind.COLLECTION:
        return Labels.of(sorted(group.group_keys()))
    if kind is ProductKind.FILE:
        return Labels.of(sorted(group.array_keys()))
    if not dimension:
        return None
    labels = _dimension_labels(session, group, path, dimension)
    if "missing" in attributes:
        return labels.without(Labels.from_json(attributes["missing"]))
    return labels


def _dimension_labels(
    session: icechunk.Session, group: zarr.Group, path: str, dimension: str
) -> Labels:
    stored = group.get(dimension)
    if isinstance(stored, zarr.Array) and "units" not in stored.attrs:
        return Labels(np.asarray(stored[:]))
    return Labels(open_dataset(session, path)[dimension].values)
