"""What subtasks of nodes and tasks usually take: medians and high values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select

from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.tables import InstanceRow, PipelineRow, SubtaskRow, TaskRow
from ziggy_dask.workers import SubtaskState

_TASKS = 20
"""So many recent tasks of a node count."""
_SUBTASKS = 1000
"""So many subtasks of each count, the first ones, then and now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the complete subtasks of a node or task took."""

    count: int
    """Number of subtasks."""
    wall_s: float
    """Median of their times, in seconds."""
    high_wall_s: float
    """Time that 95 % of them did not exceed, in seconds."""
    memory_bytes: float
    """Median of their largest memories."""
    high_memory_bytes: float
    """Memory that 95 % of them did not exceed."""


@patiently
def usage_of_tasks(database: Database, tasks: Sequence[int]) -> dict[int, Usage]:
    """Return what subtasks took, by number of their task."""
    found: dict[int, Usage] = {}
    for some in pieces(tasks):
        which = SubtaskRow.task_id.in_(some), SubtaskRow.number < _SUBTASKS
        found.update(_usage(database, SubtaskRow.task_id, *which))
    return found


@patiently
def usage_of_nodes(database: Database, pipeline: str, before: int) -> dict[str, Usage]:
    """Return what subtasks took in instances of a pipeline before one, by node."""
    age = func.row_number().over(partition_by=TaskRow.node, order_by=TaskRow.id.desc())
    ranked = (
        select(TaskRow.id.label("id"), age.label("age"))
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .where(PipelineRow.name == pipeline, InstanceRow.id < before)
        .where(TaskRow.complete > 0)
        .subquery()
    )
    recent = select(ranked.c.id).where(ranked.c.age <= _TASKS)
    return _usage(
        database,
        TaskRow.node,
        SubtaskRow.task_id.in_(recent),
        SubtaskRow.number < _SUBTASKS,
    )


def _usage(database: Database, key: Any, *which: Any) -> dict[Any, Usage]:
    """Return what some subtasks took, by a key, as the database adds it up."""
    times = _quantiles(database, key, SubtaskRow.wall_s, which)
    memories = _quantiles(database, key, SubtaskRow.peak_memory_bytes, which)
    return {
        one: Usage(
            count=count,
            wall_s=median,
            high_wall_s=high,
            memory_bytes=memories[one][1],
            high_memory_bytes=memories[one][2],
        )
        for one, (count, median, high) in times.items()
    }


def _quantiles(
    database: Database, key: Any, column: Any, which: Sequence[Any]
) -> dict[Any, tuple[int, float, float]]:
    """Return number, median and 95th percentile of a column, by a key."""
    ranked = (
        select(
            key.label("key"),
            column.label("value"),
            func.row_number().over(partition_by=key, order_by=column).label("rank"),
            func.count().over(partition_by=key).label("count"),
        )
        .select_from(SubtaskRow)
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .where(SubtaskRow.state == SubtaskState.COMPLETE.value, *which)
        .subquery()
    )
    value, rank, count = ranked.c.value, ranked.c.rank, ranked.c["count"]
    query = select(
        ranked.c.key,
        func.max(count),
        func.min(case((rank * 2 >= count, value))),
        func.min(case((rank * 20 >= count * 19, value))),
    ).group_by(ranked.c.key)
    with database.reading() as connection:
        return {
            one: (number, float(median), float(high))
            for one, number, median, high in connection.execute(query)
        }
