"""Restoring a backup: checked whole first, then taken over in one step, or not at all.

A backup may come from anybody, and may be damaged. It is read as data: copied to where nobody
changes it, checked for what databases alone can tell, brought to the tables of today, and every
row of it is read as it would be read later. Nothing in it is ever run.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Set
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic.util import CommandError
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from ziggy_dask.datastore.change_sets import require_change_set
from ziggy_dask.definitions import JobState
from ziggy_dask.errors import RecordsError as _Error
from ziggy_dask.errors import ZiggyError
from ziggy_dask.planning import task_from_json
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.backup import (
    Backup,
    continue_numbers,
    copy_records,
    kept_tables,
    read_backup,
)
from ziggy_dask.records.database import Database, create_database
from ziggy_dask.records.library import pipeline_from_row, set_from_json
from ziggy_dask.records.requests import RequestKind, RequestState
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.workers import Cause, SubtaskState

_KINDS = {"table", "index"}
_CHECKS: dict[tuple[str, str], Callable[[Any], object]] = {
    ("instances", "state"): InstanceState,
    ("tasks", "step"): TaskStep,
    ("subtasks", "state"): SubtaskState,
    ("subtasks", "cause"): Cause,
    ("change_sets", "data"): require_change_set,
    ("parameter_sets", "content"): lambda content: set_from_json("set", content),
    ("alerts", "severity"): Severity,
    ("jobs", "state"): JobState,
    ("requests", "kind"): RequestKind,
    ("requests", "state"): RequestState,
    ("tasks", "plan"): lambda plan: task_from_json(plan, {}) if plan else None,
}
"""How values of some columns are read, beside their types; raises if they can't be."""


@contextmanager
def checked_backup(file: Path) -> Iterator[tuple[Backup, Database]]:
    """Return what a backup says of itself, and its records, all of which can be read.

    Raises
    ------
    RecordsError
        If it is not a backup, is damaged, or has what can't be read; names the file.
    """
    if not file.is_file():
        raise _Error(f"{file}: is not there, or not a file")
    with tempfile.TemporaryDirectory(prefix="ziggy-restore-") as directory:
        staged = Path(directory) / "backup.db"
        try:
            shutil.copyfile(file, staged)
            _check_file(file, staged)
            database = create_database(f"sqlite:///{staged}")
        except (
            *(OSError, sqlite3.Error, SQLAlchemyError, CommandError),
            UnicodeDecodeError,  # SQLite names what is damaged, which may not be text
        ) as error:
            raise _Error(f"{file}: is not a backup, or is damaged: {error}") from error
        except ZiggyError as error:
            raise _Error(_about(file, staged, error)) from error
        try:
            with _told_of(file, staged):
                backup = read_backup(staged)
                _check_rows(file, database)
            yield backup, database
        finally:
            database.close()


def take_over(
    backup: Database, database: Database, switch: Callable[[], Callable[[], None]]
) -> None:
    """Fill a database with the records of a checked backup, all or nothing.

    Parameters
    ----------
    backup
        The records of the backup.
    database
        Where they go; what it has is replaced.
    switch
        Called when all of them are there, right before they are kept; returns what takes
        back what it did, should they not be kept.
    """
    undo: Callable[[], None] | None = None
    try:
        with backup.reading() as old, database.writing() as new:
            for table in reversed(kept_tables()):
                new.execute(delete(table))
            copy_records(old, new)
            continue_numbers(new)
            undo = switch()
    except BaseException:
        if undo is not None:
            undo()
        raise


def _check_file(file: Path, staged: Path) -> None:
    """Refuse a file that SQLite finds damaged, or that has more than tables."""
    with closing(sqlite3.connect(staged)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("PRAGMA integrity_check(3)").fetchall()
        if found != [("ok",)]:
            raise _Error(
                f"{file}: is damaged: {'; '.join(str(row[0]) for row in found)}"
            )
        query = "SELECT type, name FROM sqlite_master"
        for kind, name in connection.execute(query):
            if kind not in _KINDS:
                raise _Error(f"{file}: has the {kind} {name!r}, which no backup has")
        names = {row[1] for row in connection.execute(query) if row[0] == "table"}
        if not {"alembic_version", "backup"} <= names:
            raise _Error(f"{file}: is not a backup")
        for table in ("alembic_version", "backup"):
            if not connection.execute(f"SELECT 1 FROM {table}").fetchall():
                raise _Error(f"{file}: is not a backup: its table {table!r} is empty")
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise _Error(
                f"{file}: is damaged: row {broken[1]} of table {broken[0]!r} refers to "
                f"what table {broken[2]!r} does not have"
            )


def _check_rows(file: Path, database: Database) -> None:
    """Read all that is to be restored, as it will be read later."""
    for fault in unreadable_rows(database):
        raise _Error(f"{file}: {fault}")


def unreadable_rows(
    database: Database, *, but: Set[str] = frozenset()
) -> Iterator[str]:
    """Read all rows that are kept, as they are read elsewhere; tell of each table what can't be.

    Parameters
    ----------
    database
        The records.
    but
        Names of tables that are left out.
    """
    for table in kept_tables():
        if table.name in but:
            continue
        checks = {
            column: check
            for (name, column), check in _CHECKS.items()
            if name == table.name
        }
        number = 0
        try:
            with database.reading() as connection:
                for row in connection.execute(select(table)):
                    number += 1
                    for column, check in checks.items():
                        check(getattr(row, column))
                    if table.name == "pipelines":
                        pipeline_from_row(row)
        except (ZiggyError, ValueError, TypeError, KeyError, LookupError) as error:
            cause = (
                error.__cause__ if isinstance(error.__cause__, ValueError) else error
            )
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            yield f"row {number or 1} of table {table.name!r} can't be read: {reason}"


@contextmanager
def _told_of(file: Path, staged: Path) -> Iterator[None]:
    try:
        yield
    except (ZiggyError, ValueError, TypeError) as error:
        raise _Error(_about(file, staged, error)) from error


def _about(file: Path, staged: Path, error: Exception) -> str:
    """Return what is wrong with a staged file in words on the file that it was copied from."""
    text = str(error).replace(f"database sqlite:///{staged}: ", "")
    text = text.replace(str(staged), str(file))
    return text if str(file) in text else f"{file}: {text}"
