"""Jobs of batch systems: what was submitted, when it ran, what it cost."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import JobRow


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
    """When it ended, as the batch system says, or was first seen to have ended."""

    @property
    def hours(self) -> float:
        """Hours that it ran, until now if it still does."""
        if self.started is None:
            return 0.0
        ended = self.ended or datetime.now(UTC)
        return (ended - self.started).total_seconds() / 3600

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
        ``cost_per_hour``.
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
            insert(JobRow).values(**given, **values).returning(JobRow.__table__)
        )
        return _from_row(made.one())


@patiently
def note_job(database: Database, job: int, told: JobStatus, number: str = "") -> None:
    """Record what a job is doing now.

    Times that the batch system does not tell are those of the first note.
    """
    values: dict[str, Any] = {
        "state": told.state.value,
        "comment": told.comment,
        "cause": told.cause.value,
        "exit_code": told.exit_code,
    }
    if number:
        values["number"] = number
    now = datetime.now(UTC)
    with database.writing() as connection:
        row = connection.execute(
            select(JobRow.submitted, JobRow.started, JobRow.ended).where(
                JobRow.id == job
            )
        ).one()
        if told.state is JobState.RUNNING or told.started:
            values["started"] = _within(row.submitted, told.started, now, row.started)
        if told.state.is_final:
            values["ended"] = _within(row.submitted, told.ended, now, row.ended)
        connection.execute(update(JobRow).where(JobRow.id == job).values(**values))


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
    )
