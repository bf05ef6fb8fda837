"""What past subtasks of a node took: percentiles of time and memory, with their bands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import InstanceRow, PipelineRow, SubtaskRow, TaskRow
from ziggy_dask.workers import SubtaskState

CONFIDENCE = 0.95
"""Chance that a band holds the true percentile, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A percentile of what was measured, and where the true one is likely to be."""

    value: float
    """That of what was measured."""
    low: float
    """Lower end of the band."""
    high: float
    """Upper end of the band; the largest value measured if there are too few."""
    is_enough: bool
    """Whether there are enough values for both ends of the band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What past subtasks of a node took."""

    subtasks: int
    """Number of subtasks that it rests on."""
    median_s: Percentile
    """Median of their times, in seconds."""
    longest_s: Percentile
    """95th percentile of their times, in seconds."""
    median_bytes: Percentile
    """Median of their peaks of memory, in bytes."""
    most_bytes: Percentile
    """95th percentile of their peaks of memory, in bytes."""


@patiently
def node_history(database: Database, pipeline: str, node: str) -> History | None:
    """Return what the completed subtasks of a node took, of all instances.

    Returns
    -------
    History or None
        None if there are none.

    Notes
    -----
    The database sorts and counts; a few numbers come out, however many subtasks there are.
    """
    median_s, longest_s = _percentiles(database, pipeline, node, SubtaskRow.wall_s)
    median_bytes, most_bytes = _percentiles(
        database, pipeline, node, SubtaskRow.peak_memory_bytes
    )
    if median_s is None or longest_s is None or not median_bytes or not most_bytes:
        return None
    return History(
        subtasks=_count(database, pipeline, node),
        median_s=median_s,
        longest_s=longest_s,
        median_bytes=median_bytes,
        most_bytes=most_bytes,
    )


def band(count: int, share: float) -> tuple[int, int, int]:
    """Return the ranks, from 1, of a percentile and of the ends of its band.

    The true percentile is between two of `count` sorted values with a chance of at least
    `CONFIDENCE`, whatever their distribution: how many of them are below it is binomial. An
    upper rank of ``count + 1`` says that there are too few values, and so does a lower one
    of 0.

    Parameters
    ----------
    count
        Number of values.
    share
        Which percentile, e.g. 0.95.

    Examples
    --------
    >>> band(100, 0.5)
    (50, 40, 61)
    >>> band(20, 0.95)
    (19, 17, 21)

    References
    ----------
    David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high, below = 0, count + 1, 0.0
    for successes in range(count + 1):
        before, below = below, below + _binomial(count, successes, share)
        if before <= tail:
            low = successes
        if below >= 1 - tail:
            high = successes + 1
            break
    return max(1, math.ceil(count * share)), low, high


def _binomial(count: int, successes: int, share: float) -> float:
    log = (
        math.lgamma(count + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(count - successes + 1)
        + successes * math.log(share)
        + (count - successes) * math.log1p(-share)
    )
    return math.exp(log)


def _count(database: Database, pipeline: str, node: str) -> int:
    values = _values(pipeline, node, SubtaskRow.wall_s).subquery()
    with database.reading() as connection:
        return int(
            connection.execute(select(func.count()).select_from(values)).scalar_one()
        )


def _percentiles(
    database: Database, pipeline: str, node: str, column: Any
) -> tuple[Percentile | None, Percentile | None]:
    """Return median and 95th percentile of a column."""
    count = _count(database, pipeline, node)
    if not count:
        return None, None
    both = [band(count, 0.5), band(count, 0.95)]
    values = _values(pipeline, node, column).subquery()
    ranked = select(
        values.c.value, func.row_number().over(order_by=values.c.value).label("rank")
    ).subquery()
    ranks = {min(max(rank, 1), count) for ranks in both for rank in ranks}
    with database.reading() as connection:
        found = {
            row.rank: float(row.value)
            for row in connection.execute(
                select(ranked).where(ranked.c.rank.in_(ranks))
            )
        }
    median, most = (
        Percentile(
            value=found[middle],
            low=found[max(low, 1)],
            high=found[min(high, count)],
            is_enough=low >= 1 and high <= count,
        )
        for middle, low, high in both
    )
    return median, most


def _values(pipeline: str, node: str, column: Any) -> Any:
    return (
        select(column.label("value"))
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .where(
            PipelineRow.name == pipeline,
            TaskRow.node == node,
            SubtaskRow.state == SubtaskState.COMPLETE.value,
        )
    )
