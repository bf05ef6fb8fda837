"""The database itself: opening it, its schema, and transactions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ziggy_dask.errors import LeaseError, RecordsError
from ziggy_dask.records.tables import LeaseRow

SCHEMA_VERSION = "0011"
"""The newest migration; a database of another version is refused."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITES = "ziggy_writes"


class Database:
    """An open database.

    Parameters
    ----------
    engine
        How to reach it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lease_token: str | None = None
        """Set by the supervisor: every write then first proves that it is in charge."""

    @property
    def url(self) -> str:
        """The database's URL, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a connection for reading."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def reading_at_once(self) -> Iterator[Connection]:
        """Return a connection that sees one state of all tables, whatever others do."""
        with self._translated(), self._engine.connect() as plain:
            if plain.dialect.name == "sqlite":  # in WAL mode, as every reader does
                yield plain
            else:
                yield plain.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Return a connection whose changes are kept if the block ends well.

        Raises
        ------
        LeaseError
            If this supervisor is no longer in charge; nothing is changed then.
        """
        with self._translated(), self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITES: True})
            with connection.begin():
                if self.lease_token is not None:
                    _require_lease(connection, self.lease_token)
                yield connection

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise RecordsError(f"database {self.url}: {reason}") from error


def create_database(url: str) -> Database:
    """Create or upgrade the tables of a database and open it.

    Raises
    ------
    RecordsError
        If it can't be reached or written to.
    """
    from alembic import command
    from alembic.config import Config

    engine = _engine(url)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        if engine.url.database and engine.dialect.name == "sqlite":
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        with engine.connect() as plain:
            connection = plain.execution_options(**{_WRITES: True})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except (SQLAlchemyError, OSError) as error:
        raise RecordsError(
            f"database {_shown(url)}: can't be created: {error}"
        ) from error
    return Database(engine)


def open_database(url: str) -> Database:
    """Open an existing database.

    Raises
    ------
    RecordsError
        If there is none, or its tables are of another version.
    """
    engine = _engine(url)
    missing = RecordsError(
        f"database {_shown(url)}: there is none; make it with: ziggy cluster init FILE"
    )
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        raise missing
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                raise missing
            query = text("SELECT version_num FROM alembic_version")
            version = connection.execute(query).scalar_one_or_none()
    except SQLAlchemyError as error:
        raise RecordsError(
            f"database {_shown(url)}: can't be opened: {error}"
        ) from error
    if version != SCHEMA_VERSION:
        raise RecordsError(
            f"database {_shown(url)}: its tables are of version {version}, but this "
            f"program wants {SCHEMA_VERSION}; upgrade with: ziggy cluster init FILE"
        )
    return Database(engine)


def pieces(values: Iterable[int], size: int = 500) -> Iterator[list[int]]:
    """Yield a few values at a time: databases take only so many in one statement."""
    waiting = iter(values)
    while some := list(islice(waiting, size)):
        yield some


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(make_url(url))
    except (ArgumentError, ImportError) as error:
        raise RecordsError(f"database {_shown(url)}: {error}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=60000",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes may find the database
    # changed in between and fail at once; one that is going to write says so first.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _require_lease(connection: Connection, token: str) -> None:
    holder = connection.execute(select(LeaseRow.token)).scalar_one_or_none()
    if holder != token:
        raise LeaseError(
            "this supervisor is no longer in charge of the cluster: another one took "
            "over while it did not answer; what it had not recorded is left to that one"
        )


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url
