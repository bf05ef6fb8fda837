"""What is different between SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.damage import readable

BUSY_MS = 60_000
"""So long SQLite waits for a lock before it says that the database is locked."""
_FILE = "sqlite:///"
_WRITES = "ziggy_writes"
_TURN = 0x7A696767
"""Number of the PostgreSQL lock for whose owner it is the turn to write: "zigg"."""
_TURN_S = 60
"""So long a writer waits for its turn, and may be silent in it, in seconds."""
_BEGIN_WRITING = text(
    f"SELECT set_config('lock_timeout', '{_TURN_S}s', true),"
    f" set_config('idle_in_transaction_session_timeout', '{_TURN_S}s', true),"
    f" pg_advisory_xact_lock({_TURN}), txid_current() AS number"
)


def make_engine(url: str, password_file: Path | None = None) -> Engine:
    """Return how to reach a database; nothing is opened.

    Raises
    ------
    RecordsError
        If the URL makes no sense, the password can't be read, or something that is no file
        is in the place of one of SQLite's.
    """
    try:
        parts = _parts(url)
    except (ArgumentError, ValueError) as error:  # its text may hold a password
        raise RecordsError(
            "the database's URL in the cluster file is not a valid URL"
        ) from error
    if parts.drivername == "postgresql":
        parts = parts.set(drivername="postgresql+psycopg")
    if password_file is not None:
        parts = parts.set(password=read_password(password_file))
    try:
        engine = create_engine(
            parts,
            pool_pre_ping=parts.drivername != "sqlite",
            json_deserializer=_from_json,
            **_only_to_look(parts),
        )
    except (ArgumentError, ImportError) as error:
        raise RecordsError(
            f"database {shown(parts)}: {error}{_advice(error)}"
        ) from error
    if is_sqlite(engine):
        _require_regular_files(engine.url)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parts(url: str) -> URL:
    """Return the parts of a URL; the path of a file is as it is, whatever is in it."""
    if url.startswith(_FILE):
        return URL.create("sqlite", database=url.removeprefix(_FILE))
    return make_url(url)


def _require_regular_files(url: URL) -> None:
    """Refuse what SQLite would wait for, or take for an empty file.

    Without the file of what was written last, a database may look new.
    """
    for end in ("", "-wal", "-shm", "-journal"):
        file = Path(f"{url.database}{end}")
        if url.database and file.exists() and not file.is_file():
            raise RecordsError(
                f"database {shown(url)}: {file} is not a regular file; put it away, and "
                "the file back where it was"
            )


def _only_to_look(url: URL) -> dict[str, Any]:
    """Return how a file of SQLite's is opened that this user may read, but not write.

    SQLite writes files beside a database even to read it. Where they are there, they are
    used; where they are not, nobody has the database open, and it is read as it is.
    """
    file = Path(url.database or "")
    if not url.drivername.startswith("sqlite") or not file.is_file():
        return {}
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return {}
    log = Path(f"{file}-wal")
    options = (
        "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    )
    name = f"file:{quote(str(file))}?{options}"
    return {"creator": lambda: sqlite3.connect(name, uri=True, check_same_thread=False)}


def read_password(path: Path) -> str:
    """Return the password in a file that nobody else may read.

    Raises
    ------
    RecordsError
        If it can't be read, or others can read it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RecordsError(
                f"{path}: the password can't be read: is not a regular file"
            )
        mode = status.st_mode & 0o777
        password = path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordsError(f"{path}: the password can't be read: {error}") from error
    if mode & 0o077:
        raise RecordsError(
            f"{path}: others may read this password (mode {mode:o}); "
            f"fix it with: chmod 600 {path}"
        )
    return password


def shown(url: URL) -> str:
    """Return a database's URL without its password."""
    return url.render_as_string(hide_password=True)


def _from_json(text: str) -> Any:
    """Return a value; listings have empty ones by the ten thousand."""
    if text == "{}":
        return {}
    with readable():
        return json.loads(text)


def is_sqlite(engine: Engine) -> bool:
    """Tell whether a database is a file of SQLite's."""
    return engine.dialect.name == "sqlite"


def to_read(connection: Connection) -> Connection:
    """Let a connection see one state of all tables in each transaction."""
    if connection.dialect.name == "sqlite":  # in WAL mode, as every reader does
        return connection
    return connection.execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )


def to_write(connection: Connection) -> Connection:
    """Let a connection write."""
    return connection.execution_options(**{_WRITES: True})


def begin_writing(connection: Connection) -> int | None:
    """Wait for the turn to write; return what the database calls the transaction.

    SQLite has waited already, and needs no name since it can't go away.
    """
    if connection.dialect.name == "sqlite":
        return None
    return int(connection.execute(_BEGIN_WRITING).one().number)


def outcome_of(connection: Connection, number: int) -> bool | None:
    """Return whether a transaction was kept; None: it has not ended."""
    query = text("SELECT txid_status(:number)")
    status = connection.execute(query, {"number": number}).scalar_one()
    return None if status == "in progress" else status == "committed"


def is_lost(error: Exception) -> bool:
    """Tell whether the database went away, or is not there yet."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    # libpq gives no code when it finds no server, or one that starts or stops.
    is_postgres = "psycopg" in type(error.orig).__module__
    code = getattr(error.orig, "sqlstate", None) or "08"
    is_code = code.startswith(("08", "57P"))
    return is_postgres and isinstance(error, OperationalError) and is_code


def is_busy(error: Exception) -> bool:
    """Tell whether somebody else has locked the file of the database for too long."""
    return isinstance(error, OperationalError) and "database is locked" in str(
        error.orig
    )


def is_out_of_space(error: Exception) -> bool:
    """Tell whether the disk of the database is full."""
    if not isinstance(error, DBAPIError):
        return False
    if getattr(error.orig, "sqlstate", None) == "53100":  # disk_full
        return True
    return "database or disk is full" in str(error.orig)


def _advice(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "; install it with: pip install 'ziggy-dask[postgres]'"
    return ""


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None
    if not _can_write(connection):
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        return
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_MS}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _can_write(connection: Any) -> bool:
    (row,) = connection.execute("PRAGMA database_list").fetchall()[:1]
    file = Path(row[2])
    return not row[2] or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes may find the database
    # changed in between and fail at once; one that is going to write says so first.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
