"""Bringing what was written onto the disk, before somebody relies on it."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path


def sync_file_system(place: Path) -> None:
    """Wait until the disk has everything that was written to the file system of a place.

    One call for any number of files, whichever process wrote them: syncfs(2).

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _library().syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(place))
    finally:
        os.close(handle)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
