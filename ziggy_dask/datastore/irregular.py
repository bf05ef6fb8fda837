"""What is in the place of files of a datastore: whoever opens a pipe waits for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ziggy_dask.errors import DatastoreError

_QUICK_BYTES = 4 * 1024 * 1024
"""A directory of this size has about 100,000 names; to list them takes 50 ms."""
ADVICE = "put it away, and the file back from a copy of the datastore"


def require_regular_files(url: str, chunks: str) -> None:
    """Refuse a datastore in a directory with anything but files and directories in it.

    Names are listed, and nothing is opened.

    Parameters
    ----------
    url
        The place.
    chunks
        Name of the directory that may have millions of files; it is listed if that is quick.

    Raises
    ------
    DatastoreError
        With the first that is neither a regular file nor a directory.
    OSError
        If a directory can't be listed.
    """
    if urlsplit(url).scheme or not os.path.lexists(url):
        return
    large = Path(url) / chunks
    is_large = large.is_dir() and large.stat().st_size > _QUICK_BYTES
    for path in irregular_files(Path(url), large if is_large else None):
        raise DatastoreError(f"datastore {url}: {path} is not a regular file; {ADVICE}")


def irregular_files(directory: Path, but: Path | None = None) -> Iterator[Path]:
    """Yield what is below a directory, and is neither a regular file nor a directory.

    Parameters
    ----------
    directory
        Where to look.
    but
        A directory below it that is left out.
    """
    inner = []
    with os.scandir(directory) as found:
        for one in found:
            if one.is_file():
                continue
            if one.is_dir():
                inner.append(Path(one))
            elif os.path.lexists(one):  # else others have just removed it
                yield Path(one)
    for path in sorted(inner):
        if path != but:
            yield from irregular_files(path)
