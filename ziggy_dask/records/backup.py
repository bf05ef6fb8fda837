"""Backups: all records, in one SQLite file, whatever database they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, func, insert, select, text

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, create_database, open_database
from ziggy_dask.records.states import TaskStep
from ziggy_dask.records.tables import (
    BackupRow,
    InstanceRow,
    LeaseRow,
    OwnerRow,
    PlaceRow,
    PublicationRow,
    SettledRow,
    StoredFileRow,
    TaskRow,
    TreeRow,
    VersionRow,
)
from ziggy_dask.records.tables import Table as AnyTable

if TYPE_CHECKING:
    from ziggy_dask.datastore.catalogue import Commit

_ROWS = 1000
_NOT_KEPT = {
    one.__tablename__
    for one in (
        BackupRow,
        LeaseRow,
        OwnerRow,
        PublicationRow,
        TreeRow,
        StoredFileRow,
        VersionRow,
        PlaceRow,
        SettledRow,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup says of itself."""

    cluster: str
    """Name of the cluster."""
    snapshot: str
    """Newest snapshot of the datastore when it was made."""
    made: datetime
    """When that was."""


def write_backup(
    database: Database,
    path: Path,
    *,
    cluster: str,
    history: Callable[[], Iterable[Commit]],
) -> tuple[str, ...]:
    """Write all records to a file that is not there yet, with the snapshot they are of.

    Work may go on meanwhile. The records are those of one point in time, and the
    snapshot is the newest one of which they know everything. The file is checked before
    it gets its name.

    Parameters
    ----------
    database
        The records.
    path
        The file.
    cluster
        Name of the cluster.
    history
        Returns what the datastore published, newest first. Called once the point in
        time is fixed.

    Returns
    -------
    tuple
        What was wrong before with the records themselves: stored tasks whose products
        the datastore does not have. Empty, unless `ziggy doctor` complains, too.

    Raises
    ------
    RecordsError
        If the file is there already, can't be written or does not hold what it should;
        nothing is left then.
    """
    if path.exists():
        raise RecordsError(f"{path}: is there already; a backup never replaces a file")
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with ExitStack() as opened:
        opened.callback(_remove, partial)
        target = create_database(f"sqlite:///{partial.resolve()}")
        opened.callback(target.close)
        with database.reading() as source, target.writing() as connection:
            counts = _counts(source)  # from here on it sees one state of all tables
            made = datetime.now(UTC)
            copy_records(source, connection)
            commits = list(history())
            snapshot = _newest_on_record(connection, commits)
            connection.execute(
                insert(BackupRow).values(
                    id=1, cluster=cluster, snapshot=snapshot, made=made
                )
            )
        with target.reading() as connection:
            _verify(connection, counts, path)
            lost = _lost(connection, commits, snapshot)
        with target.reading() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        target.close()
        partial.replace(path)
    return lost


def _remove(partial: Path) -> None:
    """Remove what is left of a backup that did not become one, and files of SQLite's."""
    for end in ("", "-wal", "-shm", "-journal"):
        partial.with_name(f"{partial.name}{end}").unlink(missing_ok=True)


def _counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {
        table.name: connection.execute(
            select(func.count()).select_from(table)
        ).scalar_one()
        for table in kept_tables()
    }


def _newest_on_record(connection: Connection, commits: Sequence[Commit]) -> str:
    """Return the newest snapshot of which, and of all before it, the records know."""
    rows = connection.execute(select(TaskRow.id, TaskRow.step, TaskRow.attempt))
    tasks = {row.id: (row.step, row.attempt) for row in rows}
    found = ""
    for commit in commits:
        attempts = commit.metadata.get("attempts", {})
        named = [
            (tasks.get(int(key)), attempts.get(key, 0))
            for key in commit.metadata.get("inputs", {})
        ]
        if all(
            task is not None and (task[0] == TaskStep.COMPLETE.value or task[1] > made)
            for task, made in named
        ):
            found = found or commit.snapshot
        else:
            found = ""
    return found or commits[-1].snapshot


def _lost(
    connection: Connection, commits: Sequence[Commit], snapshot: str
) -> tuple[str, ...]:
    """Return in words which stored tasks a snapshot and those before it do not have."""
    names = [commit.snapshot for commit in commits]
    known = set(names[names.index(snapshot) :])
    rows = connection.execute(
        select(TaskRow.id, TaskRow.snapshot).where(
            TaskRow.step == TaskStep.COMPLETE.value
        )
    )
    return tuple(
        f"task {row.id} was stored by snapshot {row.snapshot!r}, which is not in the "
        "datastore's history"
        for row in rows
        if row.snapshot not in known
    )


def _verify(connection: Connection, counts: Mapping[str, int], path: Path) -> None:
    """Refuse a file that is not whole."""
    faults = [
        str(row[0])
        for row in connection.execute(text("PRAGMA integrity_check"))
        if row[0] != "ok"
    ]
    faults += [
        f"table {row[0]}: row {row[1]} refers to a row of {row[2]} that is not there"
        for row in connection.execute(text("PRAGMA foreign_key_check"))
    ]
    faults += [
        f"table {name} has {found} rows instead of {counts[name]}"
        for name, found in _counts(connection).items()
        if found != counts[name]
    ]
    if faults:
        raise RecordsError(f"{path}: the backup is not sound: {faults[0]}")


def read_backup(path: Path) -> Backup:
    """Return what a backup says of itself.

    Raises
    ------
    RecordsError
        If the file is none.
    """
    source = open_database(f"sqlite:///{path.resolve()}")
    try:
        with source.reading() as connection:
            row = connection.execute(select(BackupRow.__table__)).first()
    finally:
        source.close()
    if row is None:
        raise RecordsError(f"{path}: is not a backup")
    return Backup(cluster=row.cluster, snapshot=row.snapshot, made=row.made)


def require_empty(database: Database) -> None:
    """Refuse a database that has instances.

    Raises
    ------
    RecordsError
        If it has any.
    """
    query = select(func.count()).select_from(InstanceRow)
    with database.reading() as connection:
        if connection.execute(query).scalar_one():
            raise RecordsError(
                f"database {database.url}: has instances, which would be lost; name "
                "another one in the cluster file, and make it with: ziggy cluster init"
            )


def kept_tables() -> list[Table]:
    """Return the tables that are kept, those that others refer to first.

    What the catalogue repeats lies in the datastore, and is taken from there again.
    """
    return [one for one in AnyTable.metadata.sorted_tables if one.name not in _NOT_KEPT]


def copy_records(source: Connection, target: Connection) -> None:
    """Copy all rows of all tables that are kept."""
    for table in kept_tables():
        rows = source.execute(select(table)).mappings()
        for some in _some(dict(row) for row in rows):
            target.execute(insert(table), some)


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, _ROWS)):
        yield some


def continue_numbers(connection: Connection) -> None:
    """Let PostgreSQL number new rows after those that were copied."""
    if connection.dialect.name != "postgresql":
        return
    for table in kept_tables():
        if "id" in table.columns:
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "
                    f"COALESCE((SELECT MAX(id) FROM {table.name}), 0) + 1, false)"
                )
            )
