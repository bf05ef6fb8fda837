"""The content of files: held in memory, on disk, or in the datastore.

What is not in memory is read in pieces when it is asked for, so that a file of any
size can be passed on, stored and copied in constant memory.
"""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ziggy_dask.datastore.atomic import replacing
from ziggy_dask.datastore.room import require_room
from ziggy_dask.errors import DatastoreError

PIECE_BYTES = 16 * 1024 * 1024
"""Size of the pieces in which files are read and stored."""

Piece = bytes | memoryview


class Content(ABC):
    """Bytes that may be somewhere else than in memory."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of bytes."""

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Yield all bytes in order, `PIECE_BYTES` at a time; the last piece may be short.

        Raises
        ------
        DatastoreError
            If the content is not what it was said to be, at the latest after the last
            piece.
        """

    @abstractmethod
    def part(self, start: int, stop: int) -> Piece:
        """Return the bytes from `start` to before `stop`."""

    def all(self, name: str) -> bytes:
        """Return all bytes, if this process has room for them.

        Parameters
        ----------
        name
            Name of the file, for the message.

        Raises
        ------
        MemoryError
            If there is no room; with the size, before anything is read.
        """
        require_room(
            self.size,
            f"the file {name!r}",
            "read it in pieces with pieces() or open(), or copy it with copy_to(path)",
        )
        whole = io.BytesIO()  # hands out its own buffer at the end, without a copy
        for piece in self.pieces():
            whole.write(piece)
        return whole.getvalue()

    def sha256(self) -> str:
        """Return the SHA-256, in hexadecimal digits."""
        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Held(Content):
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.data)

    def pieces(self) -> Iterator[Piece]:
        """Yield all bytes; nothing is copied."""
        if len(self.data) <= PIECE_BYTES:
            if self.data:
                yield self.data
            return
        view = memoryview(self.data)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]

    def part(self, start: int, stop: int) -> Piece:
        """Return the bytes from `start` to before `stop`."""
        return self.data[start:stop]

    def all(self, name: str) -> bytes:
        """Return all bytes, which are in memory anyway."""
        return self.data


@dataclass(frozen=True, slots=True)
class OnDisk(Content):
    """A file on disk, with the size that it had when it was looked at."""

    path: Path
    length: int

    @classmethod
    def at(cls, path: Path) -> OnDisk:
        """Return what a file holds now."""
        return cls(path, path.stat().st_size)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.length

    def pieces(self) -> Iterator[Piece]:
        """Yield all bytes, from one open file."""
        with self.path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            left = self.length
            while left:
                piece = _read(file, min(left, PIECE_BYTES))
                if not piece:
                    raise self._changed(self.length - left)
                left -= len(piece)
                yield piece
            if os.fstat(file.fileno()).st_size != self.length:
                raise self._changed(os.fstat(file.fileno()).st_size)

    def part(self, start: int, stop: int) -> Piece:
        """Return the bytes from `start` to before `stop`."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(min(stop, self.length) - start)

    def _changed(self, found: int) -> DatastoreError:
        return DatastoreError(
            f"{self.path}: changed while it was read: it had {self.length} bytes, and "
            f"now has {found}"
        )


def _read(file: io.FileIO, size: int) -> bytes:
    """Return so many bytes, or all that there are; files may give fewer at a time."""
    piece = file.read(size) or b""
    while piece and len(piece) < size:
        more = file.read(size - len(piece))
        if not more:
            break
        piece += more
    return piece


def opened(content: Content) -> BinaryIO:
    """Return a content as a file to read and to seek in."""
    return cast(BinaryIO, io.BufferedReader(_Stream(content)))


class _Stream(io.RawIOBase):
    """A content as a stream; holds the piece that was read last."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._place = 0
        self._piece: Piece = b""
        self._start = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought in."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position and return it."""
        starts = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._place,
            os.SEEK_END: self._content.size,
        }
        place = starts[whence] + offset
        if place < 0:
            raise ValueError(f"can't seek to {place}, before the first byte")
        self._place = place
        return place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or part of it; return how many bytes that are."""
        if self._place >= self._content.size:
            return 0
        first = self._place // PIECE_BYTES * PIECE_BYTES
        if not self._piece or first != self._start:
            stop = min(first + PIECE_BYTES, self._content.size)
            self._piece, self._start = self._content.part(first, stop), first
        offset = self._place - first
        data = memoryview(self._piece)[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def write_to(path: Path, content: Content) -> None:
    """Write a content into a file, whole or not at all: it gets its name at the end.

    Parameters
    ----------
    path
        The file; one that is there is replaced, its directory is made.
    content
        What to write.
    """
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:
        for piece in content.pieces():
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
