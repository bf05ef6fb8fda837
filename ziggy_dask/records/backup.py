"""Backups: all records, in one SQLite file, whatever database they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, create_database, open_database
from ziggy_dask.records.tables import BackupRow, InstanceRow, LeaseRow
from ziggy_dask.records.tables import Table as AnyTable

_ROWS = 1000


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
    database: Database, path: Path, *, cluster: str, snapshot: str
) -> None:
    """Write all records to a file that is not there yet.

    Parameters
    ----------
    database
        The records.
    path
        The file.
    cluster
        Name of the cluster.
    snapshot
        Newest snapshot of the datastore.

    Raises
    ------
    RecordsError
        If the file is there already, or can't be written; nothing is left then.
    """
    if path.exists():
        raise RecordsError(f"{path}: is there already; a backup never replaces a file")
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    target = create_database(f"sqlite:///{partial.resolve()}")
    try:
        with database.reading() as source, target.writing() as connection:
            copy_records(source, connection)
            made = datetime.now(UTC)
            connection.execute(
                insert(BackupRow).values(
                    id=1, cluster=cluster, snapshot=snapshot, made=made
                )
            )
        with target.reading() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    finally:
        target.close()
    for left in path.parent.glob(f"{partial.name}-*"):
        left.unlink()
    partial.replace(path)


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
        raise RecordsError(f"{path}: is no backup")
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
    """Return the tables that are kept, those that others refer to first."""
    own = {BackupRow.__tablename__, LeaseRow.__tablename__}
    return [one for one in AnyTable.metadata.sorted_tables if one.name not in own]


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
