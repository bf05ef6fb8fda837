"""The database itself: opening it, its schema, and transactions.

Transactions that write follow each other, and those that read see one state of all
tables, with SQLite and PostgreSQL alike: what is said of one holds for the other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ziggy_dask.errors import (
    ConnectionLostError,
    DiskFullError,
    LeaseError,
    RecordsError,
)
from ziggy_dask.records.engines import (
    begin_writing,
    is_busy,
    is_lost,
    is_out_of_space,
    is_sqlite,
    make_engine,
    outcome_of,
    shown,
    to_read,
    to_write,
)
from ziggy_dask.records.tables import LeaseRow

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA_VERSION = "0036"
"""The newest migration; a database of another version is refused."""

PATIENCE_S = 300.0
"""So long a supervisor waits for a database that went away, in seconds."""
_FULL_S = 5.0
"""Time between two tries while its disk is full, in seconds."""
_LOOK_S = 0.5
"""Time between two tries to reach it, in seconds."""

_UPGRADE = "upgrade with: ziggy cluster init FILE"
_LOOK = "SELECT 1 FROM sqlite_master LIMIT 1"
_MIGRATIONS = Path(__file__).parent / "migrations"

logger = logging.getLogger(__name__)


_MALFORMED = "malformed"


def patiently(
    function: Callable[Concatenate[Database, P], T],
) -> Callable[Concatenate[Database, P], T]:
    """Let a function of one transaction begin again when the database goes away.

    It does so, too, when its disk is full, and then as long as that lasts. Only the
    supervisor in charge waits; others are told at once.
    """

    @wraps(function)
    def patient(database: Database, /, *args: P.args, **kwargs: P.kwargs) -> T:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return function(database, *args, **kwargs)
            except DiskFullError as error:
                if database.lease_token is None or database.is_closing.is_set():
                    raise
                logger.error("work waits for space: %s", error)
                database.is_closing.wait(_FULL_S)
            except ConnectionLostError as error:
                if database.lease_token is None or time.monotonic() > until:
                    raise
                logger.warning("waiting for the database: %s", error)
                time.sleep(_LOOK_S)

    return patient


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
        self.base: Path | None = None
        """Directory of the cluster file, from which places of pipelines are found."""
        self.is_closing = threading.Event()
        """Set by the supervisor when it is to end: a full disk is not waited for then."""

    @property
    def url(self) -> str:
        """The database's URL, without its password."""
        return shown(self._engine.url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a connection that sees one state of all tables, whatever others do."""
        with self._translated(), self._transaction(to_read, waits=True) as connection:
            yield connection

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator[Connection]:
        """Return a connection whose changes are kept if the block ends well.

        Parameters
        ----------
        waits
            Whether a supervisor in charge waits as long as somebody else locks the
            database; what it has to record is not lost then.

        Raises
        ------
        LeaseError
            If this supervisor is no longer in charge; nothing is changed then.
        ConnectionLostError
            If the database went away; nothing is changed then.
        """
        number: int | None = None
        is_whole = False
        try:
            with (
                self._translated(),
                self._transaction(to_write, waits=waits) as connection,
            ):
                number = begin_writing(connection)
                if self.lease_token is not None:
                    _require_lease(connection, self.lease_token)
                yield connection
                is_whole = True
        except ConnectionLostError:
            # When the answer to a commit is lost, only the database knows what became of it.
            if not (is_whole and number is not None and _is_kept(self, number)):
                raise

    @patiently
    def require_lease(self) -> None:
        """Refuse to go on if this is a supervisor that is no longer in charge.

        Raises
        ------
        LeaseError
            If another one has taken over.
        """
        if self.lease_token is not None:
            with self.writing():
                pass

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(
        self, prepare: Callable[[Connection], Connection], *, waits: bool
    ) -> Iterator[Connection]:
        """Return a connection in a transaction, as soon as nobody else locks the database."""
        with ExitStack() as opened:
            while True:
                try:
                    connection = prepare(opened.enter_context(self._engine.connect()))
                    transaction = connection.begin()
                    if self.lease_token is not None and is_sqlite(self._engine):
                        # Only a look takes the lock of a reader.
                        connection.exec_driver_sql(_LOOK)
                except OperationalError as error:
                    opened.close()
                    is_over = self.lease_token is None or self.is_closing.is_set()
                    if is_over or not waits or not is_busy(error):
                        raise
                    logger.error(
                        "work waits for database %s, which another program has locked; "
                        "find it with: fuser -v %s",
                        self.url,
                        self._engine.url.database,
                    )
                else:
                    break
            with transaction:
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip()
            kind: type[RecordsError] = RecordsError
            if is_lost(error):
                kind = ConnectionLostError
            elif is_out_of_space(error):
                kind = DiskFullError
            raise kind(f"database {self.url}: {reason}{_help(reason)}") from error
        except UnicodeDecodeError as error:
            raise RecordsError(
                f"database {self.url}: is damaged: {error}{_help(_MALFORMED)}"
            ) from error


def _help(reason: str) -> str:
    """Return what helps where a database is damaged."""
    if not any(one in reason for one in (_MALFORMED, "not a database", "no such")):
        return ""
    return (
        "; it is damaged: put it away, make another with: ziggy cluster init FILE, and "
        "fill that from a backup: ziggy restore FILE"
    )


def create_database(url: str, password_file: Path | None = None) -> Database:
    """Create or upgrade the tables of a database and open it.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    password_file
        File with the password, if it needs one that the URL does not hold.

    Raises
    ------
    RecordsError
        If it can't be reached or written to.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    engine = make_engine(url, password_file)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        if engine.url.database and is_sqlite(engine):
            file = Path(engine.url.database)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()  # SQLite would leave out what the umask grants a group
        with engine.connect() as plain:
            connection = to_write(plain)
            begin_writing(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except CommandError as error:
        raise RecordsError(
            f"database {shown(engine.url)}: can't be upgraded: {error}; a newer version "
            "of this program made its tables, or it is damaged"
        ) from error
    except (SQLAlchemyError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "orig", None) or error
        raise RecordsError(
            f"database {shown(engine.url)}: can't be created: {reason}"
        ) from error
    return Database(engine)


def open_database(url: str, password_file: Path | None = None) -> Database:
    """Open an existing database; see `create_database`.

    Raises
    ------
    RecordsError
        If there is none, or its tables are of another version.
    """
    engine = make_engine(url, password_file)
    name = shown(engine.url)
    file = Path(engine.url.database or "")
    if is_sqlite(engine) and file.parent.exists() and not file.parent.is_dir():
        raise RecordsError(f"database {name}: {file.parent} is not a directory")
    if is_sqlite(engine) and not file.exists():
        raise RecordsError(
            f"database {name}: there is none; make it with: ziggy cluster init FILE"
        )
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                raise RecordsError(
                    f"database {name}: has no tables of this program; make them with: "
                    "ziggy cluster init FILE; if there were records, fill it from a "
                    "backup then: ziggy restore FILE"
                )
            query = text("SELECT version_num FROM alembic_version")
            version = connection.execute(query).scalar_one_or_none()
    except (SQLAlchemyError, UnicodeDecodeError) as error:
        reason = str(getattr(error, "orig", None) or error).strip()
        is_text = isinstance(error, UnicodeDecodeError)
        raise RecordsError(
            f"database {name}: can't be opened: {reason}"
            f"{_help(_MALFORMED if is_text else reason)}"
        ) from error
    if version != SCHEMA_VERSION:
        is_newer = version is not None and version > SCHEMA_VERSION
        fix = "install a newer ziggy-dask" if is_newer else _UPGRADE
        raise RecordsError(
            f"database {name}: its tables are of version {version}, but this "
            f"program wants {SCHEMA_VERSION}; {fix}"
        )
    return Database(engine)


def pieces(values: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Yield a few values at a time: databases take only so many in one statement."""
    waiting = iter(values)
    while some := list(islice(waiting, size)):
        yield some


def _require_lease(connection: Connection, token: str) -> None:
    # Nobody can take over before this transaction ends, but its holder can refresh it.
    query = select(LeaseRow.token).with_for_update(read=True, key_share=True)
    holder = connection.execute(query).scalar_one_or_none()
    if holder != token:
        raise LeaseError(
            "this supervisor is no longer in charge of the cluster: another one took "
            "over while it did not answer; what it had not recorded is left to that one"
        )


@patiently
def _is_kept(database: Database, number: int) -> bool:
    """Tell whether a transaction was kept whose end was not heard of."""
    while True:
        with database.reading() as connection:
            kept = outcome_of(connection, number)
        if kept is not None:
            return kept
        time.sleep(_LOOK_S)  # the database has not noticed yet that we were cut off
