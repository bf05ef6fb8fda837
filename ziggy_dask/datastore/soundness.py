"""Whether the files of a datastore are whole: what disks lose is told before it is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ziggy_dask.datastore.digests import CHANGED, LOST, Digests, digest_of
from ziggy_dask.datastore.irregular import irregular_files
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.repository import MANIFESTS, SNAPSHOTS, Repository
from ziggy_dask.datastore.shortage import shortage
from ziggy_dask.errors import DatastoreError

_MAGIC = "ICE🧊CHUNK".encode()
_HEADER_BYTES = 39
"""Of the header: magic bytes, name of the writer, version, kind, compression."""
_COMPRESSED = 1
"""The last byte of the header where zstd follows: Icechunk's specification, version 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFiles:
    """What was found of the files that say what a datastore holds."""

    files: int = 0
    """Snapshots and manifests that were read."""
    bytes: int = 0
    """Their size, in bytes."""
    seconds: float = 0.0
    """For how long."""
    undigested: int = 0
    """Those of which no digest is on record: only their form was checked."""
    faults: tuple[str, ...] = ()
    """What is wrong."""


def check_files(repository: Repository, known: Digests) -> CheckedFiles:
    """Read the files that say what a datastore holds, and return what is wrong with them.

    The history is walked to its beginning. On a local disk every file of snapshots and
    manifests must be whole and what it was when its digest was taken, and the manifests of
    the newest snapshot must be there. Chunks are not read, but each is to be a regular file.

    Parameters
    ----------
    repository
        The datastore.
    known
        The digests that are on record.
    """
    began = time.monotonic()
    url = repository.url
    faults: list[str] = []
    try:
        with panics_as_errors():
            for _ in repository.history():
                pass
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        faults.append(
            f"datastore {url}: its history can't be read to the beginning: {_said(error)}"
        )
    if urlsplit(url).scheme:
        return CheckedFiles(faults=tuple(faults), seconds=time.monotonic() - began)
    files = size = undigested = 0
    there: set[str] = set()
    for directory in (SNAPSHOTS, MANIFESTS):
        for file in _files_in(Path(url) / directory):
            name = f"{directory}/{file.name}"
            content = file.read_bytes()
            there.add(name)
            files += 1
            size += len(content)
            undigested += name not in known
            if fault := _fault_of(content, known.get(name)):
                faults.append(f"{file}: {fault}")
    faults += [f"{one}: is not a regular file" for one in irregular_files(Path(url))]
    faults += [f"{Path(url) / one}: {LOST}" for one in sorted(known.keys() - there)]
    faults += _lost_by_newest(repository, there | known.keys())
    return CheckedFiles(
        files=files,
        bytes=size,
        seconds=time.monotonic() - began,
        undigested=undigested,
        faults=tuple(faults),
    )


def _files_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _lost_by_newest(repository: Repository, known: Collection[str]) -> Iterator[str]:
    """Yield which manifests of the newest snapshot are not there."""
    try:
        newest = [json.loads(one) for one in repository.inspected()]
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        yield (
            f"datastore {repository.url}: the newest snapshot can't be read: "
            f"{_said(error)}"
        )
        return
    listed = {one["id"] for snapshot in newest for one in snapshot["manifests"]}
    for name in sorted(f"{MANIFESTS}/{one}" for one in listed):
        if name not in known:
            yield (
                f"{Path(repository.url) / name}: is not there, but the newest snapshot "
                "needs it"
            )


def _fault_of(content: bytes, digest: bytes | None) -> str:
    """Return what is wrong with what is in a file, or ""."""
    from numcodecs.zstd import Zstd

    if not content.startswith(_MAGIC) or len(content) <= _HEADER_BYTES:
        return "is not a file of Icechunk's, or cut short"
    if content[_HEADER_BYTES - 1] == _COMPRESSED:
        try:
            Zstd().decode(content[_HEADER_BYTES:])
        except (RuntimeError, ValueError) as error:
            return f"is damaged or cut short: {error}"
    if digest is not None and digest_of(content) != digest:
        return CHANGED
    return ""


def _said(error: Exception) -> str:
    """Return the first line of what an error says.

    Raises
    ------
    DatastoreError
        If the error says nothing of the files: this process lacks something.
    """
    if lack := shortage(error):
        raise DatastoreError(f"the datastore can't be checked: {lack}") from error
    return str(error).strip().split("\n")[0].strip(" x")
