"""When the subtasks of an instance ran, and where; many of them as few bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Integer, case, cast, func, select

from ziggy_dask.records.database import Database
from ziggy_dask.records.tables import EarlierSubtaskRow, SubtaskRow, TaskRow
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
    busy_s: float
    """Time that they took, all together, in seconds."""
    memory_bytes: int
    """Largest memory of the worker while they ran."""

    def until(self, end_s: float) -> Bar:
        """Return it as it was at a time after its start: what goes on did not fail yet."""
        if self.end_s <= end_s:
            return self
        share = (end_s - self.start_s) / (self.end_s - self.start_s)
        return replace(self, end_s=end_s, failed=0, busy_s=share * self.busy_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTotals:
    """What a worker did."""

    name: str
    """Its machine and name."""
    subtasks: int
    """Subtasks that it ran."""
    failed: int
    """How many of them failed."""
    busy_s: float
    """Time that they took, all together, in seconds."""
    threads: int
    """So many, or groups of them, it ran at once."""
    memory_bytes: int
    """Its largest memory."""
    last_s: float
    """End of the last one, in seconds since the first subtask of the instance began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the subtasks of an instance ran, and where."""

    start_s: float
    """When the first one began, in seconds since 1970 UTC."""
    length_s: float
    """From there to the end of the last one, in seconds."""
    subtasks: int
    """Number of subtasks; one that ran again counts again."""
    bars: tuple[Bar, ...]
    """The bars, by worker and start."""

    @property
    def rows(self) -> list[tuple[str, int]]:
        """Workers with their rows, in the order in which they are drawn."""
        return sorted({(bar.worker, bar.row) for bar in self.bars})

    @property
    def workers(self) -> list[WorkerTotals]:
        """What each worker did, by name."""
        by_name: dict[str, list[Bar]] = {}
        for bar in self.bars:
            by_name.setdefault(bar.worker, []).append(bar)
        return [
            WorkerTotals(
                name=name,
                subtasks=sum(bar.count for bar in bars),
                failed=sum(bar.failed for bar in bars),
                busy_s=sum(bar.busy_s for bar in bars),
                threads=len({bar.row for bar in bars}),
                memory_bytes=max(bar.memory_bytes for bar in bars),
                last_s=max(bar.end_s for bar in bars),
            )
            for name, bars in sorted(by_name.items())
        ]

    def until(self, end_s: float) -> Timeline:
        """Return it as it was so long after the start; what then ran ends there."""
        bars = tuple(bar.until(end_s) for bar in self.bars if bar.start_s <= end_s)
        return replace(self, subtasks=sum(bar.count for bar in bars), bars=bars)

    def memory(self, parts: int = _BINS) -> list[int]:
        """Return the memory of all workers together in so many parts of the time.

        It is the largest of each worker that ran subtasks in that part, in bytes.
        """
        width = self.length_s / parts or 1.0
        workers: dict[str, list[int]] = {}
        for bar in self.bars:
            mine = workers.setdefault(bar.worker, [0] * parts)
            last = min(int(bar.end_s / width), parts - 1)
            for part in range(min(int(bar.start_s / width), last), last + 1):
                mine[part] = max(mine[part], bar.memory_bytes)
        return [sum(some) for some in zip(*workers.values(), strict=True)]

    def memory_at(self, moment_s: float) -> int:
        """Return the memory of all workers together at a moment, in bytes."""
        workers: dict[str, int] = {}
        for bar in self.bars:
            if bar.start_s <= moment_s <= bar.end_s:
                most = max(workers.get(bar.worker, 0), bar.memory_bytes)
                workers[bar.worker] = most
        return sum(workers.values())


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
    with database.reading() as connection:
        known = [one for one in (_ends(connection, instance, t) for t in _RAN) if one.n]
        if not known:
            return Timeline(start_s=0.0, length_s=0.0, subtasks=0, bars=())
        count = sum(one.n for one in known)
        start = min(one.start for one in known)
        length = max(one.end for one in known) - start
        width = 0.0 if count <= most else length / _BINS
        rows = [
            row for t in _RAN for row in _rows(connection, instance, t, start, width)
        ]
    bars = [
        Bar(
            node=row.node,
            worker=f"{row.host}:{row.worker}",
            row=0,
            start_s=row.began - start,
            end_s=row.ended - start,
            count=row.n,
            failed=row.failed,
            busy_s=row.busy,
            memory_bytes=row.memory,
        )
        for row in sorted(rows, key=lambda row: row.began)
    ]
    return Timeline(start_s=start, length_s=length, subtasks=count, bars=_in_rows(bars))


_RAN: tuple[Any, ...] = (SubtaskRow, EarlierSubtaskRow)
"""The tables with subtasks that ran: those that count, and those that ran again."""


def _of_instance(query: Any, instance: int, table: Any) -> Any:
    """Restrict a query to subtasks of an instance that ran."""
    return (
        query.select_from(table)
        .join(TaskRow, TaskRow.id == table.task_id)
        .where(TaskRow.instance_id == instance, table.started_s > 0)
    )


def _ends(connection: Connection, instance: int, table: Any) -> Any:
    query = select(
        func.count().label("n"),
        func.min(table.started_s).label("start"),
        func.max(table.started_s + table.wall_s).label("end"),
    )
    return connection.execute(_of_instance(query, instance, table)).one()


def _rows(
    connection: Connection, instance: int, table: Any, start: float, width: float
) -> Sequence[Any]:
    failed = case((table.state == SubtaskState.FAILED.value, 1), else_=0)
    own = (TaskRow.node, table.host, table.worker)
    if width:
        # Databases disagree on how a cast rounds; rounded numbers are all alike.
        part = cast(func.round((table.started_s - start) / width), Integer)
        group: tuple[Any, ...] = (*own, part)
    else:
        group = (*own, table.task_id, table.number, table.started_s)
    query = select(
        *own,
        func.min(table.started_s).label("began"),
        func.max(table.started_s + table.wall_s).label("ended"),
        func.count().label("n"),
        func.sum(failed).label("failed"),
        func.sum(table.wall_s).label("busy"),
        func.max(table.peak_memory_bytes).label("memory"),
    )
    return connection.execute(
        _of_instance(query, instance, table).group_by(*group)
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
