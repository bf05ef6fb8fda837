"""Overviews: counts and pages that the database makes, however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, not_, select
from sqlalchemy.orm import aliased

from ziggy_dask.records import clocks
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.instances import TaskRecord, records_of
from ziggy_dask.records.states import (
    WAITING_STEPS,
    Counts,
    TaskStep,
    state_of_task,
)
from ziggy_dask.records.tables import InstanceRow, JournalRow, TaskRow


class Doing(Enum):
    """What a task is doing, as scoreboards count it."""

    WAITING = "waiting"
    """Not begun."""
    PROCESSING = "processing"
    """Going on."""
    COMPLETE = "complete"
    """Complete."""
    FAILED = "failed"
    """With the error flag, whatever its step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeScore:
    """How far a node of an instance is."""

    node: str
    """Name of the node."""
    tasks: Counts
    """Its tasks."""
    subtasks: int
    """Subtasks of all of them, as far as known."""
    complete: int
    """Subtasks that are complete."""
    failed: int
    """Subtasks that failed."""


class Order(Enum):
    """What tasks can be sorted by."""

    NUMBER = "number"
    """Number of the task."""
    NODE = "node"
    """Name of the node."""
    UNIT = "unit"
    """Name of the unit of work."""
    STATE = "state"
    """What they are doing."""
    SUBTASKS = "subtasks"
    """Number of subtasks."""
    FAILED = "failed"
    """Number of subtasks that failed."""
    STARTED = "started"
    """When they began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks of an instance to show, and in which order."""

    instance: int
    """Number of the instance."""
    node: str = ""
    """Only of this node; empty: of all."""
    doing: Doing | None = None
    """Only those that do this."""
    text: str = ""
    """Only those with this in the name of their unit of work."""
    order: Order = Order.NUMBER
    """What they are sorted by."""
    is_descending: bool = False
    """Whether the largest comes first."""
    offset: int = 0
    """So many are passed over."""
    limit: int = 25
    """So many at most are returned."""
    at: datetime | None = None
    """As of when; None: as of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some of the tasks that a query asks for."""

    total: int
    """Number of all of them."""
    tasks: tuple[TaskRecord, ...]
    """Those of this page."""


class TaskLine(NamedTuple):
    """A task in one line; a tuple, since listings make ten thousand in no time."""

    id: int
    """Number, from 1."""
    node: str
    """Name of the node."""
    unit: str
    """Name of the unit of work."""
    step: str
    """How far it is: the value of a `TaskStep`."""
    is_error: bool
    """Whether it failed."""
    total: int
    """Subtasks."""
    complete: int
    """Subtasks that are complete."""
    failed: int
    """Subtasks that failed."""
    message: str
    """Why it failed, if so."""
    worker: str
    """Where its subtasks ran last."""
    started: datetime | None
    """When its first subtask began."""
    finished: datetime | None
    """When it was complete or failed."""
    clock_s: float
    """Time of work on it, in seconds, over all attempts, as far as it was counted."""
    clock_since_s: float | None
    """Since when it is worked on, in seconds since 1970 UTC; None: it is not."""

    @property
    def seconds(self) -> float:
        """Time of work on it so far, in seconds; waiting does not count."""
        return clocks.seconds(self.clock_s, self.clock_since_s)

    @property
    def state(self) -> str:
        """Step and error flag, as people read them."""
        return state_of_task(self.step, is_error=self.is_error)


@patiently
def task_lines(database: Database, instance: int) -> list[TaskLine]:
    """Return the tasks of an instance for a listing, in the order of their numbers."""
    columns = (TaskRow.__table__.columns[name] for name in TaskLine._fields)
    query = select(*columns).where(TaskRow.instance_id == instance).order_by(TaskRow.id)
    with database.reading() as connection:
        return list(map(TaskLine._make, connection.execute(query).all()))


@patiently
def newest_instance(database: Database) -> int:
    """Return the number of the newest instance; 0: none has been run."""
    with database.reading() as connection:
        return connection.execute(select(func.max(InstanceRow.id))).scalar() or 0


@patiently
def scoreboard(
    database: Database, instance: int, *, at: datetime | None = None
) -> tuple[NodeScore, ...]:
    """Return how far the nodes of an instance are, in the order of the plan.

    Parameters
    ----------
    database
        The records.
    instance
        Number of the instance.
    at
        As of when; None: as of now.
    """
    standing = _standing(at)
    counts = {
        doing: func.sum(case((which, 1), else_=0))
        for doing, which in _doing(standing).items()
    }
    query = (
        _since(
            select(
                TaskRow.node,
                *(column.label(doing.value) for doing, column in counts.items()),
                func.sum(standing.total).label("subtasks"),
                func.sum(standing.complete).label("subtasks_complete"),
                func.sum(standing.failed).label("subtasks_failed"),
            ),
            at,
        )
        .where(TaskRow.instance_id == instance)
        .group_by(TaskRow.node)
        .order_by(func.min(TaskRow.id))
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    return tuple(
        NodeScore(
            node=row.node,
            tasks=Counts(
                waiting=int(row.waiting),
                processing=int(row.processing),
                complete=int(row.complete),
                failed=int(row.failed),
            ),
            subtasks=int(row.subtasks),
            complete=int(row.subtasks_complete),
            failed=int(row.subtasks_failed),
        )
        for row in rows
    )


@patiently
def task_page(database: Database, query: TaskQuery) -> TaskPage:
    """Return some tasks of an instance; the database sorts, filters and counts."""
    standing = _standing(query.at)
    wanted: list[ColumnElement[bool]] = [TaskRow.instance_id == query.instance]
    if query.node:
        wanted.append(TaskRow.node == query.node)
    if query.doing is not None:
        wanted.append(_doing(standing)[query.doing])
    if query.text:
        wanted.append(TaskRow.unit.icontains(query.text, autoescape=True))
    by = _sorted_by(standing)[query.order]
    some = (
        _since(select(TaskRow.id), query.at)
        .where(*wanted)
        .order_by(by.desc() if query.is_descending else by, TaskRow.id)
        .limit(query.limit)
        .offset(query.offset)
    )
    count = _since(select(func.count()).select_from(TaskRow), query.at)
    with database.reading() as connection:
        total = connection.execute(count.where(*wanted)).scalar_one()
        numbers = list(connection.execute(some).scalars())
    found = records_of(database, numbers)
    if query.at is not None:
        found = _as_of(database, found, query.at)
    return TaskPage(total=int(total), tasks=tuple(found))


_Standing = type[TaskRow] | type[JournalRow]


def _standing(at: datetime | None) -> _Standing:
    """Return the table that says how tasks stand."""
    return TaskRow if at is None else JournalRow


def _since(query: Any, at: datetime | None) -> Any:
    """Join tasks with the last that their journal says at a time, if one is given."""
    if at is None:
        return query
    newest = aliased(JournalRow)
    last = (
        select(newest.id)
        .where(newest.task_id == TaskRow.id, newest.time_s <= at.timestamp())
        .order_by(newest.time_s.desc(), newest.id.desc())
        .limit(1)
        .correlate(TaskRow)
        .scalar_subquery()
    )
    return query.join(JournalRow, JournalRow.id == last)


def _as_of(
    database: Database, tasks: Sequence[TaskRecord], at: datetime
) -> list[TaskRecord]:
    """Return tasks as they stood at a time."""
    stood_at = (
        JournalRow.step,
        JournalRow.is_error,
        JournalRow.total,
        JournalRow.complete,
        JournalRow.failed,
    )
    query = _since(select(TaskRow.id, *stood_at).select_from(TaskRow), at)
    numbers = [task.id for task in tasks]
    with database.reading() as connection:
        rows = connection.execute(query.where(TaskRow.id.in_(numbers)))
        stood = {row.id: row for row in rows}
    return [
        replace(
            task,
            step=TaskStep(stood[task.id].step),
            is_error=stood[task.id].is_error,
            total=stood[task.id].total,
            complete=stood[task.id].complete,
            failed=stood[task.id].failed,
            started=_until(task.started, at),
            finished=_until(task.finished, at),
        )
        for task in tasks
    ]


def _until(moment: datetime | None, at: datetime) -> datetime | None:
    return None if moment is None or moment > at else moment


def _doing(standing: _Standing) -> Mapping[Doing, ColumnElement[bool]]:
    """Return the conditions on a task that does something; one of them holds."""
    good = standing.is_error.is_(False)
    waits = standing.step.in_([step.value for step in WAITING_STEPS])
    is_complete = standing.step == TaskStep.COMPLETE.value
    return {
        Doing.WAITING: and_(good, waits),
        Doing.PROCESSING: and_(good, not_(waits), not_(is_complete)),
        Doing.COMPLETE: and_(good, is_complete),
        Doing.FAILED: standing.is_error.is_(True),
    }


def _sorted_by(standing: _Standing) -> Mapping[Order, ColumnElement[Any]]:
    doing = _doing(standing)
    return {
        Order.NUMBER: TaskRow.id.expression,
        Order.NODE: TaskRow.node.expression,
        Order.UNIT: TaskRow.unit.expression,
        Order.STATE: case(
            (doing[Doing.FAILED], 0),
            (doing[Doing.PROCESSING], 1),
            (doing[Doing.WAITING], 2),
            else_=3,
        ),
        Order.SUBTASKS: standing.total.expression,
        Order.FAILED: standing.failed.expression,
        Order.STARTED: TaskRow.started.expression,
    }
