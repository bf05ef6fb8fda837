"""Clocks of instances and tasks: they count the time of work, and stop when nothing goes on.

A clock is what has been counted, and the moment since when it runs; each change of a state
sets both in the same update.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import func, select, update

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.states import WAITING_STEPS, TaskStep
from ziggy_dask.records.tables import InstanceRow, JournalRow, SubtaskRow, TaskRow


def running(table: Any) -> dict[str, Any]:
    """Return the values that let clocks run; those that do go on."""
    return {"clock_since_s": func.coalesce(table.clock_since_s, time.time())}


def stopped(table: Any) -> dict[str, Any]:
    """Return the values that stop clocks; those that stand stay as they are."""
    counted = func.coalesce(time.time() - table.clock_since_s, 0.0)
    return {"clock_s": table.clock_s + counted, "clock_since_s": None}


def of_step(step: TaskStep) -> dict[str, Any]:
    """Return the values for the clock of a task that comes to a step without an error."""
    stands = {*WAITING_STEPS, TaskStep.COMPLETE}
    return stopped(TaskRow) if step in stands else running(TaskRow)


def seconds(clock_s: float, clock_since_s: float | None) -> float:
    """Return what a clock shows now."""
    return clock_s + (max(0.0, time.time() - clock_since_s) if clock_since_s else 0.0)


@patiently
def stop_left_running(database: Database, instance: int) -> None:
    """Stop the clocks of an instance whose supervisor went away, when it last did something.

    That is the last change or the last end of a subtask on record.
    """
    tasks = select(TaskRow.id).where(TaskRow.instance_id == instance)
    with database.writing() as connection:
        changed = connection.execute(
            select(func.max(JournalRow.time_s)).where(JournalRow.task_id.in_(tasks))
        ).scalar()
        ended = connection.execute(
            select(func.max(SubtaskRow.started_s + SubtaskRow.wall_s)).where(
                SubtaskRow.task_id.in_(tasks)
            )
        ).scalar()
        last = min(max(changed or 0.0, ended or 0.0), time.time())
        for table, which in (
            (InstanceRow, InstanceRow.id == instance),
            (TaskRow, TaskRow.instance_id == instance),
        ):
            counted = last - table.clock_since_s
            connection.execute(
                update(table)
                .where(which, table.clock_since_s.is_not(None))
                .where(table.clock_since_s <= last)
                .values(clock_s=table.clock_s + counted)
            )
            connection.execute(
                update(table)
                .where(which, table.clock_since_s.is_not(None))
                .values(clock_since_s=None)
            )
