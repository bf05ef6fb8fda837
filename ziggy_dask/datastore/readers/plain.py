"""The reader that takes files as they are."""

from __future__ import annotations

from pathlib import Path

from ziggy_dask.datastore.items import FileItem


def read_bytes(path: Path) -> FileItem:
    """Take a file as it is; it is read when it is stored."""
    return FileItem.from_path(path)
