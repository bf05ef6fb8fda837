"""``ziggy datastore``: look at products."""

from __future__ import annotations

import json

import click

from ziggy_dask.interface.commands.here import json_option, opened_cluster


@click.group()
def datastore() -> None:
    """Look at products."""


@datastore.command("ls")
@click.option("--at", "instance", type=int, help="As this instance left it.")
@json_option
@click.pass_context
def list_(ctx: click.Context, instance: int | None, as_json: bool) -> None:
    """List the products."""
    store = opened_cluster(ctx).datastore
    paths = list(store if instance is None else store.at(instance))
    click.echo(json.dumps(paths, indent=2) if as_json else "\n".join(paths))


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
@json_option
@click.pass_context
def history(ctx: click.Context, as_json: bool) -> None:
    """List what was published, newest first."""
    from ziggy_dask.interface.output import show

    rows = [
        {"snapshot": snapshot, "time": time, "message": message}
        for snapshot, time, message in opened_cluster(ctx).datastore.history()
    ]
    show(rows, as_json=as_json, empty="nothing yet")
