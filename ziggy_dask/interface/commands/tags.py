"""``ziggy tag``, ``tags`` and ``untag``: names for states of the datastore."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import json_option, opened_cluster


@click.command()
@click.argument("state", metavar="INSTANCE|TAG|DATE|SNAPSHOT")
@click.argument("name")
@click.option("--note", default="", help="What people should know of it.")
@click.option(
    "--move", is_flag=True, help="Let a name that is taken name this state instead."
)
@click.pass_context
def tag(ctx: click.Context, state: str, name: str, note: str, move: bool) -> None:
    """Give the datastore as it was then a NAME, by which it can be read."""
    made, before = opened_cluster(ctx).tag(state, name, note=note, moves=move)
    click.echo(f"{made.name} names snapshot {made.snapshot}")
    if before is not None:
        click.echo(f"it named snapshot {before.snapshot} before")


@click.command()
@json_option
@click.pass_context
def tags(ctx: click.Context, as_json: bool) -> None:
    """List the tags, by name."""
    from ziggy_dask.interface.output import show

    rows = [
        {
            "name": one.name,
            "instance": one.instance,
            "publication": one.number,
            "snapshot": one.snapshot,
            "made": one.made,
            "note": one.note
            if one.number
            else f"not in the history any more; {one.note}",
        }
        for one in opened_cluster(ctx).tags.values()
    ]
    show(rows, as_json=as_json, empty="none; make one with: ziggy tag INSTANCE NAME")


@click.command()
@click.argument("name")
@click.pass_context
def untag(ctx: click.Context, name: str) -> None:
    """Take a NAME away; what it stood for stays as it is."""
    found = opened_cluster(ctx).untag(name)
    click.echo(f"{found.name} named snapshot {found.snapshot}")
