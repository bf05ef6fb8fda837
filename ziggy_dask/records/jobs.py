"""Jobs of batch systems: what was submitted, when it ran, what it cost."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from ziggy_dask.definitions import JobState
from ziggy_dask.records.database import Database
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
    submitted: datetime
    """When it was submitted."""
    started: datetime | None
    """When it was first seen running."""
    ended: datetime | None
    """When it was first seen to have ended."""

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


def add_job(database: Database, **values: Any) -> JobRecord:
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
        "submitted": datetime.now(UTC),
    }
    with database.writing() as connection:
        made = connection.execute(
            insert(JobRow).values(**given, **values).returning(JobRow.__table__)
        )
        return _from_row(made.one())


def note_job(
    database: Database, job: int, state: JobState, comment: str = "", number: str = ""
) -> None:
    """Record what a job is doing now; times are those of the first note."""
    values: dict[str, Any] = {"state": state.value, "comment": comment}
    if number:
        values["number"] = number
    now = datetime.now(UTC)
    with database.writing() as connection:
        connection.execute(update(JobRow).where(JobRow.id == job).values(**values))
        for column, is_due in (
            (JobRow.started, state is JobState.RUNNING),
            (JobRow.ended, state.is_final),
        ):
            if is_due:
                connection.execute(
                    update(JobRow)
                    .where(JobRow.id == job, column.is_(None))
                    .values({column: now})
                )


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
        submitted=row.submitted,
        started=row.started,
        ended=row.ended,
    )
