"""Putting the files of a delivery into a writable session of the datastore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import icechunk
import xarray as xr
import zarr

from ziggy_dask.datastore import (
    FileItem,
    Labels,
    Storage,
    allocate,
    extend,
    misfit,
    read_file,
    read_layout,
    unlike,
    write_slice,
)
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.items import write_dataset_item, write_file_item
from ziggy_dask.datastore.repository import ATTRIBUTE
from ziggy_dask.definitions import DataType, ModelType, Pipeline, ProductKind
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt.models import ModelVersion, name_models
from ziggy_dask.receipt.sorting import MODELS, SortedDelivery, SortedFile

_AT_ONCE = 32
"""Files that are read, and held in memory, at the same time."""


def store_delivery(
    session: icechunk.Session,
    pipeline: Pipeline,
    directory: Path,
    delivery: SortedDelivery,
    *,
    origin: Mapping[str, Any],
    today: date,
) -> None:
    """Write all files of a delivery into a session, which is not committed here.

    Parameters
    ----------
    session
        Writable session.
    pipeline
        Definition with the data types and model types.
    directory
        The delivery.
    delivery
        What its files are.
    origin
        What each product says of where it comes from.
    today
        Date that names models.

    Raises
    ------
    DeliveryError
        If a file can't be read, or does not fit its product.
    """
    root = zarr.open_group(session.store, mode="a")
    for (type_name, path), files in delivery.products.items():
        data_type = pipeline.types[type_name]
        storage = _storage(data_type)
        for parent in _above(path):
            root.require_group(parent)
        stored = root.get(path)
        if isinstance(stored, zarr.Group) and (reason := unlike(stored, data_type)):
            raise DeliveryError(f"{reason}; give the data type another location")
        if data_type.kind is ProductKind.ARRAY and data_type.subtask:
            _store_array(session, data_type, storage, path, directory, files)
        else:
            _store_items(session, data_type, storage, path, directory, files, origin)
        _sign(session, path, data_type, origin)
    _store_models(session, pipeline, directory, delivery, origin=origin, today=today)


def model_versions(
    session: icechunk.Session, model_type: str
) -> tuple[ModelVersion, ...]:
    """Return the versions of a model type in a snapshot, in the order of import."""
    try:
        group = zarr.open_group(session.store, path=model_path(model_type), mode="r")
    except FileNotFoundError:
        return ()
    attributes: Any = group.attrs.get(ATTRIBUTE, {"versions": []})
    return tuple(ModelVersion(**one) for one in attributes["versions"])


def model_path(model_type: str) -> str:
    """Return where the versions of a model type are in the datastore."""
    return f"{MODELS}/{model_type}"


def _store_array(
    session: icechunk.Session,
    data_type: DataType,
    storage: Storage,
    path: str,
    directory: Path,
    files: Sequence[SortedFile],
) -> None:
    """Write items along the subtask dimension; those with known labels are replaced."""
    labels = Labels.of([one.item for one in files])
    layout = None
    if path in zarr.open_group(session.store, mode="r"):
        layout = read_layout(session, path, data_type.subtask)
        layout = extend(session, layout, labels)
    for one, content in _read_all(data_type, directory, files):
        piece = _item_dataset(data_type, one, content)
        if layout is None:
            allocate(session, path, piece, storage, labels)
            layout = read_layout(session, path, data_type.subtask)
        reason = misfit(layout, piece, 1)
        if reason:
            raise DeliveryError(
                f"the file {one.name!r} does not fit '{path}': {reason}"
            )
        assert layout.labels is not None
        position = layout.labels.positions(Labels.of([one.item]))[0]
        write_slice(layout, session, piece, int(position))


def _store_items(
    session: icechunk.Session,
    data_type: DataType,
    storage: Storage,
    path: str,
    directory: Path,
    files: Sequence[SortedFile],
    origin: Mapping[str, Any],
) -> None:
    root = zarr.open_group(session.store, mode="a")
    for one, content in _read_all(data_type, directory, files):
        is_whole = data_type.kind is ProductKind.ARRAY
        place = path if is_whole else f"{path}/{one.item}"
        if place in root:
            del root[place]
        for parent in _above(place):
            root.require_group(parent)
        if data_type.kind is ProductKind.FILE:
            _store_file(session, path, directory / one.name, one.item, origin)
        elif isinstance(content, FileItem):
            raise DeliveryError(_no_dataset(data_type))
        elif is_whole:
            write_whole(session, path, content, storage)
        else:
            write_dataset_item(session, path, one.item, content, storage)


def _store_models(
    session: icechunk.Session,
    pipeline: Pipeline,
    directory: Path,
    delivery: SortedDelivery,
    *,
    origin: Mapping[str, Any],
    today: date,
) -> None:
    root = zarr.open_group(session.store, mode="a")
    for model_type in pipeline.model_types:
        names = {
            Path(one.name).name: one.name
            for one in delivery.models
            if one.model_type == model_type.name
        }
        if not names:
            continue
        before = model_versions(session, model_type.name)
        path = model_path(model_type.name)
        root.require_group(path)
        current = before[-1] if before else None
        versions = name_models(model_type, current, list(names), today)
        for version in versions:
            if f"{path}/{version.stored}" in root:
                raise DeliveryError(
                    f"the model '{path}/{version.stored}' is here already"
                )
            original = directory / names[version.original]
            _store_file(session, path, original, version.stored)
        _sign_models(session, path, model_type, (*before, *versions), origin)


def _sign_models(
    session: icechunk.Session,
    path: str,
    model_type: ModelType,
    versions: Sequence[ModelVersion],
    origin: Mapping[str, Any],
) -> None:
    group = zarr.open_group(session.store, path=path, mode="a")
    group.attrs[ATTRIBUTE] = {
        "kind": ProductKind.FILE.value,
        "dimension": "",
        "data_type": model_type.name,
        "versions": [asdict(one) for one in versions],
        **origin,
    }


def _sign(
    session: icechunk.Session, path: str, data_type: DataType, origin: Mapping[str, Any]
) -> None:
    group = zarr.open_group(session.store, path=path, mode="a")
    group.attrs[ATTRIBUTE] = {
        "kind": data_type.kind.value,
        "dimension": data_type.subtask if data_type.kind is ProductKind.ARRAY else "",
        "data_type": data_type.name,
        **origin,
    }


def _read_all(
    data_type: DataType, directory: Path, files: Sequence[SortedFile]
) -> Iterator[tuple[SortedFile, xr.Dataset | FileItem]]:
    """Read files in threads, a few at a time, in order."""
    waiting = iter(files)
    with ThreadPoolExecutor(max_workers=4) as threads:
        while some := list(islice(waiting, _AT_ONCE)):
            paths = [directory / one.name for one in some]
            read = threads.map(
                lambda path: read_file(
                    data_type.reader, path, data_type.reader_options
                ),
                paths,
            )
            yield from zip(some, read, strict=True)


def _store_file(
    session: icechunk.Session,
    directory: str,
    path: Path,
    name: str,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Store a delivered file piece by piece."""
    try:
        write_file_item(session, directory, FileItem.from_path(path, name), origin)
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error


def _item_dataset(
    data_type: DataType, one: SortedFile, content: xr.Dataset | FileItem
) -> xr.Dataset:
    if isinstance(content, FileItem):
        raise DeliveryError(_no_dataset(data_type))
    dimension = data_type.subtask
    size = content.sizes.get(dimension)
    if size not in (None, 1):
        raise DeliveryError(
            f"the file {one.name!r} holds {size} items along {dimension!r}; as its name "
            "stands for one item, it can hold only one"
        )
    if size is None:
        content = content.expand_dims(dimension)
    return content.assign_coords({dimension: [one.item]})


def _no_dataset(data_type: DataType) -> str:
    return (
        f"the reader {data_type.reader!r} of {data_type.name!r} takes files as they are; "
        "give the data type 'kind: file', or another reader"
    )


def _storage(data_type: DataType) -> Storage:
    return Storage(
        dimension=data_type.subtask,
        chunk=data_type.chunk,
        chunks=data_type.chunks,
        compression=data_type.compression,
    )


def _above(path: str) -> list[str]:
    """Return the groups above a path, outer ones first."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
