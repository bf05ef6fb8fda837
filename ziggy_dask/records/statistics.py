"""Statistics of an instance's subtasks and tasks, made in the database.

Only sums, extremes and single values of a sorted list come back, so a million
subtasks cost no more memory here than ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from ziggy_dask.records.database import Database
from ziggy_dask.records.states import Counts, TaskStep, count_tasks
from ziggy_dask.records.tables import InstanceRow, SubtaskRow, TaskRow
from ziggy_dask.workers import SubtaskState

PERCENTILES = (50, 90, 99)
"""Percentiles that are given of every node, in percent."""
SLOWEST = 3
"""So many of the slowest subtasks of every node are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a quantity is spread over subtasks."""

    count: int
    """Number of values."""
    total: float
    """Their sum."""
    smallest: float
    """The smallest."""
    largest: float
    """The largest."""
    mean: float
    """Their mean."""
    deviation: float
    """Their standard deviation, that of a sample; 0: there is only one value."""
    percentiles: Mapping[int, float]
    """Percentiles by percent, interpolated linearly between neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowSubtask:
    """One of the slowest subtasks of a node."""

    task: int
    """Number of its task."""
    number: int
    """Number of the subtask."""
    wall_s: float
    """Time that it took, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of a node's tasks went, in seconds, summed over tasks that ended."""

    waiting_s: float
    """From the making of the instance to the start of a task's first subtask."""
    executing_s: float
    """From there to the end of its last subtask."""
    storing_s: float
    """From there to the end of the task."""

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.waiting_s + self.executing_s + self.storing_s


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatistics:
    """A node of an instance in numbers."""

    node: str
    """Its name."""
    tasks: Counts
    """Its tasks by what they are doing."""
    subtasks: int
    """Its subtasks, as far as known."""
    complete: int
    """Subtasks that are complete."""
    failed: int
    """Subtasks that failed."""
    started: datetime | None
    """When its first subtask began."""
    times: Spread | None
    """Times of its complete subtasks, in seconds; None: there are none."""
    cpu_s: float
    """Processor time of its complete subtasks, in seconds."""
    memory_mean_bytes: float
    """Mean of the largest memory of the worker process while one ran."""
    memory_max_bytes: int
    """Largest memory of a worker process while one ran."""
    slowest: tuple[SlowSubtask, ...]
    """The slowest of its complete subtasks, slowest first."""
    breakdown: Breakdown
    """Where the time of its tasks went."""

    @property
    def status(self) -> str:
        """How the node stands, in one word."""
        if self.tasks.failed:
            return "ERROR"
        if self.tasks.complete == self.tasks.total:
            return "COMPLETE"
        return "PROCESSING" if self.tasks.processing else "WAITING"


def statistics(database: Database, instance: int) -> list[NodeStatistics]:
    """Return the statistics of an instance's nodes, in the order of the pipeline."""
    with database.reading() as connection:
        counted = _tasks(connection, instance)
        sums = _sums(connection, instance)
        deviations = _deviations(connection, instance, sums)
        ranked = _ranked(connection, instance, sums)
        broken = _breakdowns(connection, instance)
    return [
        _node_statistics(
            node,
            rows,
            sums.get(node),
            deviations.get(node, 0.0),
            ranked.get(node, {}),
            broken.get(node, Breakdown(waiting_s=0, executing_s=0, storing_s=0)),
        )
        for node, rows in counted.items()
    ]


def _node_statistics(
    node: str,
    rows: Sequence[Any],
    sums: Any | None,
    deviation: float,
    ranked: Mapping[int, Any],
    breakdown: Breakdown,
) -> NodeStatistics:
    steps = [
        (TaskStep(row.step), bool(row.is_error)) for row in rows for _ in range(row.n)
    ]
    count = sums.n if sums else 0
    slowest = [ranked[rank] for rank in range(count, max(count - SLOWEST, 0), -1)]
    return NodeStatistics(
        node=node,
        tasks=count_tasks(steps),
        subtasks=sum(row.total for row in rows),
        complete=sum(row.complete for row in rows),
        failed=sum(row.failed for row in rows),
        started=datetime.fromtimestamp(sums.started_s, UTC) if sums else None,
        times=_spread(sums, deviation, ranked) if sums else None,
        cpu_s=sums.cpu_s if sums else 0.0,
        memory_mean_bytes=float(sums.memory_mean) if sums else 0.0,
        memory_max_bytes=int(sums.memory_max) if sums else 0,
        slowest=tuple(
            SlowSubtask(task=row.task_id, number=row.number, wall_s=row.wall_s)
            for row in slowest
        ),
        breakdown=breakdown,
    )


def _spread(sums: Any, deviation: float, ranked: Mapping[int, Any]) -> Spread:
    return Spread(
        count=sums.n,
        total=sums.total,
        smallest=sums.smallest,
        largest=sums.largest,
        mean=sums.total / sums.n,
        deviation=deviation,
        percentiles={
            percent: _interpolated(sums.n, percent, ranked) for percent in PERCENTILES
        },
    )


def _tasks(connection: Connection, instance: int) -> dict[str, list[Any]]:
    """Return numbers of tasks by node, step and error flag, nodes in order."""
    query = (
        select(
            TaskRow.node,
            TaskRow.step,
            TaskRow.is_error,
            func.count().label("n"),
            func.sum(TaskRow.total).label("total"),
            func.sum(TaskRow.complete).label("complete"),
            func.sum(TaskRow.failed).label("failed"),
            func.min(TaskRow.id).label("first"),
        )
        .where(TaskRow.instance_id == instance)
        .group_by(TaskRow.node, TaskRow.step, TaskRow.is_error)
    )
    rows = sorted(connection.execute(query).all(), key=lambda row: row.first)
    by_node: dict[str, list[Any]] = {}
    for row in rows:
        by_node.setdefault(row.node, []).append(row)
    return by_node


def _complete(instance: int, *columns: Any) -> Select[Any]:
    """Return a query for complete subtasks of an instance."""
    return (
        select(*columns)
        .select_from(SubtaskRow)
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .where(TaskRow.instance_id == instance)
        .where(SubtaskRow.state == SubtaskState.COMPLETE.value)
    )


def _sums(connection: Connection, instance: int) -> dict[str, Any]:
    query = _complete(
        instance,
        TaskRow.node,
        func.count().label("n"),
        func.sum(SubtaskRow.wall_s).label("total"),
        func.min(SubtaskRow.wall_s).label("smallest"),
        func.max(SubtaskRow.wall_s).label("largest"),
        func.min(SubtaskRow.started_s).label("started_s"),
        func.sum(SubtaskRow.cpu_s).label("cpu_s"),
        func.avg(SubtaskRow.peak_memory_bytes).label("memory_mean"),
        func.max(SubtaskRow.peak_memory_bytes).label("memory_max"),
    ).group_by(TaskRow.node)
    return {row.node: row for row in connection.execute(query)}


def _deviations(
    connection: Connection, instance: int, sums: Mapping[str, Any]
) -> dict[str, float]:
    """Return standard deviations, from distances to means: squares lose digits."""
    if not sums:
        return {}
    means = {node: row.total / row.n for node, row in sums.items()}
    distance = SubtaskRow.wall_s - case(means, value=TaskRow.node)
    query = _complete(instance, TaskRow.node, func.sum(distance * distance)).group_by(
        TaskRow.node
    )
    return {
        node: math.sqrt(squares / (sums[node].n - 1)) if sums[node].n > 1 else 0.0
        for node, squares in connection.execute(query)
    }


def _ranked(
    connection: Connection, instance: int, sums: Mapping[str, Any]
) -> dict[str, dict[int, Any]]:
    """Return the subtasks at the ranks that are needed, by node and rank from 1."""
    if not sums:
        return {}
    order = func.row_number().over(
        partition_by=TaskRow.node,
        order_by=(SubtaskRow.wall_s, SubtaskRow.task_id, SubtaskRow.number),
    )
    ranked = _complete(
        instance,
        TaskRow.node,
        SubtaskRow.task_id,
        SubtaskRow.number,
        SubtaskRow.wall_s,
        order.label("rank"),
    ).subquery()
    # All ranks that any node needs: sorting out rows by node as well takes long.
    wanted = {rank for row in sums.values() for rank in _wanted_ranks(row.n)}
    query = select(ranked).where(ranked.c.rank.in_(sorted(wanted)))
    found: dict[str, dict[int, Any]] = {}
    for row in connection.execute(query):
        found.setdefault(row.node, {})[row.rank] = row
    return found


def _wanted_ranks(count: int) -> list[int]:
    ranks = set(range(max(1, count - SLOWEST + 1), count + 1))
    for percent in PERCENTILES:
        below = _position(count, percent)[0]
        ranks |= {below, min(below + 1, count)}
    return sorted(ranks)


def _position(count: int, percent: int) -> tuple[int, float]:
    """Return the rank below a percentile, from 1, and how far it lies above that."""
    whole, rest = divmod((count - 1) * percent, 100)
    return whole + 1, rest / 100


def _interpolated(count: int, percent: int, ranked: Mapping[int, Any]) -> float:
    rank, part = _position(count, percent)
    below = float(ranked[rank].wall_s)
    above = float(ranked[min(rank + 1, count)].wall_s)
    return below + (above - below) * part


def _breakdowns(connection: Connection, instance: int) -> dict[str, Breakdown]:
    made = connection.execute(
        select(InstanceRow.created).where(InstanceRow.id == instance)
    ).scalar_one_or_none()
    query = (
        select(
            TaskRow.node,
            TaskRow.finished,
            func.min(SubtaskRow.started_s).label("first_s"),
            func.max(SubtaskRow.started_s + SubtaskRow.wall_s).label("last_s"),
        )
        .join(SubtaskRow, SubtaskRow.task_id == TaskRow.id)
        .where(TaskRow.instance_id == instance, TaskRow.finished.is_not(None))
        .group_by(TaskRow.id, TaskRow.node, TaskRow.finished)
    )
    rows = connection.execute(query).all()
    return _summed(rows, made.timestamp() if made else 0.0)


def _summed(rows: Iterable[Any], made_s: float) -> dict[str, Breakdown]:
    sums: dict[str, list[float]] = {}
    for row in rows:
        parts = sums.setdefault(row.node, [0.0, 0.0, 0.0])
        parts[0] += max(row.first_s - made_s, 0.0)
        parts[1] += row.last_s - row.first_s
        parts[2] += max(row.finished.timestamp() - row.last_s, 0.0)
    return {
        node: Breakdown(waiting_s=waiting, executing_s=executing, storing_s=storing)
        for node, (waiting, executing, storing) in sums.items()
    }


def memory_counts(
    database: Database, instance: int, width_bytes: int
) -> dict[str, dict[int, int]]:
    """Return how many complete subtasks of each node had how much memory.

    Returns
    -------
    dict
        By node, in the order of the pipeline: numbers of subtasks by the whole number
        of times that `width_bytes` goes into the largest memory of their worker process.
    """
    part = (SubtaskRow.peak_memory_bytes // width_bytes).label("part")
    query = _complete(
        instance,
        TaskRow.node,
        part,
        func.count().label("n"),
        func.min(TaskRow.id).label("first"),
    ).group_by(TaskRow.node, part)
    with database.reading() as connection:
        rows = sorted(connection.execute(query).all(), key=lambda row: row.first)
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row.node, {})[int(row.part)] = row.n
    return found
