"""Alerts: what the operator should know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import AlertRow

LONGEST = 4000
"""Characters of a message that are kept."""
FEW = 5
"""So many equal alerts have lines of their own; those that follow are counted."""
SAME_S = 3600.0
"""Equal alerts count on one line if no more than this lies between them, in seconds."""
REPEAT_S = 600.0
"""What is counted on a line is sent on again after this, in seconds."""


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
    cause: str = ""
    """What tells it from alerts of other causes; equal ones share a line when many."""
    count: int = 1
    """How often it was raised."""
    latest: datetime | None = None
    """When it was raised last; None: once."""
    is_sent: bool = True
    """Whether it is to be sent on now: not each of many."""


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
    cause: str = "",
) -> Alert:
    """Record an alert; of many with one cause, only the first few on lines of their own.

    Parameters
    ----------
    cause
        A state that lasts, e.g. ``disk-full``: it has one line from the first time on,
        until `clear_cause`. Empty: the message, but for numbers, tells causes apart.

    Returns
    -------
    Alert
        The new one, or that of the line on which it counts. It is to be sent on if it is
        new, when its count has grown tenfold, and every `REPEAT_S`.
    """
    text = message or "(no message)"
    if len(text) > LONGEST:
        text = text[: LONGEST - 4] + "..."
    kind = cause or cause_of(severity, source, instance, text)
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
        "cause": kind,
        "count": 1,
        "sent": datetime.now(UTC),
    }
    with database.writing() as connection:
        line = _line(connection, kind, 1 if cause else FEW)
        if line is not None:
            return _count(connection, line, task)
        made = connection.execute(
            insert(AlertRow).values(**values).returning(AlertRow.__table__)
        )
        return _from_row(made.one())


def cause_of(
    severity: Severity, source: str, instance: int | None, message: str
) -> str:
    """Return what equal alerts have in common: all but numbers and names in brackets.

    Examples
    --------
    >>> cause_of(Severity.ERROR, "supervisor", 1, "task 7 [night-2]: lost")
    'ERROR supervisor 1 task # [#]: lost'
    """
    plain = re.sub(r"\[[^\]]*\]", "[#]", message)
    return f"{severity.value} {source} {instance} {re.sub('[0-9]+', '#', plain)}"[:500]


def _line(connection: Connection, cause: str, few: int) -> Any:
    """Return the newest line of a cause, if there are a few that nobody has cleared."""
    since = datetime.now(UTC) - timedelta(seconds=SAME_S)
    query = (
        select(AlertRow.__table__)
        .where(AlertRow.cause == cause, AlertRow.is_cleared.is_(False))
        .order_by(AlertRow.id.desc())
        .limit(few)
    )
    rows = connection.execute(query).all()
    if len(rows) < few:
        return None
    newest = rows[0]
    return newest if few == 1 or (newest.latest or newest.time) > since else None


def _count(connection: Connection, line: Any, task: int | None) -> Alert:
    now = datetime.now(UTC)
    count = line.count + 1
    is_sent = str(count).strip("0") == "1" or (
        line.sent is None or now - line.sent > timedelta(seconds=REPEAT_S)
    )
    made = connection.execute(
        update(AlertRow)
        .where(AlertRow.id == line.id)
        .values(count=count, latest=now, sent=now if is_sent else line.sent)
        .returning(AlertRow.__table__)
    )
    return _from_row(made.one(), is_sent=is_sent)


@patiently
def clear_cause(database: Database, cause: str) -> list[Alert]:
    """Take the alerts of a state off the list, since it has ended; return them."""
    open_ = (AlertRow.cause == cause, AlertRow.is_cleared.is_(False))
    with database.reading() as connection:  # mostly there is none
        if connection.execute(select(AlertRow.id).where(*open_)).first() is None:
            return []
    with database.writing() as connection:
        rows = connection.execute(
            update(AlertRow)
            .where(*open_)
            .values(is_acknowledged=True, is_cleared=True)
            .returning(AlertRow.__table__)
        )
        return [_from_row(row) for row in rows]


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


def _from_row(row: Any, *, is_sent: bool = True) -> Alert:
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
        cause=row.cause,
        count=row.count,
        latest=row.latest,
        is_sent=is_sent,
    )
