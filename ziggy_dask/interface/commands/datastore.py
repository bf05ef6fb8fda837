"""``ziggy datastore``: look at products."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.here import opened_cluster


@click.group()
def datastore() -> None:
    """Look at products."""


@datastore.command("ls")
@click.option("--at", "instance", type=int, help="As this instance left it.")
@click.pass_context
def list_(ctx: click.Context, instance: int | None) -> None:
    """List the products."""
    store = opened_cluster(ctx).datastore
    for path in store if instance is None else store.at(instance):
        click.echo(path)


@datastore.command()
@click.argument("path")
@click.option("--at", "instance", type=int, help="As this instance left it.")
@click.pass_context
def show(ctx: click.Context, path: str, instance: int | None) -> None:
    """Show the product at PATH."""
    store = opened_cluster(ctx).datastore
    product = (store if instance is None else store.at(instance))[path]
    if isinstance(product, dict):
        for name, data in product.items():
            click.echo(f"{name}  {len(data)} bytes")
    else:
        click.echo(repr(product))


@datastore.command()
@click.pass_context
def history(ctx: click.Context) -> None:
    """List what was published, newest first."""
    for snapshot, time, message in opened_cluster(ctx).datastore.history():
        click.echo(f"{snapshot}  {time.astimezone():%Y-%m-%d %H:%M:%S}  {message}")
