"""Products made of items: collections of Datasets, and files byte for byte."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import icechunk
import numpy as np
import xarray as xr
import zarr
from numcodecs import Zstd
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync

from ziggy_dask.datastore.allocation import ZSTD_LEVEL, Storage, write_whole
from ziggy_dask.datastore.content import (
    PIECE_BYTES,
    Content,
    Held,
    OnDisk,
    Piece,
    opened,
    write_to,
)
from ziggy_dask.datastore.encoding import ENCODING
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.room import SMALLER, require_room
from ziggy_dask.datastore.spelling import spelled, unspelled
from ziggy_dask.datastore.stores import store_to_write
from ziggy_dask.errors import DatastoreError, MissingError

_AT_ONCE_BYTES = 1024 * 1024
"""Stored files that are smaller are read when they are looked up."""
_GROUPS = "groups"
"""Where the group of a tree says in which order those below it come."""
_OF_CONTENT = ("file_name", "media_type", "sha256")
"""What a stored file says of its content; the rest is where it comes from."""


@dataclass(frozen=True, init=False, eq=False)
class FileItem:
    """A file as it is kept in the datastore; its content may be read when it is asked for.

    Parameters
    ----------
    name
        File name.
    data
        Content.
    media_type
        Media type, e.g. ``image/png``; empty: guessed from the name.
    content
        Content that is somewhere else than in memory, in place of `data`.

    Examples
    --------
    A file of any size under another name, without holding it:

    >>> from dataclasses import replace
    >>> raw = FileItem(name="a.raw", data=b"0123")
    >>> replace(raw, name="a.copy").size
    4
    """

    name: str
    """File name, without directories."""
    media_type: str
    """Media type, e.g. ``image/png``; empty: guessed from the name."""
    content: Content = field(repr=False)
    """Where its bytes are."""

    def __init__(
        self,
        *,
        name: str,
        data: bytes | None = None,
        media_type: str = "",
        content: Content | None = None,
    ) -> None:
        if data is not None:
            content = Held(bytes(data))
        if content is None:
            raise TypeError(f"the file {name!r} needs 'data' or 'content'")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "media_type", media_type)
        object.__setattr__(self, "content", content)

    @classmethod
    def from_path(cls, path: str | Path, name: str = "") -> FileItem:
        """Return a file on disk, which is read when it is stored.

        Parameters
        ----------
        path
            The file; it must stay as it is until it is stored.
        name
            File name; empty: that of the path.
        """
        place = Path(path)
        return cls(name=name or place.name, content=OnDisk.at(place))

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.content.size

    @property
    def data(self) -> bytes:
        """All bytes.

        Raises
        ------
        MemoryError
            If this process has no room for them; before anything is read.
        """
        return self.content.all(self.name)

    def pieces(self) -> Iterator[Piece]:
        """Yield all bytes in order, 16 MiB at a time.

        Raises
        ------
        DatastoreError
            If they are not those that were stored, at the latest after the last piece.
        """
        return self.content.pieces()

    def open(self) -> BinaryIO:
        """Return the content as a file, to read and to seek in."""
        return opened(self.content)

    def copy_to(self, path: str | Path) -> Path:
        """Write the content into a file, piece by piece; return its path."""
        write_to(Path(path), self.content)
        return Path(path)

    def __eq__(self, other: object) -> bool:
        """Tell whether name, media type and all bytes are the same."""
        if not isinstance(other, FileItem):
            return NotImplemented
        same = (self.name, self.media_type, self.size) == (
            other.name,
            other.media_type,
            other.size,
        )
        return same and self.content.sha256() == other.content.sha256()

    def __hash__(self) -> int:
        return hash((self.name, self.media_type, self.size))


class Files(Mapping[str, bytes]):
    """Stored files by name; each is read when it is asked for.

    Parameters
    ----------
    session
        Where they are read from.
    path
        The directory.
    names
        Their paths below it.
    """

    def __init__(
        self, session: icechunk.Session, path: str, names: Sequence[str]
    ) -> None:
        self._session = session
        self._path = path
        self._names = dict.fromkeys(names)

    def item(self, name: str) -> FileItem:
        """Return a file that is read in pieces, or when its ``data`` are asked for."""
        if name not in self._names:
            raise KeyError(name)
        return read_file_item(self._session, self._path, name)

    def origin(self, name: str) -> dict[str, Any]:
        """Return what a file says of where it comes from, such as its task."""
        place = f"{self._path}/{name}"
        said = dict(zarr.open_array(self._session.store, path=place, mode="r").attrs)
        return {key: value for key, value in said.items() if key not in _OF_CONTENT}

    def __getitem__(self, name: str) -> bytes:
        return self.item(name).data

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{len(self)} files in {self._path!r}: {', '.join(list(self)[:5])}>"


def write_dataset_item(
    session: icechunk.Session,
    path: str,
    name: str,
    dataset: xr.Dataset | xr.DataTree,
    storage: Storage,
) -> None:
    """Write one item of a collection: a Dataset, or a tree of them in groups."""
    if isinstance(dataset, xr.Dataset):
        write_whole(session, f"{path}/{spelled(name)}", dataset, storage)
        return
    for below, node in dataset.subtree_with_keys:
        parts = [spelled(part) for part in below.split("/") if part != "."]
        place = "/".join([path, spelled(name), *parts])
        write_whole(session, place, node.to_dataset(inherit=False), storage)
        if len(node.children) > 1:
            group = zarr.open_group(session.store, path=place, mode="a")
            told: Any = group.attrs[ENCODING]
            group.attrs[ENCODING] = {**told, _GROUPS: list(map(spelled, node.children))}


def open_dataset_item(
    session: icechunk.Session, path: str, name: str
) -> xr.Dataset | xr.DataTree:
    """Open one item of a collection lazily: a Dataset, or a tree of them."""
    place = f"{path}/{spelled(name)}"
    top = open_dataset(session, place)
    group = zarr.open_group(session.store, path=place, mode="r")
    groups = {
        key: one for key, one in group.members(None) if isinstance(one, zarr.Group)
    }
    if not groups:
        return top
    nodes = {"/": top}
    for key in _in_order({"": group, **groups}):
        name = "/".join(map(unspelled, key.split("/")))
        nodes[name] = open_dataset(session, f"{place}/{key}")
    return xr.DataTree.from_dict(nodes)


def _in_order(groups: Mapping[str, zarr.Group], above: str = "") -> Iterator[str]:
    """Yield the paths of groups below one, outer ones first, as they were when written."""
    below = [key for key in groups if key and key.rpartition("/")[0] == above]
    told: Any = groups[above].attrs.get(ENCODING, {})
    order: Sequence[str] = told.get(_GROUPS, ())  # earlier versions did not tell
    known = {name: place for place, name in enumerate(order)}
    names = sorted(key.rpartition("/")[2] for key in below)
    for name in sorted(names, key=lambda name: known.get(name, len(known))):
        key = f"{above}/{name}".strip("/")
        yield key
        yield from _in_order(groups, key)


def read_dataset_item(
    session: icechunk.Session, path: str, name: str
) -> xr.Dataset | xr.DataTree:
    """Read one item of a collection into memory.

    Raises
    ------
    MemoryError
        If this process has no room for it; before anything is read.
    """
    item = open_dataset_item(session, path, name)
    require_room(item.nbytes, f"the item {name!r} of '{path}'", SMALLER)
    return item.load()


def item_names(session: icechunk.Session, path: str) -> list[str]:
    """Return the names of the items of a collection, sorted."""
    group = zarr.open_group(session.store, path=path, mode="r")
    return sorted(unspelled(key) for key in group.group_keys())


def write_file_item(
    session: icechunk.Session,
    path: str,
    item: FileItem,
    origin: Mapping[str, Any] | None = None,
) -> str:
    """Write one file into a directory, with its media type and SHA-256; return the latter.

    Nothing but the file itself is written, not even the directory, so that the
    forks of many writers merge. A large file is read, compressed and written piece by
    piece.

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

    Raises
    ------
    DatastoreError
        If the content changes while it is read.
    """
    attributes = {
        "file_name": item.name.rpartition("/")[2],
        "media_type": item.media_type or media_type(item.name),
        "sha256": "",
        **(origin or {}),
    }
    store, place = store_to_write(session), f"{path}/{item.name}"
    size = item.size
    chunk = max(1, min(size, PIECE_BYTES))
    if size <= PIECE_BYTES:
        data = b"".join(item.pieces())
        attributes["sha256"] = hashlib.sha256(data).hexdigest()
        pieces = {"zarr.json": _metadata(size, chunk, attributes)}
        if data:
            pieces["c/0"] = _compressor.encode(data)
        sync(_store(store, place, pieces))
        return str(attributes["sha256"])
    sync(_store(store, place, {"zarr.json": _metadata(size, chunk, attributes)}))
    attributes["sha256"] = _write_pieces(store, place, item)
    sync(_store(store, place, {"zarr.json": _metadata(size, chunk, attributes)}))
    return str(attributes["sha256"])


def _write_pieces(store: icechunk.IcechunkStore, place: str, item: FileItem) -> str:
    """Write the pieces of a file; return its SHA-256.

    A piece is compressed and written while the next one is read and summed up.
    """
    found = hashlib.sha256()
    waiting: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=2) as threads:
        for number, piece in enumerate(item.pieces()):
            if len(waiting) == 2:
                waiting.pop(0).result()
            waiting.append(threads.submit(_write_piece, store, place, number, piece))
            found.update(piece)
        for writing in waiting:
            writing.result()
    return found.hexdigest()


def _write_piece(
    store: icechunk.IcechunkStore, place: str, number: int, piece: Piece
) -> None:
    if len(piece) < PIECE_BYTES:  # the last one: stored chunks are of one size
        piece = bytes(piece).ljust(PIECE_BYTES, b"\0")
    sync(_store(store, place, {f"c/{number}": _compressor.encode(piece)}))


_compressor = Zstd(level=ZSTD_LEVEL, checksum=True)


def _metadata(size: int, chunk: int, attributes: Mapping[str, Any]) -> bytes:
    """Return the metadata of an array of bytes, of Zarr's format 3."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [size],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes"},
            {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": True}},
        ],
        "attributes": dict(attributes),
        "storage_transformers": [],
    }
    return json.dumps(metadata).encode()


async def _store(
    store: icechunk.IcechunkStore, path: str, pieces: Mapping[str, bytes]
) -> None:
    for key, data in pieces.items():
        await store.set(f"{path}/{key}", Buffer.from_bytes(data))


def read_file_item(session: icechunk.Session, path: str, name: str) -> FileItem:
    """Look up a file of a product; a large one is read when it is asked for.

    Raises
    ------
    MissingError
        If there is none.
    DatastoreError
        If a small one does not match the checksum that was stored with it; a large one
        raises it when it is read.
    """
    place = f"{path}/{name}"
    try:
        array, values = sync(_look_up(session.store, place))
    except FileNotFoundError:
        raise MissingError(f"the datastore has no file '{place}'") from None
    except RuntimeError as error:  # the checksum of a chunk is wrong
        raise corrupt(place) from error
    sum_ = str(array.attrs.get("sha256"))
    content: Content = Stored(session, place, int(array.shape[0]), sum_)
    if values is not None:
        content = Held(np.asarray(values).tobytes())
        if content.sha256() != sum_:
            raise corrupt(place)
    return FileItem(
        name=name.rpartition("/")[2],
        content=content,
        media_type=str(array.attrs["media_type"]),
    )


async def _look_up(store: icechunk.IcechunkStore, path: str) -> tuple[Any, Any]:
    """Return the array of a file, and its bytes if they are few; one wait for both."""
    array = await zarr.api.asynchronous.open_array(store=store, path=path, mode="r")
    if array.shape[0] > _AT_ONCE_BYTES:
        return array, None
    return array, await array.getitem(slice(None))


def corrupt(place: str) -> DatastoreError:
    """Return the error of a file whose bytes are not those that were stored."""
    return DatastoreError(f"file {place} in the datastore is corrupt")


@dataclass(frozen=True, slots=True)
class Stored(Content):
    """A file in the datastore."""

    session: icechunk.Session
    path: str
    length: int
    sum: str

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.length

    def pieces(self) -> Iterator[Piece]:
        """Yield all bytes; the next piece is read while one is used."""
        array = self._array()
        found = hashlib.sha256()
        with ThreadPoolExecutor(max_workers=1) as thread:
            ahead = thread.submit(self._read, array, 0)
            for following in range(PIECE_BYTES, self.length + PIECE_BYTES, PIECE_BYTES):
                piece = ahead.result()
                if following < self.length:
                    ahead = thread.submit(self._read, array, following)
                found.update(piece)
                yield piece
        if found.hexdigest() != self.sum:
            raise corrupt(self.path)

    def part(self, start: int, stop: int) -> Piece:
        """Return the bytes from `start` to before `stop`."""
        return self._read(self._array(), start, stop)

    def _array(self) -> zarr.Array[Any]:
        return zarr.open_array(self.session.store, path=self.path, mode="r")

    def _read(self, array: zarr.Array[Any], start: int, stop: int = 0) -> Piece:
        try:
            values = np.asarray(array[start : stop or start + PIECE_BYTES])
        except RuntimeError as error:  # the checksum of a chunk does not match
            raise corrupt(self.path) from error
        return np.ascontiguousarray(values).data


def media_type(file_name: str) -> str:
    """Return the media type that the ending of a file name tells of."""
    return mimetypes.guess_type(file_name)[0] or "application/octet-stream"
