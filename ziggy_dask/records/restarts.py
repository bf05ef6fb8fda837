"""Bringing tasks back to where they can run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from ziggy_dask.definitions import CodeTree
from ziggy_dask.records import clocks, journal
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.recipes import set_code
from ziggy_dask.records.settled import forget_settled
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.records.tables import (
    ChangeSetRow,
    InstanceRow,
    LogRow,
    SubtaskRow,
    TaskRow,
)
from ziggy_dask.workers import SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What becomes of the tasks of a restart; all of one instance."""

    instance: int
    """Number of the instance."""
    afresh: Sequence[int] = ()
    """Tasks of which nothing is kept."""
    failed: Sequence[int] = ()
    """Tasks of which only subtasks that failed run again."""
    fingerprint: str = ""
    """Of the latter, only failures of this kind; empty: all."""
    as_they_are: Sequence[int] = ()
    """Tasks that go on where they stopped, with the failures that they have."""
    plans: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """New plans of tasks whose subtasks have to be worked out again."""
    is_automatic: bool = False
    """Whether no operator asked for it."""
    changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Parameters to change, by set and name."""
    changed: Sequence[int] = ()
    """Tasks that get them."""
    code: CodeTree | None = None
    """Code that the instance runs from now on; None: the one that it ran before."""


@patiently
def reset_tasks(database: Database, reset: Reset) -> None:
    """Bring tasks back to where they can run again, all or nothing."""
    with database.writing() as connection:
        _forget_settled(connection, [*reset.afresh, *reset.failed, *reset.as_they_are])
        for some in pieces(reset.afresh):
            journal.keep(connection, SubtaskRow.task_id.in_(some))
            for table in (SubtaskRow, LogRow, ChangeSetRow):
                connection.execute(delete(table).where(table.task_id.in_(some)))
            journal.change(
                connection,
                _revived(some, reset).values(complete=0, failed=0, tolerated=0),
            )
        for task, plan in reset.plans.items():
            journal.change(
                connection,
                update(TaskRow)
                .where(TaskRow.id == task)
                .values(plan=dict(plan), total=0),
            )
        for task in reset.failed:
            _drop_failed(connection, task, reset.fingerprint)
        for some in pieces(reset.failed):
            journal.change(
                connection,
                _revived(some, reset).values(failed=_failures(), tolerated=0),
            )
        for some in pieces(reset.as_they_are):
            journal.change(
                connection, _revived(some, reset).values(tolerated=TaskRow.failed)
            )
        for task in reset.changed:
            _change(connection, task, reset.changes)
        if reset.code is not None:
            set_code(connection, reset.instance, reset.code)
        connection.execute(
            update(InstanceRow)
            .where(InstanceRow.id == reset.instance)
            .values(
                state=InstanceState.PROCESSING.value,
                finished=None,
                message="",
                **clocks.running(InstanceRow),
            )
        )


def _forget_settled(connection: Connection, tasks: Sequence[int]) -> None:
    """Let plans look anew at what stored tasks have made, since it is taken back."""
    nodes: set[str] = set()
    for some in pieces(tasks):
        query = select(TaskRow.node).where(
            TaskRow.id.in_(some), TaskRow.step == TaskStep.COMPLETE.value
        )
        nodes.update(connection.execute(query).scalars())
    forget_settled(connection, sorted(nodes))


def _revived(tasks: Sequence[int], reset: Reset) -> Any:
    """Return the update that takes the error from tasks."""
    return (
        update(TaskRow)
        .where(TaskRow.id.in_(tasks))
        .values(
            step=TaskStep.WAITING_TO_RUN.value,
            is_error=False,
            is_halting=False,
            message="",
            cause="",
            snapshot="",
            finished=None,
            attempt=TaskRow.attempt + 1,
            resubmits=TaskRow.resubmits + 1 if reset.is_automatic else 0,
            **clocks.stopped(TaskRow),
        )
    )


def _failures() -> Any:
    return (
        select(func.count())
        .where(
            SubtaskRow.task_id == TaskRow.id,
            SubtaskRow.state == SubtaskState.FAILED.value,
        )
        .scalar_subquery()
    )


def _drop_failed(connection: Connection, task: int, fingerprint: str) -> None:
    query = select(SubtaskRow.number).where(
        SubtaskRow.task_id == task, SubtaskRow.state == SubtaskState.FAILED.value
    )
    if fingerprint:
        query = query.where(SubtaskRow.fingerprint == fingerprint)
    numbers = list(connection.execute(query).scalars())
    for some in pieces(numbers):
        journal.keep(
            connection, SubtaskRow.task_id == task, SubtaskRow.number.in_(some)
        )
        for table in (SubtaskRow, LogRow):
            connection.execute(
                delete(table).where(table.task_id == task, table.number.in_(some))
            )


def _change(
    connection: Connection, task: int, changes: Mapping[str, Mapping[str, object]]
) -> None:
    before = connection.execute(
        select(TaskRow.changes).where(TaskRow.id == task)
    ).scalar_one()
    merged = {
        name: {**before.get(name, {}), **changes.get(name, {})}
        for name in {**before, **changes}
    }
    connection.execute(update(TaskRow).where(TaskRow.id == task).values(changes=merged))
