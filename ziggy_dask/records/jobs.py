"""Jobs of batch systems: what was submitted, when it ran, what it cost."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update

from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import JobRow, SubtaskRow, TaskRow


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job of a batch system."""

    id: int
    """Number, from 1."""
    name: str
    """Its name in the batch system, and its worker's."""
    number: str
    """The batch system's number of it; empty: it has none."""
    instance: int
    """Instance for which it was submitted."""
    environment: str
    """Name of the environment."""
    architecture: str
    """Sort of node."""
    queue: str
    """Queue; empty: the site's default."""
    wall_s: float
    """Wall time, in seconds."""
    cost_per_hour: float
    """Price of its node for one hour."""
    state: JobState
    """What it is doing."""
    comment: str
    """What the batch system says of it."""
    cause: JobCause
    """Why it ended before it was done."""
    exit_code: int | None
    """Exit code, 128 and more for signals; None: not told."""
    submitted: datetime
    """When it was submitted."""
    started: datetime | None
    """When it began, as the batch system says, or was first seen running."""
    ended: datetime | None
    """When it ended, as the batch system says, or was last seen to run."""
    seen: datetime | None = None
    """When it was last known to run."""
    earlier_s: float = 0.0
    """Time for which it had run before it was requeued, in seconds."""

    @property
    def seconds(self) -> float:
        """Seconds that it had a node, as far as it is known to."""
        if self.started is None:
            return self.earlier_s
        ended = self.ended or self.seen or self.started
        return self.earlier_s + max((ended - self.started).total_seconds(), 0.0)

    @property
    def hours(self) -> float:
        """Hours that it had a node, as far as it is known to."""
        return self.seconds / 3600

    @property
    def cost(self) -> float:
        """Its price so far."""
        return self.hours * self.cost_per_hour


@patiently
def add_job(database: Database, /, **values: Any) -> JobRecord:
    """Record a job that is about to be submitted; its name is new.

    Parameters
    ----------
    **values
        ``instance_id``, ``environment``, ``architecture``, ``queue``, ``wall_s`` and
        ``cost_per_hour``; and ``name``, unless any will do.
    """
    given = {
        "name": f"ziggy-{secrets.token_hex(6)}",
        "number": "",
        "state": JobState.SUBMITTING.value,
        "comment": "",
        "cause": JobCause.NONE.value,
        "submitted": datetime.now(UTC),
    }
    with database.writing() as connection:
        made = connection.execute(
            insert(JobRow).values(**(given | values)).returning(JobRow.__table__)
        )
        return _from_row(made.one())


@patiently
def note_job(database: Database, job: int, told: JobStatus, number: str = "") -> None:
    """Record what a job is doing now.

    Times that the batch system does not tell are those of the first note; the end of a job
    that nobody looked at for a while is when it was last known to run. A job that waits
    again keeps the time for which it had run.
    """
    values: dict[str, Any] = {
        "state": told.state.value,
        "comment": told.comment,
        "cause": told.cause.value,
        "exit_code": told.exit_code,
    }
    if number:
        values["number"] = number
    with database.writing() as connection:
        row = connection.execute(
            select(
                JobRow.submitted,
                JobRow.started,
                JobRow.ended,
                JobRow.seen,
                JobRow.earlier_s,
            ).where(JobRow.id == job)
        ).one()
        values |= _times(row, told, datetime.now(UTC))
        connection.execute(update(JobRow).where(JobRow.id == job).values(**values))


_UNSEEN = timedelta(minutes=2)
"""A job that was not seen for so long may have ended at any moment since."""


def _times(row: Any, told: JobStatus, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if row.ended is not None and not told.state.is_final:
        values["ended"] = None  # it was given up, and is there
    if told.state is JobState.QUEUED and row.started is not None:
        ran = max(((row.seen or row.started) - row.started).total_seconds(), 0.0)
        return values | {
            "started": None,
            "seen": None,
            "earlier_s": row.earlier_s + ran,
        }
    if told.state is JobState.RUNNING or told.started:
        started = _within(row.submitted, told.started, now, row.started)
        values["started"] = started
        if row.started is not None and started - row.started > timedelta(seconds=2):
            ran = max(((row.seen or row.started) - row.started).total_seconds(), 0.0)
            values["earlier_s"] = row.earlier_s + ran
    is_followed = row.seen is not None and now - row.seen <= _UNSEEN
    if told.state is JobState.RUNNING or (
        told.state is JobState.CANCELLING and is_followed
    ):
        values["seen"] = now
    if told.state.is_final:
        is_long_ago = row.seen is not None and now - row.seen > _UNSEEN
        last = row.seen if is_long_ago else now
        values["ended"] = _within(row.submitted, told.ended, last, row.ended)
        if told.ended:
            values["ended"] = _within(row.submitted, told.ended, now, row.ended)
    return values


@patiently
def note_seen(database: Database, seen: Collection[int]) -> None:
    """Record that jobs, by number of the record, run now."""
    if seen:
        with database.writing() as connection:
            connection.execute(
                update(JobRow).where(JobRow.id.in_(seen)).values(seen=datetime.now(UTC))
            )


def worked_seconds(database: Database, instance: int | None = None) -> dict[str, float]:
    """Return for how long each job worked on at least one subtask, in seconds, by name.

    Subtasks that were lost with their job, or were restarted since, don't count.

    Parameters
    ----------
    database
        The records.
    instance
        Jobs that worked on one instance; None: on any.
    """
    query = select(SubtaskRow.worker, SubtaskRow.started_s, SubtaskRow.wall_s).where(
        SubtaskRow.worker.like("ziggy-%")
    )
    if instance is not None:
        query = query.join(TaskRow, TaskRow.id == SubtaskRow.task_id).where(
            TaskRow.instance_id == instance
        )
    spans: dict[str, list[tuple[float, float]]] = {}
    with database.reading() as connection:
        for worker, started_s, wall_s in connection.execute(query):
            job = worker.partition(".")[0]
            spans.setdefault(job, []).append((started_s, started_s + wall_s))
    return {job: union_seconds(found) for job, found in spans.items()}


def union_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of all that some spans of time cover.

    Examples
    --------
    >>> union_seconds([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(end - max(begin, until), 0.0)
        until = max(until, end)
    return total


def _within(
    submitted: datetime, told: datetime | None, now: datetime, noted: datetime | None
) -> datetime:
    """Return a time between submission and now; clocks of machines differ."""
    return max(submitted, min(told or noted or now, now))


@patiently
def jobs(
    database: Database, instance: int | None = None, *, only_open: bool = False
) -> list[JobRecord]:
    """Return jobs in the order of their submission.

    Parameters
    ----------
    database
        The records.
    instance
        Those of one instance; None: all.
    only_open
        Whether to leave out those that have ended.
    """
    query = select(JobRow.__table__).order_by(JobRow.id)
    if instance is not None:
        query = query.where(JobRow.instance_id == instance)
    if only_open:
        final = [state.value for state in JobState if state.is_final]
        query = query.where(JobRow.state.not_in(final))
    with database.reading() as connection:
        return [_from_row(row) for row in connection.execute(query)]


@patiently
def job_named(database: Database, name: str) -> JobRecord | None:
    """Return the job with a name; None: there is none."""
    query = select(JobRow.__table__).where(JobRow.name == name)
    with database.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else _from_row(row)


def _from_row(row: Any) -> JobRecord:
    return JobRecord(
        id=row.id,
        name=row.name,
        number=row.number,
        instance=row.instance_id,
        environment=row.environment,
        architecture=row.architecture,
        queue=row.queue,
        wall_s=row.wall_s,
        cost_per_hour=row.cost_per_hour,
        state=JobState(row.state),
        comment=row.comment,
        cause=JobCause(row.cause),
        exit_code=row.exit_code,
        submitted=row.submitted,
        started=row.started,
        ended=row.ended,
        seen=row.seen,
        earlier_s=row.earlier_s,
    )
