"""Alerts: what the operator should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sqlalchemy import insert, select, update

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import AlertRow

LONGEST = 4000
"""Characters of a message that are kept."""


class Severity(Enum):
    """How bad it is."""

    INFRASTRUCTURE = "INFRASTRUCTURE"
    """Something that all tasks need does not work."""
    ERROR = "ERROR"
    """A task has failed."""
    WARNING = "WARNING"
    """Something is not as it should be; work goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that the operator should know."""

    id: int
    """Number, from 1."""
    time: datetime
    """When it was raised."""
    severity: Severity
    """How bad it is."""
    source: str
    """What raised it: ``supervisor``, ``events``."""
    process: str
    """Machine and process that raised it."""
    instance: int | None
    """Instance that it is about."""
    task: int | None
    """Task that it is about."""
    message: str
    """What happened."""
    is_acknowledged: bool
    """Whether an operator has seen it."""


@patiently
def raise_alert(
    database: Database,
    severity: Severity,
    message: str,
    *,
    source: str,
    process: str,
    instance: int | None = None,
    task: int | None = None,
) -> Alert:
    """Record an alert."""
    text = message or "(no message)"
    if len(text) > LONGEST:
        text = text[: LONGEST - 4] + "..."
    values = {
        "time": datetime.now(UTC),
        "severity": severity.value,
        "source": source,
        "process": process,
        "instance_id": instance,
        "task_id": task,
        "message": text,
        "is_acknowledged": False,
        "is_cleared": False,
    }
    with database.writing() as connection:
        made = connection.execute(
            insert(AlertRow).values(**values).returning(AlertRow.__table__)
        )
        return _from_row(made.one())


@patiently
def alerts(
    database: Database, *, with_cleared: bool = False, limit: int = 1000
) -> list[Alert]:
    """Return the alerts, newest first."""
    query = select(AlertRow.__table__).order_by(AlertRow.id.desc()).limit(limit)
    if not with_cleared:
        query = query.where(AlertRow.is_cleared.is_(False))
    with database.reading() as connection:
        return [_from_row(row) for row in connection.execute(query)]


def acknowledge(database: Database, numbers: Sequence[int] = ()) -> int:
    """Mark alerts as seen, by default all; return how many were not.

    Raises
    ------
    RecordsError
        If there is no such alert.
    """
    return _mark(database, numbers, AlertRow.is_acknowledged, {"is_acknowledged": True})


def clear(database: Database, numbers: Sequence[int] = ()) -> int:
    """Take alerts off the list, by default all; the database keeps them.

    Raises
    ------
    RecordsError
        If there is no such alert.
    """
    values = {"is_acknowledged": True, "is_cleared": True}
    return _mark(database, numbers, AlertRow.is_cleared, values)


@patiently
def _mark(
    database: Database, numbers: Sequence[int], flag: Any, values: dict[str, bool]
) -> int:
    query = update(AlertRow).where(flag.is_(False)).values(**values)
    if numbers:
        query = query.where(AlertRow.id.in_(numbers))
    with database.writing() as connection:
        known = select(AlertRow.id).where(AlertRow.id.in_(numbers))
        unknown = set(numbers) - set(connection.execute(known).scalars())
        if unknown:
            raise RecordsError(f"there is no alert {min(unknown)}; see: ziggy alerts")
        return connection.execute(query).rowcount


def _from_row(row: Any) -> Alert:
    return Alert(
        id=row.id,
        time=row.time,
        severity=Severity(row.severity),
        source=row.source,
        process=row.process,
        instance=row.instance_id,
        task=row.task_id,
        message=row.message,
        is_acknowledged=row.is_acknowledged,
    )
