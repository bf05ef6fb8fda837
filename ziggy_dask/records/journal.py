"""The journal: how tasks stood at any moment, written with every change of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, func, insert, select

from ziggy_dask.records.database import pieces
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
    """Make tasks of an instance, and note that they are there; return their numbers in order."""
    if not rows:
        return []
    (instance,) = {row["instance_id"] for row in rows}
    # SQLite returns numbers in order only if each row is a statement of its own.
    before = connection.execute(select(func.max(TaskRow.id))).scalar() or 0
    connection.execute(insert(TaskRow), rows)
    made = select(*_STANDING).where(
        TaskRow.id > before, TaskRow.instance_id == instance
    )
    return _note(connection, connection.execute(made.order_by(TaskRow.id)).all())


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


def change_each(
    connection: Connection, change: Any, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Carry out one update for each of many tasks, and note how these stand.

    The statement is prepared once for all of them; as many statements would take longer
    to prepare than to carry out.

    Parameters
    ----------
    connection
        A connection that writes.
    change
        The update; its bound parameters have the names of what is in a row.
    rows
        What differs; the number of the task is called ``number``.
    """
    if not rows:
        return
    connection.execute(change, rows)
    for some in pieces([row["number"] for row in rows]):
        query = select(*_STANDING).where(TaskRow.id.in_(some)).order_by(TaskRow.id)
        _note(connection, connection.execute(query).all())


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
