"""Cluster files: one YAML file describes one complete installation."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from ziggy_dask.definitions.access import Access
from ziggy_dask.definitions.alerts import Alerts, read_alerts
from ziggy_dask.definitions.batch import (
    Environment,
)
from ziggy_dask.definitions.compute import (
    Compute,
)
from ziggy_dask.definitions.compute_check import check_compute
from ziggy_dask.definitions.compute_text import read_compute, read_environments
from ziggy_dask.definitions.names import is_line, suggestion
from ziggy_dask.definitions.problem import Problem
from ziggy_dask.definitions.retention import Retention, read_retention
from ziggy_dask.definitions.section import Section, open_document
from ziggy_dask.definitions.supervision import Supervision, read_supervision
from ziggy_dask.errors import DefinitionError

DATASTORE_SCHEMES = ("s3", "gs", "az", "memory")
STORE_OPTIONS = {
    "s3": ("endpoint", "region", "allow_http", "path_style"),
    "az": ("endpoint", "allow_http"),
}
"""What can be said of an object store beside its URL."""
DATABASE_SCHEMES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """Where the records are kept."""

    url: str = field(repr=False)
    """SQLAlchemy URL; not shown, since it may hold a password."""
    password_file: Path | None = None
    """File with the password and nothing else; None: none is needed, or libpq knows it."""


class Keep(Enum):
    """Which working directories stay."""

    FAILED = "failed"
    """Those of subtasks that failed."""
    ALL = "all"
    """All."""
    NONE = "none"
    """None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """How programs are found and run."""

    work: Path
    """Directory of working directories, on a disk that the workers see."""
    path: tuple[Path, ...] = ()
    """Directories where programs are looked for, before the pipeline's ``bin``."""
    library_path: tuple[Path, ...] = ()
    """Directories where programs find shared libraries."""
    environment: tuple[tuple[str, str], ...] = ()
    """Environment variables of programs."""
    inherit: tuple[str, ...] = ()
    """Names of the variables that programs get from the workers' environment."""
    environments: Path | None = None
    """Directory of virtual environments; None: the pipeline's ``env``."""
    keep: Keep = Keep.FAILED
    """Which working directories stay."""
    grace_s: float = 5.0
    """Time that a program gets to end by itself when it has to, in seconds."""
    disk_quota_bytes: int = 0
    """So much may one working directory hold, in bytes; 0: there is no limit."""
    log_bytes: int = 64 * 1024 * 1024
    """So much of a program's output is kept in its log file, in bytes."""
    access: Access = Access.UMASK
    """Whom working directories are for: that of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """One complete installation: datastore, database, compute."""

    name: str
    """Name of the cluster."""
    home: Path
    """Directory of the cluster's own files: logs, scratch, and the defaults below."""
    datastore: str
    """Icechunk repository: a path, or ``s3://``, ``gs://``, ``az://`` or ``memory://``.

    How an object store is reached follows after ``?``; credentials never stand here.
    """
    database: DatabasePlace
    """Where the records are kept."""
    receipt: Path
    """Directory where deliveries arrive."""
    compute: Compute
    """Where the Dask scheduler is, and the home pool."""
    environments: tuple[Environment, ...] = ()
    """Batch systems where nodes may send their subtasks."""
    programs: Programs
    """How programs are found and run."""
    alerts: Alerts
    """Where alerts are sent on to."""
    supervision: Supervision = field(default_factory=Supervision)
    """How much the supervisor works on at once, and what it waits for."""
    retention: tuple[Retention, ...] = ()
    """Which versions of products stay, of data types of which not all do."""
    access: Access = Access.UMASK
    """Whom its files are for."""
    path: Path
    """The cluster file itself."""

    @property
    def quarantine(self) -> Path:
        """Where files of deliveries are kept that were not taken in with the rest."""
        return self.home / "quarantine"

    def directories(self) -> list[Path]:
        """Return the local directories and files of the cluster."""
        places = [self.home, self.receipt, self.programs.work]
        places += [self.home / name for name in ("logs", "scratch", "code")]
        if "://" not in self.datastore:
            places.append(Path(self.datastore))
        if self.database.url.startswith("sqlite:///"):
            file = Path(self.database.url.removeprefix("sqlite:///"))
            places += [file, *(Path(f"{file}-{one}") for one in ("wal", "shm"))]
        return list(dict.fromkeys(places))

    def environment(self, name: str) -> Environment:
        """Return the environment with a name.

        Raises
        ------
        DefinitionError
            If the cluster file has none of that name.
        """
        for one in self.environments:
            if one.name == name:
                return one
        known = [one.name for one in self.environments]
        raise DefinitionError(
            f"{self.path}: there is no environment {name!r}"
            + (suggestion(name, known) or "; add it under 'environments'")
        )


def read_cluster(
    path: Path,
    look: Callable[[Environment], Sequence[Problem]] = lambda environment: (),
) -> ClusterFile:
    """Read and check a cluster file; relative paths start at the file.

    Parameters
    ----------
    path
        The file.
    look
        Tells what else is wrong with an environment.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with file, line and fix.
    """
    document, top = open_document(path)
    cluster = cluster_of(top, path)
    for problem in check_compute(cluster.compute, cluster.environments):
        document.take(problem)
    for environment in cluster.environments:
        for problem in look(environment):
            document.take(problem)
    document.raise_faults()
    return cluster


def cluster_of(top: Section, path: Path) -> ClusterFile:
    """Read what stands in a cluster file; faults are left with its document."""
    base = path.resolve().parent
    name = top.text("cluster")
    default = Path(os.path.normpath(base.parent / ".ziggy" / name))
    home = _place(top, "home", base, default)
    access = top.choice("access", Access.UMASK)
    cluster = ClusterFile(
        name=name,
        home=home,
        datastore=_datastore(top, base, home),
        database=_database(top, base, home),
        receipt=_place(top, "receipt", base, home / "receipt"),
        compute=read_compute(top.section("compute"), base),
        environments=read_environments(top),
        programs=_programs(top.section("programs"), base, home, access),
        alerts=read_alerts(top.section("alerts")),
        supervision=read_supervision(top.section("supervisor")),
        retention=read_retention(top),
        access=access,
        path=path.resolve(),
    )
    top.done()
    if cluster.environments and (not is_line(str(home)) or len(str(home).split()) > 1):
        top.fault(
            "home",
            f"job scripts name files below {str(home)!r}, which has blanks or control "
            "characters; give a 'home' without",
        )
    return cluster


def _place(section: Section, key: str, base: Path, default: Path) -> Path:
    """Return a path that may be given; the default is as it is, without variables."""
    return _path(base, section.text(key)) if key in section else default


def _path(base: Path, text: str) -> Path:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 -- see below
    if expanded.startswith(
        "~"
    ):  # pathlib would raise; in containers users have no home
        raise DefinitionError(
            f"{text!r}: it is not known where the home directory of "
            f"{expanded.partition('/')[0]!r} is; set $HOME, or write the path in full"
        )
    return Path(os.path.normpath(base / expanded))


def _datastore(top: Section, base: Path, home: Path) -> str:
    inner = top.section("datastore") if top.is_mapping("datastore") else None
    section, key = (top, "datastore") if inner is None else (inner, "url")
    text = section.text(key, "")
    scheme = urlsplit(text).scheme
    options = _store_options(inner, scheme) if inner is not None else {}
    if key not in section:
        return str(home / "datastore")
    if "://" not in text:
        return str(_path(base, text))
    if scheme == "file":
        return str(_path(base, text.removeprefix("file://")))
    if scheme not in DATASTORE_SCHEMES:
        section.fault(
            key,
            f"a datastore can't be at '{scheme}://'"
            + suggestion(scheme, DATASTORE_SCHEMES)
            + "; or give a path",
        )
    if "@" in text or "?" in text or "#" in text:
        section.fault(
            key,
            "credentials and options do not go into the datastore's URL; credentials "
            "come from the environment, options stand beside 'url'",
        )
    return f"{text}?{urlencode(options, safe=':/')}" if options else text


def _store_options(section: Section, scheme: str) -> dict[str, str]:
    """Return how an object store is reached, of what its kind can be told."""
    known = STORE_OPTIONS.get(scheme, ())
    texts: dict[str, str] = {
        key: section.text(key, "") for key in ("endpoint", "region") if key in known
    }
    flags: dict[str, str] = {
        key: "true"
        for key in ("allow_http", "path_style")
        if key in known and section.flag(key)
    }
    section.done()
    endpoint = texts.get("endpoint", "")
    if _has_credentials(endpoint):
        section.fault(
            "endpoint",
            "credentials do not go into 'endpoint'; they come from the environment",
        )
    elif endpoint.startswith("http://") and "allow_http" not in flags:
        section.fault(
            "endpoint",
            f"{endpoint!r} is not encrypted; if that is meant, add 'allow_http: true'",
        )
    return {key: text for key, text in texts.items() if text} | flags


def _has_credentials(url: str) -> bool:
    """Tell whether a URL names more than a place: also a user, a query or a fragment."""
    return any(mark in url for mark in "@?#") or "%40" in url


def _database(top: Section, base: Path, home: Path) -> DatabasePlace:
    inner = top.section("database") if top.is_mapping("database") else None
    section, key = (top, "database") if inner is None else (inner, "url")
    text = section.text(key, "")
    if key not in section:
        text = f"sqlite:///{home / 'ziggy.db'}"
    password = inner.text("password_file", "") if inner is not None else ""
    if inner is not None:
        inner.done()
    scheme, found, rest = text.partition("://")
    if not found or scheme.partition("+")[0] not in DATABASE_SCHEMES:
        shown = repr(text) if "@" not in text else "what stands here"
        section.fault(
            key,
            f"{shown} is not a database URL; write e.g. 'sqlite:///ziggy.db' or "
            "'postgresql://user@host/name'",
        )
    elif scheme == "sqlite" and key in section:
        if "?" in rest:
            section.fault(
                key, "a file of SQLite's takes no options; leave out '?' in its URL"
            )
        text = f"sqlite:///{_path(base, unquote(rest.removeprefix('/')))}"
    elif fault := _unclear_password(text):
        section.fault(key, fault)
    return DatabasePlace(
        url=text, password_file=_path(base, password) if password else None
    )


_SECRET = re.compile(r"password|secret|token|scram_.*_key", re.IGNORECASE)
"""Names of options of libpq that are shown to nobody."""


def _unclear_password(url: str) -> str:
    """Return why a password might be taken for something else, and be shown."""
    parts = urlsplit(url)
    for name in parse_qs(parts.query, keep_blank_values=True):
        if _SECRET.search(name):
            return (
                f"a secret ({name!r}) does not go after '?'; write a password into a "
                "'password_file', others into a file of libpq's"
            )
    if url.partition("://")[2].count("@") > 1:
        return "there are two '@' in the database's URL; write that of a name as '%40'"
    return ""


def _programs(section: Section, base: Path, home: Path, access: Access) -> Programs:
    environment = section.section("environment")
    environments = section.text("environments", "")
    programs = Programs(
        work=_place(section, "work", base, home / "work"),
        path=tuple(_path(base, one) for one in section.texts("path")),
        library_path=tuple(_path(base, one) for one in section.texts("library_path")),
        environment=tuple((n, environment.text(n)) for n in environment.names()),
        inherit=section.texts("inherit"),
        environments=_path(base, environments) if environments else None,
        keep=section.choice("keep", Keep.FAILED),
        grace_s=section.number("grace", 5.0),
        disk_quota_bytes=section.size("disk_quota"),
        log_bytes=section.size("log_size", "64MiB"),
        access=access,
    )
    if programs.grace_s < 0:
        section.fault("grace", "'grace' can't be negative")
    for name in (*programs.inherit, *environment.names()):
        if not name or "=" in name or "\0" in name:
            section.fault("inherit", f"{name!r} can't name an environment variable")
    section.done()
    return programs
