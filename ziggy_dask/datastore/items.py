"""Products made of items: collections of Datasets, and files byte for byte."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from numcodecs import Zstd
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync

from ziggy_dask.datastore.allocation import Storage, write_whole
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.stores import store_to_write
from ziggy_dask.errors import DatastoreError, MissingError

_FILE_CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileItem:
    """A file as it is kept in the datastore."""

    name: str
    """File name, without directories."""
    data: bytes
    """Content."""
    media_type: str = ""
    """Media type, e.g. ``image/png``; empty: guessed from the name."""


def write_dataset_item(
    session: icechunk.Session,
    path: str,
    name: str,
    dataset: xr.Dataset,
    storage: Storage,
) -> None:
    """Write one Dataset of a collection."""
    write_whole(session, f"{path}/{name}", dataset, storage)


def read_dataset_item(session: icechunk.Session, path: str, name: str) -> xr.Dataset:
    """Read one Dataset of a collection into memory."""
    return open_dataset(session, f"{path}/{name}").load()


def write_file_item(
    session: icechunk.Session,
    path: str,
    item: FileItem,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write one file into a directory, with its media type and SHA-256.

    Nothing but the file itself is written, not even the directory, so that the
    forks of many writers merge.

    Parameters
    ----------
    session
        A fork, or a writable session.
    path
        The directory.
    item
        The file; its name may have directories of its own.
    origin
        What it says of where it comes from.
    """
    chunk = max(1, min(len(item.data), _FILE_CHUNK_BYTES))
    attributes = {
        "file_name": item.name.rpartition("/")[2],
        "media_type": item.media_type or media_type(item.name),
        "sha256": hashlib.sha256(item.data).hexdigest(),
        **(origin or {}),
    }
    metadata = _metadata(len(item.data), chunk, attributes)
    pieces = {"zarr.json": json.dumps(metadata).encode()}
    for number, start in enumerate(range(0, len(item.data), chunk)):
        piece = item.data[start : start + chunk].ljust(chunk, b"\0")
        pieces[f"c/{number}"] = _compressor.encode(piece)
    sync(_store(store_to_write(session), f"{path}/{item.name}", pieces))


_compressor = Zstd(level=0)


def _metadata(size: int, chunk: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an array of bytes, of Zarr's format 3."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [size],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes"},
            {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
        ],
        "attributes": dict(attributes),
        "storage_transformers": [],
    }


async def _store(
    store: icechunk.IcechunkStore, path: str, pieces: Mapping[str, bytes]
) -> None:
    for key, data in pieces.items():
        await store.set(f"{path}/{key}", Buffer.from_bytes(data))


def read_file_item(session: icechunk.Session, path: str, name: str) -> FileItem:
    """Read one file of a product.

    Raises
    ------
    DatastoreError
        If there is none, or its content does not match the checksum that was
        stored with it.
    """
    try:
        attributes, values = sync(_read(session.store, f"{path}/{name}"))
    except FileNotFoundError:
        raise MissingError(f"the datastore has no file '{path}/{name}'") from None
    data = np.asarray(values).tobytes()
    if hashlib.sha256(data).hexdigest() != attributes.get("sha256"):
        raise DatastoreError(f"file {path}/{name} in the datastore is corrupt")
    return FileItem(
        name=name.rpartition("/")[2],
        data=data,
        media_type=str(attributes["media_type"]),
    )


async def _read(store: icechunk.IcechunkStore, path: str) -> tuple[Any, Any]:
    """Return attributes and bytes of a file; one wait for both."""
    array = await zarr.api.asynchronous.open_array(store=store, path=path, mode="r")
    return array.attrs, await array.getitem(slice(None))


def media_type(file_name: str) -> str:
    """Return the media type that the ending of a file name tells of."""
    return mimetypes.guess_type(file_name)[0] or "application/octet-stream"
