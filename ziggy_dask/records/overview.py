"""Overviews: counts and pages that the database makes, however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, not_, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.instances import TaskRecord, records_of
from ziggy_dask.records.states import WAITING_STEPS, Counts, TaskStep
from ziggy_dask.records.tables import InstanceRow, TaskRow


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some of the tasks that a query asks for."""

    total: int
    """Number of all of them."""
    tasks: tuple[TaskRecord, ...]
    """Those of this page."""


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
        As of when: tasks count by when they began and ended. Subtasks are as they
        are now. None: as of now.
    """
    counts = {
        doing: func.sum(case((which, 1), else_=0))
        for doing, which in (_doing() if at is None else _doing_at(at)).items()
    }
    query = (
        select(
            TaskRow.node,
            *(column.label(doing.value) for doing, column in counts.items()),
            func.sum(TaskRow.total).label("subtasks"),
            func.sum(TaskRow.complete).label("subtasks_complete"),
            func.sum(TaskRow.failed).label("subtasks_failed"),
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
    wanted: list[ColumnElement[bool]] = [TaskRow.instance_id == query.instance]
    if query.node:
        wanted.append(TaskRow.node == query.node)
    if query.doing is not None:
        wanted.append(_doing()[query.doing])
    if query.text:
        wanted.append(TaskRow.unit.icontains(query.text, autoescape=True))
    by = _SORTED_BY[query.order]
    some = (
        select(TaskRow.id)
        .where(*wanted)
        .order_by(by.desc() if query.is_descending else by, TaskRow.id)
        .limit(query.limit)
        .offset(query.offset)
    )
    with database.reading() as connection:
        total = connection.execute(
            select(func.count()).select_from(TaskRow).where(*wanted)
        ).scalar_one()
        numbers = list(connection.execute(some).scalars())
    return TaskPage(total=int(total), tasks=tuple(records_of(database, numbers)))


def _doing() -> Mapping[Doing, ColumnElement[bool]]:
    """Return the conditions on a task that does something; one of them holds."""
    good = TaskRow.is_error.is_(False)
    waits = TaskRow.step.in_([step.value for step in WAITING_STEPS])
    is_complete = TaskRow.step == TaskStep.COMPLETE.value
    return {
        Doing.WAITING: and_(good, waits),
        Doing.PROCESSING: and_(good, not_(waits), not_(is_complete)),
        Doing.COMPLETE: and_(good, is_complete),
        Doing.FAILED: TaskRow.is_error.is_(True),
    }


def _doing_at(at: datetime) -> Mapping[Doing, ColumnElement[bool]]:
    """Return the same as of a time, from when tasks began and ended last."""
    # One that ended without having begun had no subtasks, or was halted before.
    has_ended = func.coalesce(TaskRow.finished <= at, False)
    has_begun = func.coalesce(TaskRow.started <= at, False)
    return {
        Doing.WAITING: and_(not_(has_ended), not_(has_begun)),
        Doing.PROCESSING: and_(not_(has_ended), has_begun),
        Doing.COMPLETE: and_(has_ended, TaskRow.is_error.is_(False)),
        Doing.FAILED: and_(has_ended, TaskRow.is_error.is_(True)),
    }


_SORTED_BY: Mapping[Order, ColumnElement[Any]] = {
    Order.NUMBER: TaskRow.id.expression,
    Order.NODE: TaskRow.node.expression,
    Order.UNIT: TaskRow.unit.expression,
    Order.STATE: case(
        (_doing()[Doing.FAILED], 0),
        (_doing()[Doing.PROCESSING], 1),
        (_doing()[Doing.WAITING], 2),
        else_=3,
    ),
    Order.SUBTASKS: TaskRow.total.expression,
    Order.FAILED: TaskRow.failed.expression,
    Order.STARTED: TaskRow.started.expression,
}
