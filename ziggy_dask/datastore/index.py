"""What is in a snapshot: products, found by location."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import zarr

from ziggy_dask.datastore.encoding import stored_name
from ziggy_dask.datastore.files import keys_of, list_files
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.spelling import unspelled
from ziggy_dask.datastore.tree import ATTRIBUTE, is_empty
from ziggy_dask.definitions import DataType, Location, ProductKind
from ziggy_dask.errors import DatastoreError, MissingError


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
    planned: Labels | None
    """Items as its task counted them, also those that were never made; None if the product
    is one whole."""
    attributes: Mapping[str, Any]
    """Where it comes from: instance, task, node, unit of work, missing items."""


def find_products(
    session: icechunk.Session, location: Location, patterns: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield path and placeholder values of every product at a location, by path."""
    for path, group in find_directories(session, location, patterns):
        if ATTRIBUTE in group.attrs:
            yield path, location.match(path, patterns) or {}


def find_directories(
    session: icechunk.Session, location: Location, patterns: Mapping[str, str]
) -> list[tuple[str, zarr.Group]]:
    """Return path and group of every directory at a location, by path."""
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
    return found


def find_stored(
    session: icechunk.Session,
    data_type: DataType,
    patterns: Mapping[str, str],
    accepts: Callable[[Mapping[str, str]], bool],
) -> Iterator[tuple[str, dict[str, str], Labels | None, str]]:
    """Yield what is stored where products of a type are.

    Files are where they are, whoever put them there: every directory at the
    location of a file type counts as a product. Files in deeper directories are
    left out if `accepts` refuses the placeholder values of their paths.

    Yields
    ------
    tuple
        Path, placeholder values, items, and why it can't be read as such a product;
        empty: it can.
    """
    location = data_type.location
    for path, group in find_directories(session, location, patterns):
        if data_type.kind is not ProductKind.FILE and ATTRIBUTE not in group.attrs:
            continue
        values = location.match(path, patterns) or {}
        reason = unlike(group, data_type)
        labels = (
            stored_items(session, path, data_type, patterns, accepts)
            if not reason
            else None
        )
        yield path, values, labels, reason


def unlike(group: zarr.Group, data_type: DataType) -> str:
    """Return why what is stored in a group is not a product of a type; empty: it is one."""
    stored: Any = group.attrs.get(ATTRIBUTE)
    if stored is None:
        return ""
    return unlike_stored(group.path, stored["kind"], stored["dimension"], data_type)


def unlike_stored(path: str, kind: str, dimension: str, data_type: DataType) -> str:
    """Return why what is stored at a path is not a product of a type; empty: it is one."""
    if kind != data_type.kind.value:
        return (
            f"'{path}' is stored as kind {kind!r}, but the data type "
            f"{data_type.name!r} is of kind {data_type.kind.value!r}"
        )
    is_cut = data_type.kind is ProductKind.ARRAY and data_type.subtask
    if is_cut and dimension != data_type.subtask:
        return (
            f"'{path}' is stored with the subtask dimension "
            f"{dimension!r}, but the data type {data_type.name!r} has "
            f"{data_type.subtask!r}"
        )
    return ""


def stored_items(
    session: icechunk.Session,
    path: str,
    data_type: DataType,
    patterns: Mapping[str, str],
    accepts: Callable[[Mapping[str, str]], bool],
) -> Labels | None:
    """Return the items of a stored product; None if it is one whole.

    Raises
    ------
    MissingError
        If there is no product.
    DatastoreError
        If its labels can't tell its items apart.
    """
    if data_type.kind is ProductKind.FILE:
        files = list_files(session, path, data_type.file_pattern(patterns))
        return keys_of(one for one in files if accepts(one.values))
    return read_product(session, path).labels


def directory(session: icechunk.Session, path: str) -> dict[str, ProductKind | None]:
    """Return what lies directly below a path: kinds of products by name, in order.

    None stands for a directory that is not a product. Nothing lies below a path where
    there is neither a directory nor a product of files.
    """
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return {}
    origin: Any = group.attrs.get(ATTRIBUTE)
    if origin is not None and origin["kind"] != ProductKind.FILE.value:
        return {}
    found: dict[str, ProductKind | None] = {}
    for name, child in sorted(group.groups()):
        below: Any = child.attrs.get(ATTRIBUTE)
        found[name] = None if below is None else ProductKind(below["kind"])
    return found


def read_product(session: icechunk.Session, path: str) -> Product:
    """Return what there is at `path`.

    Raises
    ------
    MissingError
        If there is no product.
    DatastoreError
        If its labels can't tell its items apart.
    """
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        raise MissingError(f"the datastore has no product at '{path}'") from None
    attributes = group.attrs.get(ATTRIBUTE)
    if not isinstance(attributes, dict):
        raise MissingError(
            f"'{path}' in the datastore is not a product, but a directory"
        )
    kind = ProductKind(attributes["kind"])
    dimension = str(attributes["dimension"])
    planned = _labels(session, group, path, kind, dimension)
    labels = planned
    if planned is not None and "missing" in attributes:
        labels = planned.without(Labels.from_json(attributes["missing"]))
    return Product(
        path=path,
        kind=kind,
        dimension=dimension,
        labels=labels,
        planned=planned,
        attributes=attributes,
    )


def _labels(
    session: icechunk.Session,
    group: zarr.Group,
    path: str,
    kind: ProductKind,
    dimension: str,
) -> Labels | None:
    if kind is ProductKind.COLLECTION:
        return Labels.of(sorted(unspelled(key) for key in group.group_keys()))
    if kind is ProductKind.FILE:
        return Labels.of(sorted(_file_names(group)))
    if not dimension:
        return None
    try:
        return dimension_labels(session, group, path, dimension)
    except KeyError:
        raise DatastoreError(
            f"'{path}' in the datastore has no dimension {dimension!r}, along which its "
            "items should be"
        ) from None
    except DatastoreError as error:
        raise DatastoreError(f"'{path}' in the datastore: {error}") from error


def _file_names(group: zarr.Group) -> Iterator[str]:
    """Yield the paths of the files below a product, but not those of other products."""
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield name
        elif ATTRIBUTE not in member.attrs:
            yield from (f"{name}/{one}" for one in _file_names(member))


def dimension_labels(
    session: icechunk.Session, group: zarr.Group, path: str, dimension: str
) -> Labels:
    """Return the labels along a dimension, also of items that were never made."""
    stored = group.get(stored_name(dimension))
    if isinstance(stored, zarr.Array) and "units" not in stored.attrs:
        return Labels(np.asarray(stored[:]))
    return Labels(open_dataset(session, path)[dimension].values)
