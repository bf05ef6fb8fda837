"""Events that started instances, and what is kept of their handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import EventRow, HandlerRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFile:
    """A ready file, told from a later one of its name."""

    name: str
    """Its name."""
    inode: int
    """Number that its file system gave it."""
    changed_ns: int
    """When it was written, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is about to start an instance."""

    pipeline: str
    """Pipeline that it starts."""
    handler: str
    """Name of the handler that saw it."""
    name: str = ""
    """Name of the event."""
    labels: tuple[str, ...] = ()
    """Its labels."""
    files: tuple[ReadyFile, ...] = ()
    """Its ready files, to be removed once the instance is on record."""
    due: datetime | None = None
    """Time of the schedule that has come; None: it is of no schedule."""


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
    due: datetime | None
    """Time of the schedule that had come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledEvent:
    """An event whose ready files may still be there."""

    key: int
    """Key of the event."""
    instance: int
    """The instance that it started."""
    files: tuple[ReadyFile, ...]
    """The files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerState:
    """What is kept of an event handler."""

    is_enabled: bool | None = None
    """What an operator said; None: it is as the definition says."""
    fault: str = ""
    """Why the supervisor has turned it off."""
    schedule: str = ""
    """The schedule that `until` belongs to."""
    until: datetime | None = None
    """Due times up to then are dealt with."""

    def is_on(self, as_defined: bool) -> bool:
        """Tell whether the supervisor follows the handler."""
        wanted = as_defined if self.is_enabled is None else self.is_enabled
        return wanted and not self.fault


NOTHING_KEPT = HandlerState()
"""State of a handler that was never switched and has no schedule."""


def insert_event(connection: Connection, event: NewEvent, instance: int) -> None:
    """Record an event in the transaction that makes its instance."""
    values = {
        "handler": event.handler,
        "name": event.name,
        "pipeline": event.pipeline,
        "labels": list(event.labels),
        "instance_id": instance,
        "time": datetime.now(UTC),
        "due": event.due,
        "files": [[one.name, one.inode, one.changed_ns] for one in event.files],
        "is_settled": not event.files,
    }
    connection.execute(insert(EventRow).values(**values))
    if event.due is not None:
        _set_handler(connection, event.pipeline, event.handler, {"until": event.due})


@patiently
def events(database: Database) -> list[EventRecord]:
    """Return all events, oldest first."""
    query = select(EventRow.__table__).order_by(EventRow.id)
    with database.reading() as connection:
        return [_event_from_row(row) for row in connection.execute(query)]


@patiently
def unsettled(database: Database, pipeline: str, handler: str) -> list[UnsettledEvent]:
    """Return the events of a handler whose ready files may not have been removed yet."""
    query = select(EventRow.id, EventRow.instance_id, EventRow.files).where(
        EventRow.pipeline == pipeline,
        EventRow.handler == handler,
        EventRow.is_settled.is_(False),
    )
    with database.reading() as connection:
        return [
            UnsettledEvent(
                key=row.id,
                instance=row.instance_id,
                files=tuple(
                    ReadyFile(name=name, inode=inode, changed_ns=changed)
                    for name, inode, changed in row.files
                ),
            )
            for row in connection.execute(query.order_by(EventRow.id))
        ]


@patiently
def settle_event(database: Database, key: int) -> None:
    """Note that the ready files of an event are gone."""
    with database.writing() as connection:
        connection.execute(
            update(EventRow).where(EventRow.id == key).values(is_settled=True)
        )


@patiently
def last_event(
    database: Database, pipeline: str, handler: str, due: datetime | None = None
) -> EventRecord | None:
    """Return the newest event of a handler, or the one of a due time, if there is any."""
    query = select(EventRow.__table__).where(
        EventRow.pipeline == pipeline, EventRow.handler == handler
    )
    if due is not None:
        query = query.where(EventRow.due == due)
    with database.reading() as connection:
        row = connection.execute(query.order_by(EventRow.id.desc())).first()
    return None if row is None else _event_from_row(row)


@patiently
def handler_states(database: Database) -> Mapping[tuple[str, str], HandlerState]:
    """Return what is kept of event handlers, by pipeline and name."""
    with database.reading() as connection:
        return MappingProxyType(
            {
                (row.pipeline, row.name): HandlerState(
                    is_enabled=row.is_enabled,
                    fault=row.fault,
                    schedule=row.schedule,
                    until=row.until,
                )
                for row in connection.execute(select(HandlerRow.__table__))
            }
        )


@patiently
def switch_handler(
    database: Database, pipeline: str, handler: str, *, is_enabled: bool
) -> None:
    """Turn a handler on or off; due times that passed before count as dealt with."""
    values = {"is_enabled": is_enabled, "fault": "", "until": datetime.now(UTC)}
    with database.writing() as connection:
        _set_handler(connection, pipeline, handler, values)


@patiently
def note_fault(database: Database, pipeline: str, handler: str, fault: str) -> None:
    """Turn a handler off, until the supervisor starts again or an operator enables it."""
    with database.writing() as connection:
        _set_handler(connection, pipeline, handler, {"fault": fault})


@patiently
def forget_faults(database: Database) -> None:
    """Turn on again what faults had turned off."""
    with database.writing() as connection:
        connection.execute(update(HandlerRow).values(fault=""))


@patiently
def note_schedule(
    database: Database, pipeline: str, handler: str, schedule: str, until: datetime
) -> None:
    """Note up to when the due times of a schedule are dealt with."""
    values = {"schedule": schedule, "until": until}
    with database.writing() as connection:
        _set_handler(connection, pipeline, handler, values)


def _set_handler(
    connection: Connection, pipeline: str, handler: str, values: Mapping[str, object]
) -> None:
    here: Sequence[Any] = (HandlerRow.pipeline == pipeline, HandlerRow.name == handler)
    if not connection.execute(
        update(HandlerRow).where(*here).values(**values)
    ).rowcount:
        new = {"is_enabled": None, "fault": "", "schedule": "", "until": None}
        row = {"pipeline": pipeline, "name": handler, **new, **values}
        connection.execute(insert(HandlerRow).values(**row))


def _event_from_row(row: Any) -> EventRecord:
    return EventRecord(
        handler=row.handler,
        name=row.name,
        pipeline=row.pipeline,
        labels=tuple(row.labels),
        instance=row.instance_id,
        time=row.time,
        due=row.due,
    )
