"""Putting the files of a delivery into a writable session of the datastore."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import icechunk
import xarray as xr
import zarr

from ziggy_dask.datastore import Storage, unlike
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.items import write_dataset_item, write_file_item
from ziggy_dask.datastore.publication import sign
from ziggy_dask.datastore.readers.regular import Identity
from ziggy_dask.datastore.spelling import spelled
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.definitions import DataType, ModelType, Pipeline, ProductKind
from ziggy_dask.errors import DeliveryError, ZiggyError
from ziggy_dask.receipt.arrays import store_array
from ziggy_dask.receipt.content import Delivered, as_dataset
from ziggy_dask.receipt.models import ModelVersion, name_models
from ziggy_dask.receipt.sorting import (
    MODELS,
    SortedDelivery,
    SortedFile,
    refusal,
)

logger = logging.getLogger(__name__)


def store_delivery(
    sessions: Callable[[str], icechunk.Session],
    pipeline: Pipeline,
    directory: Path,
    delivery: SortedDelivery,
    *,
    origin: Mapping[str, Any],
    today: date,
    identities: Mapping[str, Identity] | None = None,
) -> tuple[str, ...]:
    """Write all files of a delivery into sessions, which are not committed here.

    Parameters
    ----------
    sessions
        Returns a writable session for what is at a path.
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
    identities
        The files that were checked, by name: nothing else is stored. None: nothing was
        checked.

    Returns
    -------
    tuple
        What there is to say about the files, e.g. what of them was not read.

    Raises
    ------
    DeliveryError
        If files can't be read, or don't fit their products; with the faults of all.
    """
    delivered = Delivered(directory, identities)
    faults: dict[str, str] = {}
    warnings: list[str] = []
    done: list[str] = []
    for (type_name, path), files in delivery.products.items():
        data_type = pipeline.types[type_name]
        storage = _storage(data_type)
        session = sessions(path)
        root = zarr.open_group(session.store, mode="a")
        for parent in _above(path):
            root.require_group(parent)
        stored = root.get(path)
        if isinstance(stored, zarr.Group) and (reason := unlike(stored, data_type)):
            reason = f"{reason}; give the data type another location"
            faults |= {file.name: reason for file in files}
            continue
        if data_type.kind is ProductKind.ARRAY and data_type.subtask:
            names, told = store_array(
                session, data_type, storage, path, files, delivered, faults
            )
        else:
            names, told = _store_items(
                session, data_type, storage, path, files, delivered, origin, faults
            )
        done += names
        warnings += told
        if names:
            _sign(session, path, data_type, origin)
    if faults:
        raise refusal(faults)
    _store_models(sessions, pipeline, delivered, delivery, origin=origin, today=today)
    _require_all_stored(delivery, done)
    return tuple(warnings)


def _require_all_stored(delivery: SortedDelivery, done: Sequence[str]) -> None:
    """Compare what was delivered with what was stored, file by file.

    Raises
    ------
    DeliveryError
        If a file was stored never, or twice.
    """
    counts = Counter(done)
    wrong = {
        file.name: f"was stored {counts[file.name]} times, instead of once"
        for file in delivery.files
        if counts[file.name] != 1
    }
    if wrong:
        raise refusal(wrong)


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


def _store_items(
    session: icechunk.Session,
    data_type: DataType,
    storage: Storage,
    path: str,
    files: Sequence[SortedFile],
    delivered: Delivered,
    origin: Mapping[str, Any],
    faults: dict[str, str],
) -> tuple[list[str], list[str]]:
    """Write each file as an item, or as the whole product; `faults` gets what is wrong.

    Returns
    -------
    list, list
        Names of the files that were stored, and what there is to say about them.
    """
    done, warnings = [], []
    for file in files:
        try:
            told = _store_item(
                session, data_type, storage, path, file, delivered, origin
            )
        except ZiggyError as error:
            faults[file.name] = str(error)
        except Exception as error:
            logger.exception("%s can't be stored", file.name)
            faults[file.name] = f"can't be stored: {type(error).__name__}: {error}"
        else:
            done.append(file.name)
            warnings += [f"{file.name}: {text}" for text in told]
    return done, warnings


def _store_item(
    session: icechunk.Session,
    data_type: DataType,
    storage: Storage,
    path: str,
    file: SortedFile,
    delivered: Delivered,
    origin: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write a file in place of one that is there; return what there is to say about it."""
    root = zarr.open_group(session.store, mode="a")
    is_whole = data_type.kind is ProductKind.ARRAY
    is_files = data_type.kind is ProductKind.FILE
    name = file.item if is_files else spelled(file.item)
    place = path if is_whole else f"{path}/{name}"
    if data_type.kind is ProductKind.FILE:
        _make_way(root, place)
        with delivered.as_item(file.name, file.item) as item:
            write_file_item(session, path, item, origin)
        return ()
    with delivered.open(data_type, file) as reading:
        _make_way(root, place)
        if is_whole:
            write_whole(session, path, as_dataset(data_type, reading), storage)
        elif isinstance(reading.content, xr.DataTree):
            write_dataset_item(session, path, file.item, reading.content, storage)
        else:
            content = as_dataset(data_type, reading)
            write_dataset_item(session, path, file.item, content, storage)
        return reading.warnings


def _make_way(root: zarr.Group, place: str) -> None:
    """Remove what is at a place, and make the groups above it."""
    if place in root:
        del root[place]
    for parent in _above(place):
        root.require_group(parent)


def _store_models(
    sessions: Callable[[str], icechunk.Session],
    pipeline: Pipeline,
    delivered: Delivered,
    delivery: SortedDelivery,
    *,
    origin: Mapping[str, Any],
    today: date,
) -> None:
    for model_type in pipeline.model_types:
        names = {
            Path(one.name).name: one.name
            for one in delivery.models
            if one.model_type == model_type.name
        }
        if not names:
            continue
        path = model_path(model_type.name)
        session = sessions(path)
        root = zarr.open_group(session.store, mode="a")
        before = model_versions(session, model_type.name)
        root.require_group(path)
        current = before[-1] if before else None
        versions = name_models(model_type, current, list(names), today)
        for version in versions:
            if f"{path}/{version.stored}" in root:
                raise DeliveryError(
                    f"the model '{path}/{version.stored}' is here already"
                )
            original = names[version.original]
            with delivered.as_item(original, version.stored) as item:
                write_file_item(session, path, item, origin)
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
    said = {
        "kind": data_type.kind.value,
        "dimension": data_type.subtask if data_type.kind is ProductKind.ARRAY else "",
        "data_type": data_type.name,
        **origin,
    }
    sign(session, group, said)


def _storage(data_type: DataType) -> Storage:
    return Storage(
        dimension=data_type.subtask,
        chunk=data_type.chunk,
        chunks=data_type.chunks,
        compression=data_type.compression,
        dtypes=data_type.dtypes,
    )


def _above(path: str) -> list[str]:
    """Return the groups above a path, outer ones first."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
