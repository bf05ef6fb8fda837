"""``ziggy jobs``: what was submitted to batch systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import opened_records
from ziggy_dask.interface.commands.watching import watchable

if TYPE_CHECKING:
    from ziggy_dask.records.jobs import JobRecord


@click.command()
@click.argument("instance", type=int, required=False, shell_complete=complete.INSTANCE)
@watchable
@click.pass_context
def jobs(ctx: click.Context, instance: int | None, as_json: bool) -> bool:
    """List the jobs of batch systems, of one instance or of all."""
    from ziggy_dask.compute.formatting import price
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    if instance is not None:
        records.instance_record(instance)  # there is one
    found = records.jobs(instance)
    worked = records.worked_seconds(instance)
    rows = [
        {
            "job": one.number,
            "name": one.name,
            "instance": one.instance,
            "environment": one.environment,
            "architecture": one.architecture,
            "queue": one.queue,
            "state": one.state.value,
            "cause": one.cause.value,
            "exit_code": one.exit_code,
            "comment": one.comment,
            "submitted": one.submitted,
            "started": one.started,
            "ended": one.ended,
            "seconds": one.seconds if as_json else round(one.seconds),
            "worked": worked.get(one.name, 0.0)
            if as_json
            else round(worked.get(one.name, 0.0)),
            "cost": one.cost if as_json else price(one.cost),
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="none")
    if found and not as_json:
        click.echo(f"cost: {price(sum(one.cost for one in found))}")
        click.echo(share_of_work(found, worked))
    return all(one.state.is_final for one in found)


def share_of_work(found: Sequence[JobRecord], worked: Mapping[str, float]) -> str:
    """Return how much of the time of jobs was spent on subtasks, in words."""
    paid_s = sum(job.seconds for job in found)
    worked_s = sum(worked.get(job.name, 0.0) for job in found)
    share = f", {worked_s / paid_s:.0%}" if paid_s else ""
    return f"worked: {worked_s:.0f} s of {paid_s:.0f} s that the jobs had{share}"
