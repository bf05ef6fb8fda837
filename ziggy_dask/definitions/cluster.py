"""Cluster files: one YAML file describes one complete installation."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.section import Section, open_document

DATASTORE_SCHEMES = ("s3", "gs", "az", "memory")
DATABASE_SCHEMES = ("sqlite", "postgresql")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_FACTORS = {
    "": 1,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "t": 1e12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCompute:
    """Dask workers as processes on this machine."""

    workers: int = 0
    """Number of worker processes; 0: one per core."""
    threads: int = 1
    """Threads, and so subtasks at once, per worker."""
    memory_bytes: int = 0
    """Memory per worker, in bytes; 0: the machine's, shared evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCompute:
    """A Dask scheduler that runs already."""

    address: str
    """Its address, e.g. ``tcp://127.0.0.1:8786``."""


Compute = LocalCompute | AddressCompute


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """One complete installation: datastore, database, compute."""

    name: str
    """Name of the cluster."""
    home: Path
    """Directory of the cluster's own files: logs, scratch, and the defaults below."""
    datastore: str
    """Icechunk repository: a path, or ``s3://``, ``gs://``, ``az://`` or ``memory://``."""
    database: str
    """SQLAlchemy URL."""
    receipt: Path
    """Directory where deliveries arrive."""
    compute: Compute
    """Where subtasks run."""
    path: Path
    """The cluster file itself."""


def read_cluster(path: Path) -> ClusterFile:
    """Read and check a cluster file; relative paths start at the file.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with file, line and mend.
    """
    document, top = open_document(path)
    base = path.resolve().parent
    name = top.text("cluster")
    home = _path(base, top.text("home", f"../.ziggy/{name}"))
    cluster = ClusterFile(
        name=name,
        home=home,
        datastore=_datastore(top, base, home),
        database=_database(top, base, home),
        receipt=_path(base, top.text("receipt", str(home / "receipt"))),
        compute=_compute(top.section("compute")),
        path=path.resolve(),
    )
    top.done()
    document.raise_faults()
    return cluster


def size_in_bytes(text: str) -> int | None:
    """Return the bytes that e.g. ``4GiB`` stands for, or None if it is no size.

    Examples
    --------
    >>> size_in_bytes("1.5 GB"), size_in_bytes("2GiB"), size_in_bytes("much")
    (1500000000, 2147483648, None)
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    return int(float(found[1]) * _FACTORS[(found[2] or "").lower()])


def _path(base: Path, text: str) -> Path:
    return Path(os.path.normpath(base / Path(os.path.expandvars(text)).expanduser()))


def _datastore(top: Section, base: Path, home: Path) -> str:
    text = top.text("datastore", str(home / "datastore"))
    scheme = urlsplit(text).scheme
    if "://" not in text:
        return str(_path(base, text))
    if scheme == "file":
        return str(_path(base, text.removeprefix("file://")))
    if scheme not in DATASTORE_SCHEMES:
        top.fault(
            "datastore",
            f"a datastore can't be at '{scheme}://'"
            + suggestion(scheme, DATASTORE_SCHEMES)
            + "; or give a path",
        )
    return text


def _database(top: Section, base: Path, home: Path) -> str:
    text = top.text("database", f"sqlite:///{home / 'ziggy.db'}")
    scheme, found, rest = text.partition("://")
    if not found or scheme.partition("+")[0] not in DATABASE_SCHEMES:
        top.fault(
            "database",
            f"{text!r} is no database URL; write e.g. 'sqlite:///ziggy.db' or "
            "'postgresql+psycopg://user@host/name'",
        )
    if scheme == "sqlite":
        return f"sqlite:///{_path(base, rest.removeprefix('/'))}"
    return text


def _compute(section: Section) -> Compute:
    kinds = [kind for kind in ("local", "address") if kind in section]
    if len(kinds) > 1:
        section.fault(kinds[1], f"'compute' has {' and '.join(kinds)}; give one")
    if "address" in section:
        address = section.text("address")
        section.done()
        return AddressCompute(address=address)
    inner = section.section("local")
    local = LocalCompute(
        workers=_at_least(inner, "workers", 0, 0),
        threads=_at_least(inner, "threads", 1, 1),
        memory_bytes=_memory(inner),
    )
    inner.done()
    section.done()
    return local


def _at_least(section: Section, key: str, default: int, least: int) -> int:
    number = section.integer(key, default)
    if number < least:
        section.fault(key, f"{key!r} is {number}, but must be at least {least}")
    return number


def _memory(section: Section) -> int:
    text = section.text("memory", "0")
    size = size_in_bytes(text)
    if size is None:
        section.fault("memory", f"{text!r} is no size; write e.g. '4GiB'")
    return size or 0
