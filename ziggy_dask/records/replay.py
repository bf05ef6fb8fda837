"""Replay: an instance as it was at any moment, from what the journal says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ziggy_dask.records import instances
from ziggy_dask.records.database import Database
from ziggy_dask.records.overview import NodeScore, scoreboard
from ziggy_dask.records.timeline import Timeline, timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instance at a moment of the past."""

    time: datetime
    """When that was."""
    nodes: tuple[NodeScore, ...]
    """How far its nodes were, in the order of the plan."""
    memory_bytes: int
    """Memory of the workers that ran its subtasks."""


def span(database: Database, instance: int) -> tuple[datetime, datetime]:
    """Return when an instance was made, and when it ended; now, if it has not."""
    record = instances.instance(database, instance)
    return record.created, record.finished or datetime.now(UTC)


def moment(database: Database, instance: int, at: datetime) -> Moment:
    """Return an instance as it was at a moment."""
    return _moment(database, instance, at, timeline(database, instance))


def moments(database: Database, instance: int, count: int) -> list[Moment]:
    """Return an instance at so many moments, from its making to its end."""
    start, end = span(database, instance)
    ran = timeline(database, instance)
    step = (end - start) / max(count - 1, 1)
    times = [start + n * step for n in range(count - 1)]
    return [_moment(database, instance, at, ran) for at in (*times, end)]


def _moment(database: Database, instance: int, at: datetime, ran: Timeline) -> Moment:
    return Moment(
        time=at,
        nodes=scoreboard(database, instance, at=at),
        memory_bytes=ran.memory_at(at.timestamp() - ran.start_s),
    )
