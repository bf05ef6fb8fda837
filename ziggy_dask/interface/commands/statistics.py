"""``ziggy stats`` and ``report``: an instance in numbers, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import opened_cluster, opened_records
from ziggy_dask.interface.commands.watching import watchable

if TYPE_CHECKING:
    from ziggy_dask.records.statistics import NodeStatistics


@click.command()
@click.argument("instance", type=int, shell_complete=complete.INSTANCE, required=False)
@click.option("--breakdown", is_flag=True, help="Show where the time of tasks went.")
@watchable
@click.pass_context
def stats(
    ctx: click.Context, instance: int | None, breakdown: bool, as_json: bool
) -> bool:
    """Show times and memory of INSTANCE by node; by default, of the newest.

    Times are those of complete subtasks, in seconds. With --breakdown: the time of
    tasks that ended, from the making of the instance to their end.
    """
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    record = records.instance_record(instance)
    found = records.statistics(record.id)
    if as_json:
        show([_plain(one) for one in found], as_json=True, empty="")
    else:
        rows = breakdown_rows(found) if breakdown else statistics_rows(found)
        show(rows, as_json=False, empty=f"instance {record.id} has no tasks")
    return record.state.is_final


@click.command()
@click.argument("instance", type=int)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write: .html or .pdf.",
)
@click.pass_context
def report(ctx: click.Context, instance: int, output: Path) -> None:
    """Write a report on INSTANCE as one file that needs nothing else."""
    opened_cluster(ctx).report(instance, output)
    click.echo(output)


def statistics_rows(found: Sequence[NodeStatistics]) -> list[dict[str, Any]]:
    """Return the rows of the table of statistics."""
    rows = []
    for one in found:
        times = one.times
        row: dict[str, Any] = {
            "node": one.node,
            "start": one.started,
            "status": one.status,
            "count": times.count if times else 0,
            "sum": times.total if times else None,
            "min": times.smallest if times else None,
            "max": times.largest if times else None,
            "mean": times.mean if times else None,
            "std": times.deviation if times else None,
        }
        for percent in (50, 90, 99):
            row[f"p{percent}"] = times.percentiles[percent] if times else None
        slow = one.slowest[0] if one.slowest else None
        row["memory_MB"] = one.memory_max_bytes / 1e6
        row["slowest"] = f"{slow.task} --subtask {slow.number}" if slow else ""
        rows.append(row)
    return rows


def breakdown_rows(found: Sequence[NodeStatistics]) -> list[dict[str, Any]]:
    """Return the rows of the table that tells where the time of tasks went."""
    return [
        {
            "node": one.node,
            "total": clock(one.breakdown.total_s),
            "waiting": _part(one.breakdown.waiting_s, one.breakdown.total_s),
            "executing": _part(one.breakdown.executing_s, one.breakdown.total_s),
            "storing": _part(one.breakdown.storing_s, one.breakdown.total_s),
        }
        for one in found
    ]


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    Examples
    --------
    >>> clock(3723.6)
    '1:02:04'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _part(seconds: float, total: float) -> str:
    share = seconds / total if total else 0.0
    return f"{clock(seconds)} ({share:.1%})"


def _plain(one: NodeStatistics) -> dict[str, Any]:
    """Return statistics as plain values, with what is computed from them."""
    from dataclasses import asdict

    tasks = {**asdict(one.tasks), "total": one.tasks.total}
    breakdown = {**asdict(one.breakdown), "total_s": one.breakdown.total_s}
    more = {"status": one.status, "tasks": tasks, "breakdown": breakdown}
    return asdict(one) | more
