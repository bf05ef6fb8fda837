"""``ziggy console``: the page in a browser."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import opened_cluster


@click.command()
@click.option("--port", type=int, default=0, help="Port; by default a free one.")
@click.pass_context
def console(ctx: click.Context, port: int) -> None:
    """Serve the page on this machine, until interrupted, and print its address.

    Who opens it with the token may halt, restart and acknowledge; without, it
    can only be read.
    """
    opened_cluster(ctx).console(port=port, tell=click.echo)
