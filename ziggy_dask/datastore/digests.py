"""Digests of the files that say what a datastore holds: its snapshots and manifests.

Icechunk keeps no checksum of them. Chunks have one each, and are not read here. So the root digest
of a publication, over the files that it added, costs no more than reading these few back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

Digests = Mapping[str, bytes]
"""SHA-256 of files by name, as in ``manifests/7W0ADWDY9NDEDB1RSFX0``."""

CHANGED = "is not what was written: it has another SHA-256"
LOST = "is not there, but a publication wrote it"


def digests_of(url: str, names: Iterable[str]) -> Digests:
    """Return the digests of files of a datastore.

    Empty: one of them can't be read, or the files lie in an object store, where Icechunk gives
    no access to them.
    """
    if urlsplit(url).scheme:
        return {}
    try:
        return {name: digest_of((Path(url) / name).read_bytes()) for name in names}
    except OSError:
        return {}


def digest_of(content: bytes) -> bytes:
    """Return the digest of what is in a file."""
    return hashlib.sha256(content).digest()


def root_of(digests: Digests) -> str:
    """Return one digest that stands for several files, whatever their order.

    Examples
    --------
    >>> root_of({"a": b"1", "b": b"2"}) == root_of({"b": b"2", "a": b"1"})
    True
    """
    root = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        root.update(name.encode() + b"\0" + digest)
    return root.hexdigest()
