"""Whether the files of a datastore are whole: what disks lose is told before it is missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.repository import Repository

_MAGIC = "ICE🧊CHUNK".encode()
_HEADER_BYTES = 39
"""Of the header: magic bytes, name of the writer, version, kind, compression."""
_COMPRESSED = 1
"""The last byte of the header where zstd follows: Icechunk's specification, version 1."""


def faults_of(repository: Repository) -> Iterator[str]:
    """Yield what is wrong with the files of a datastore.

    The history is walked to its beginning. On a local disk every file of snapshots and
    manifests must be whole, and the manifests of the newest snapshot must be there. Chunks
    are not read.
    """
    url = repository.url
    try:
        with panics_as_errors():
            for _ in repository.history():
                pass
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        yield f"datastore {url}: its history can't be read to the beginning: {_said(error)}"
    if urlsplit(url).scheme:
        return
    for directory in ("snapshots", "manifests"):
        yield from _broken(Path(url) / directory)
    try:
        newest = json.loads(repository.inspected())
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        yield f"datastore {url}: the newest snapshot can't be read: {_said(error)}"
        return
    for one in newest["manifests"]:
        file = Path(url) / "manifests" / one["id"]
        if not file.exists():
            yield f"{file}: is not there, but the newest snapshot needs it"


def _broken(directory: Path) -> Iterator[str]:
    """Yield which files are cut short or damaged."""
    from numcodecs.zstd import Zstd

    for file in sorted(directory.iterdir()) if directory.is_dir() else ():
        content = file.read_bytes()
        if not content.startswith(_MAGIC) or len(content) <= _HEADER_BYTES:
            yield f"{file}: is not a file of Icechunk's, or cut short"
        elif content[_HEADER_BYTES - 1] == _COMPRESSED:
            try:
                Zstd().decode(content[_HEADER_BYTES:])
            except (RuntimeError, ValueError) as error:
                yield f"{file}: is damaged or cut short: {error}"


def _said(error: Exception) -> str:
    return str(error).strip().split("\n")[0].strip(" x")
