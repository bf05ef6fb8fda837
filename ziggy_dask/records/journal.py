"""The journal: how tasks stood at any moment, written with every change of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, func, insert, select

from ziggy_dask.records.tables import (
    EarlierSubtaskRow,
    JournalRow,
    LogRow,
    SubtaskRow,
    TaskRow,
)

_STANDING = (
    TaskRow.id,
    TaskRow.step,
    TaskRow.is_error,
    TaskRow.total,
    TaskRow.complete,
    TaskRow.failed,
)
_KEPT = (
    "task_id",
    "part_id",
    "number",
    "state",
    "host",
    "worker",
    "started_s",
    "wall_s",
)


def make(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Make tasks, and note that they are there; return their numbers in that order."""
    if not rows:
        return []
    query = insert(TaskRow).returning(*_STANDING, sort_by_parameter_order=True)
    return _note(connection, connection.execute(query, rows).all())


def change(connection: Connection, *changes: Any) -> list[int]:
    """Carry out updates of tasks, and note how these stand; return their numbers.

    All that scoreboards count is changed in this way.
    """
    rows = [
        row
        for one in changes
        for row in connection.execute(one.returning(*_STANDING)).all()
    ]
    return _note(connection, rows)


def keep(connection: Connection, *which: Any) -> None:
    """Keep how some subtasks ended whose records are about to be removed.

    What was printed is kept of those that failed.
    """
    names = [*_KEPT, "peak_memory_bytes", "cause", "message", "fingerprint"]
    is_failure = SubtaskRow.cause != ""
    words = [
        case((is_failure, func.coalesce(column, "")), else_="").label(column.key)
        for column in (LogRow.log, LogRow.traceback)
    ]
    table = SubtaskRow.__table__
    same = (LogRow.task_id == SubtaskRow.task_id) & (LogRow.number == SubtaskRow.number)
    query = (
        select(*(table.c[name] for name in names), TaskRow.attempt, *words)
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .outerjoin(LogRow, same)
        .where(*which)
    )
    kept = [*names, "attempt", "log", "traceback"]
    connection.execute(insert(EarlierSubtaskRow).from_select(kept, query))


def _note(connection: Connection, rows: Iterable[Any]) -> list[int]:
    now = time.time()
    new = [
        {
            "task_id": row.id,
            "time_s": now,
            "step": row.step,
            "is_error": row.is_error,
            "total": row.total,
            "complete": row.complete,
            "failed": row.failed,
        }
        for row in rows
    ]
    if new:
        connection.execute(insert(JournalRow), new)
    return [one["task_id"] for one in new]
