"""Events that started instances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import EventRow


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An event that started an instance."""

    handler: str
    """Name of the handler that saw it."""
    name: str
    """Name of the event."""
    pipeline: str
    """Pipeline that it started."""
    labels: tuple[str, ...]
    """Its labels."""
    instance: int
    """The instance."""
    time: datetime
    """When that was."""


@patiently
def record_event(
    database: Database,
    handler: str,
    name: str,
    *,
    pipeline: str,
    labels: tuple[str, ...],
    instance: int,
) -> None:
    """Record an event that has started an instance."""
    values = {
        "handler": handler,
        "name": name,
        "pipeline": pipeline,
        "labels": list(labels),
        "instance_id": instance,
        "time": datetime.now(UTC),
    }
    with database.writing() as connection:
        connection.execute(insert(EventRow).values(**values))


@patiently
def events(database: Database) -> list[EventRecord]:
    """Return all events, oldest first."""
    query = select(EventRow.__table__).order_by(EventRow.id)
    with database.reading() as connection:
        return [
            EventRecord(
                handler=row.handler,
                name=row.name,
                pipeline=row.pipeline,
                labels=tuple(row.labels),
                instance=row.instance_id,
                time=row.time,
            )
            for row in connection.execute(query)
        ]
