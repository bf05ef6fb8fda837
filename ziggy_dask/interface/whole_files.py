"""Files that somebody asked for by name: they are written whole, or stay as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_written(path: Path) -> Iterator[Path]:
    """Yield where to write a file; what is written there takes its place at the end.

    A link is followed, a file that may not be written is left alone, and its mode stays.
    A pipe or a device is written to as it is.

    Parameters
    ----------
    path
        The file; its directory must be there.

    Raises
    ------
    OSError
        If it can't be written; it names the file, which is as it was.
    """
    from ziggy_dask.datastore.atomic import replacing

    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            yield path
            return
        if target.exists():
            target.open("ab").close()
        elif not target.parent.is_dir():
            raise FileNotFoundError(2, "No such directory", str(target.parent))
        with replacing(target) as partial:
            yield partial
            if target.exists():
                shutil.copymode(target, partial)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, reason, str(path)) from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; see `file_written`."""
    data = content.encode() if isinstance(content, str) else content
    with file_written(path) as place:
        place.write_bytes(data)
