"""Files that are far larger than they look: refused before they fill the memory.

A few kilobytes can stand for many gigabytes: by compression, by holes, or by values that were
never written. Real data shrink by a factor of two to twenty, masks by a hundred; what comes
from far beyond was not made by an instrument.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import xarray as xr

from ziggy_dask.datastore.items import FileItem
from ziggy_dask.errors import DeliveryError

HARMLESS_BYTES = 256 * 1024 * 1024
"""So much may come out of any file, in bytes."""
COMPRESSED_RATIO = 100
"""Beyond that, a compressed file, or one with holes, may stand for so many times its own size."""
DECLARED_RATIO = 2000
"""Likewise a file whose values were never written."""
_BLOCK = 1024 * 1024
_MAGIC: tuple[tuple[bytes, Callable[[Path], Any], float], ...] = (
    (b"\x1f\x8b", gzip.GzipFile, 1032),
    (b"BZh", bz2.BZ2File, inf),
    (b"\xfd7zXZ\x00", lzma.LZMAFile, inf),
)
"""How compressed files begin (RFC 1952, and the descriptions of bzip2 and xz), and how many
times its own size such a file can stand for at most."""


def require_bounded(path: Path) -> None:
    """Refuse a file that has too many holes, or out of which too much comes.

    Raises
    ------
    DeliveryError
        With what it stands for; at most `HARMLESS_BYTES`, or the ratio, are tried out.
    """
    if path.is_dir():
        return
    status = path.stat()
    require_no_holes(path, status)
    with path.open("rb") as stream:
        head = stream.read(8)
    for magic, opened, most_times in _MAGIC:
        if head.startswith(magic) and status.st_size * most_times > HARMLESS_BYTES:
            most = max(HARMLESS_BYTES, COMPRESSED_RATIO * status.st_size)
            _require_less(path, opened, most, status.st_size)


def require_no_holes(path: Path, status: os.stat_result) -> None:
    """Refuse a file that is nearly all holes, before it is read for hours.

    Parameters
    ----------
    path
        The file, for the message.
    status
        What the system says of it.

    Raises
    ------
    DeliveryError
        With its size, and how much of it there is.
    """
    taken = status.st_blocks * 512
    if status.st_size > max(HARMLESS_BYTES, COMPRESSED_RATIO * taken):
        raise DeliveryError(
            f"{path}: has {status.st_size} bytes, of which {taken} are on disk; a file "
            "that is nearly all holes is not read"
        )


def _require_less(
    path: Path, opened: Callable[[Path], Any], most: int, size: int
) -> None:
    total = 0
    try:
        with opened(path) as stream:
            while total <= most and (block := stream.read(_BLOCK)):
                total += len(block)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return  # it is damaged, which the reader tells
    if total > most:
        raise DeliveryError(
            f"{path}: its {size} bytes expand to more than {most}; a file that expands "
            f"more than {COMPRESSED_RATIO} times is not read; deliver it uncompressed"
        )


def require_declared(path: Path, content: xr.Dataset | xr.DataTree | FileItem) -> None:
    """Refuse a file whose arrays are far larger than anything that is in it.

    Raises
    ------
    DeliveryError
        With the largest array.
    """
    if isinstance(content, FileItem):
        return
    trees = content.subtree if isinstance(content, xr.DataTree) else [content]
    arrays = [
        (array.nbytes, str(name))
        for one in trees
        for name, array in one.variables.items()
    ]
    total = sum(nbytes for nbytes, _ in arrays)
    if total <= HARMLESS_BYTES:
        return
    size = size_of(path)
    if total > DECLARED_RATIO * size:
        most, largest = max(arrays)
        raise DeliveryError(
            f"{path}: has {size} bytes, but its arrays {total}, of which {largest!r} has "
            f"{most}; values that were never written are not read; deliver "
            "what was measured"
        )


def size_of(path: Path) -> int:
    """Return the size of a file, or of all files below a directory; 0: it is not there."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(
        (Path(place) / name).stat().st_size
        for place, _, names in os.walk(path)
        for name in names
    )
