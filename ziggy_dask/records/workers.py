"""Workers as the records know them: where subtasks of unfinished instances run."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, literal_column, select

from ziggy_dask.definitions import JobState
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.records.tables import InstanceRow, JobRow, SubtaskRow, TaskRow
from ziggy_dask.workers import Cause, SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersNow:
    """Workers of instances that have not ended."""

    at_work: int
    """Workers on which subtasks of their unfinished tasks ended last."""
    lost: int
    """Subtasks that failed since their worker was lost."""
    waiting_jobs: int
    """Jobs that do not run yet, whose workers are still to come."""


@patiently
def workers_now(database: Database) -> WorkersNow:
    """Return how workers stand."""
    final = [state.value for state in InstanceState if state.is_final]
    unfinished = select(InstanceRow.id).where(InstanceRow.state.not_in(final))
    at_work = select(func.count(TaskRow.worker.distinct())).where(
        TaskRow.instance_id.in_(unfinished),
        TaskRow.step == TaskStep.EXECUTING.value,
        TaskRow.is_error.is_(False),
        TaskRow.complete + TaskRow.failed > 0,
    )
    lost = (
        select(func.count())
        .select_from(SubtaskRow)
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .where(TaskRow.instance_id.in_(unfinished), TaskRow.failed > 0)
        # Written out, so that the database sees that its index of failures serves.
        .where(SubtaskRow.state == literal_column(f"'{SubtaskState.FAILED.value}'"))
        .where(SubtaskRow.cause == Cause.WORKER_LOST.value)
    )
    waiting = select(func.count()).where(
        JobRow.instance_id.in_(unfinished),
        JobRow.state.in_([JobState.SUBMITTING.value, JobState.QUEUED.value]),
    )
    with database.reading() as connection:
        counts = [
            connection.execute(one).scalar_one() for one in (at_work, lost, waiting)
        ]
    return WorkersNow(at_work=counts[0], lost=counts[1], waiting_jobs=counts[2])
