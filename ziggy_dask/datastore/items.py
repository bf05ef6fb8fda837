"""Products made of items: collections of Datasets, and files byte for byte."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.core.buffer import Buffer
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ziggy_dask.datastore.allocation import Storage, write_whole
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.errors import DatastoreError

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
    data = np.frombuffer(item.data, dtype="u1")
    stored: dict[str, Buffer] = {}
    array = zarr.create_array(
        MemoryStore(stored),
        shape=data.shape,
        chunks=(max(1, min(data.size, _FILE_CHUNK_BYTES)),),
        dtype="u1",
        attributes={
            "file_name": item.name.rpartition("/")[2],
            "media_type": item.media_type or media_type(item.name),
            "sha256": hashlib.sha256(item.data).hexdigest(),
            **(origin or {}),
        },
    )
    if data.size:
        array[:] = data
    for key, value in stored.items():
        sync(session.store.set(f"{path}/{item.name}/{key}", value))


def read_file_item(session: icechunk.Session, path: str, name: str) -> FileItem:
    """Read one file of a product.

    Raises
    ------
    DatastoreError
        If there is none, or its content does not match the checksum that was
        stored with it.
    """
    try:
        array = zarr.open_array(session.store, path=f"{path}/{name}", mode="r")
    except FileNotFoundError:
        raise DatastoreError(f"the datastore has no file '{path}/{name}'") from None
    data = np.asarray(array[:]).tobytes()
    if hashlib.sha256(data).hexdigest() != array.attrs.get("sha256"):
        raise DatastoreError(f"file {path}/{name} in the datastore is corrupt")
    return FileItem(
        name=name.rpartition("/")[2],
        data=data,
        media_type=str(array.attrs["media_type"]),
    )


def media_type(file_name: str) -> str:
    """Return the media type that the ending of a file name tells of."""
    return mimetypes.guess_type(file_name)[0] or "application/octet-stream"
