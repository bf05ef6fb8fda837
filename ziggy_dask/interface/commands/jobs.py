"""``ziggy jobs``: what was submitted to batch systems."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import opened_records
from ziggy_dask.interface.commands.watching import watchable


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
    rows = [
        {
            "job": one.number,
            "instance": one.instance,
            "environment": one.environment,
            "architecture": one.architecture,
            "queue": one.queue,
            "state": one.state.value,
            "cause": one.cause.value,
            "exit_code": one.exit_code,
            "comment": one.comment,
            "started": one.started,
            "ended": one.ended,
            "cost": one.cost if as_json else price(one.cost),
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="none")
    if found and not as_json:
        click.echo(f"cost: {price(sum(one.cost for one in found))}")
    return all(one.state.is_final for one in found)
