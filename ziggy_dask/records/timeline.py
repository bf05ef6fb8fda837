"""When the subtasks of an instance ran, and where; many of them as few bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Integer, case, cast, func, select

from ziggy_dask.records.database import Database
from ziggy_dask.records.tables import SubtaskRow, TaskRow
from ziggy_dask.workers import SubtaskState

MOST_BARS = 2000
"""Up to so many subtasks each have a bar of their own."""
_BINS = 240
"""More than that share bars: one per node, worker and so many parts of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A subtask, or several that ran at about the same time on one worker."""

    node: str
    """Node that they belong to."""
    worker: str
    """Machine and worker that ran them."""
    row: int
    """Row of the worker, from 0: subtasks that run at once are drawn in several."""
    start_s: float
    """Start, in seconds since the first subtask of the instance began."""
    end_s: float
    """End, likewise."""
    count: int
    """Number of subtasks."""
    failed: int
    """How many of them failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the subtasks of an instance ran, and where."""

    start_s: float
    """When the first one began, in seconds since 1970 UTC."""
    length_s: float
    """From there to the end of the last one, in seconds."""
    subtasks: int
    """Number of subtasks."""
    bars: tuple[Bar, ...]
    """The bars, by worker and start."""

    @property
    def rows(self) -> list[tuple[str, int]]:
        """Workers with their rows, in the order in which they are drawn."""
        return sorted({(bar.worker, bar.row) for bar in self.bars})


def timeline(database: Database, instance: int, most: int = MOST_BARS) -> Timeline:
    """Return when the subtasks of an instance ran.

    Parameters
    ----------
    database
        Where.
    instance
        Number of the instance.
    most
        With more subtasks than that, subtasks of a node that began within the same
        240th of the time on the same worker share a bar.
    """
    ends = select(
        func.count(),
        func.min(SubtaskRow.started_s),
        func.max(SubtaskRow.started_s + SubtaskRow.wall_s),
    )
    with database.reading() as connection:
        count, start, end = connection.execute(_of_instance(ends, instance)).one()
        if not count:
            return Timeline(start_s=0.0, length_s=0.0, subtasks=0, bars=())
        length = end - start
        width = 0.0 if count <= most else length / _BINS
        rows = _rows(connection, instance, start, width)
    bars = [
        Bar(
            node=row.node,
            worker=f"{row.host}:{row.worker}",
            row=0,
            start_s=row.began - start,
            end_s=row.ended - start,
            count=row.n,
            failed=row.failed,
        )
        for row in rows
    ]
    return Timeline(start_s=start, length_s=length, subtasks=count, bars=_in_rows(bars))


def _of_instance(query: Any, instance: int) -> Any:
    """Restrict a query to subtasks of an instance that ran."""
    return (
        query.select_from(SubtaskRow)
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .where(TaskRow.instance_id == instance, SubtaskRow.started_s > 0)
    )


def _rows(
    connection: Connection, instance: int, start: float, width: float
) -> Sequence[Any]:
    failed = case((SubtaskRow.state == SubtaskState.FAILED.value, 1), else_=0)
    own = (TaskRow.node, SubtaskRow.host, SubtaskRow.worker)
    if width:
        # Databases disagree on how a cast rounds; rounded numbers are all alike.
        part = cast(func.round((SubtaskRow.started_s - start) / width), Integer)
        group: tuple[Any, ...] = (*own, part)
    else:
        group = (*own, SubtaskRow.task_id, SubtaskRow.number)
    began = func.min(SubtaskRow.started_s).label("began")
    query = select(
        *own,
        began,
        func.max(SubtaskRow.started_s + SubtaskRow.wall_s).label("ended"),
        func.count().label("n"),
        func.sum(failed).label("failed"),
    )
    return connection.execute(
        _of_instance(query, instance).group_by(*group).order_by(began)
    ).all()


def _in_rows(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    """Give bars that overlap rows of their own; bars come in the order of their starts."""
    free: dict[str, list[float]] = {}
    placed = []
    for bar in bars:
        ends = free.setdefault(bar.worker, [])
        row = next((n for n, end in enumerate(ends) if end <= bar.start_s), len(ends))
        ends[row : row + 1] = [bar.end_s]
        placed.append(replace(bar, row=row))
    return tuple(sorted(placed, key=lambda one: (one.worker, one.row, one.start_s)))
