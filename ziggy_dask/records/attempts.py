"""Earlier attempts of subtasks: a restart makes nothing of them unseen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.items import items_of_tasks
from ziggy_dask.records.tables import EarlierSubtaskRow, TaskRow
from ziggy_dask.workers import Cause, SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSubtask:
    """How a subtask ended in an earlier attempt of its task."""

    task: int
    """Its task."""
    attempt: int
    """How often the task had been restarted then."""
    number: int
    """Number, from 0."""
    items: tuple[str, ...]
    """Its items by name; empty: it had everything."""
    state: SubtaskState
    """How it ended."""
    cause: Cause
    """Why it failed."""
    message: str
    """One line on that."""
    fingerprint: str
    """What failures of this kind have in common."""
    host: str
    """Machine that ran it."""
    worker: str
    """Worker that ran it."""
    started: datetime
    """When it began."""
    wall_s: float
    """Time that it took, in seconds."""
    peak_memory_bytes: int
    """Largest memory of its worker process."""
    log: str
    """What it printed, if it failed."""
    traceback: str
    """Traceback of its failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How often a task's restarts by themselves asked for more, each after a want of it."""

    memory: int = 0
    """Restarts after subtasks that lacked memory."""
    time: int = 0
    """Restarts after subtasks that lacked time."""


@patiently
def growth(database: Database, task: int, attempt: int, resubmits: int) -> Growth:
    """Return how often the last restarts of a task by themselves asked for more.

    Parameters
    ----------
    database
        The records.
    task
        Number of the task.
    attempt
        How often it was restarted.
    resubmits
        How often of these, at last, by itself.
    """
    if not resubmits:
        return Growth()
    row = EarlierSubtaskRow
    query = (
        select(row.cause, func.count(row.attempt.distinct()))
        .where(row.task_id == task, row.attempt >= attempt - resubmits)
        .group_by(row.cause)
    )
    with database.reading() as connection:
        found = {Cause(cause): count for cause, count in connection.execute(query)}
    return Growth(
        memory=found.get(Cause.OUT_OF_MEMORY, 0), time=found.get(Cause.TIME_LIMIT, 0)
    )


@patiently
def earlier_subtasks(database: Database, task: int) -> list[EarlierSubtask]:
    """Return the earlier attempts of the subtasks of a task, by attempt and number."""
    row = EarlierSubtaskRow
    query = (
        select(row.__table__)
        .where(row.task_id == task)
        .order_by(row.attempt, row.number, row.id)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
        items = items_of_tasks(connection, {task} if rows else set())
    return [
        EarlierSubtask(
            task=one.task_id,
            attempt=one.attempt,
            number=one.number,
            items=items[task].of(one.number),
            state=SubtaskState(one.state),
            cause=Cause(one.cause),
            message=one.message,
            fingerprint=one.fingerprint,
            host=one.host,
            worker=one.worker,
            started=datetime.fromtimestamp(one.started_s, UTC),
            wall_s=one.wall_s,
            peak_memory_bytes=one.peak_memory_bytes,
            log=one.log,
            traceback=one.traceback,
        )
        for one in rows
    ]


@patiently
def earlier_failures(database: Database, instance: int) -> dict[int, int]:
    """Return how many subtasks failed in earlier attempts, by task of an instance."""
    row = EarlierSubtaskRow
    query = (
        select(row.task_id, func.count())
        .join(TaskRow, TaskRow.id == row.task_id)
        .where(TaskRow.instance_id == instance, row.state == SubtaskState.FAILED.value)
        .group_by(row.task_id)
        .order_by(row.task_id)
    )
    with database.reading() as connection:
        return {one[0]: one[1] for one in connection.execute(query)}
