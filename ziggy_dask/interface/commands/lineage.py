"""``ziggy history``, ``lineage`` and ``which``: versions, and what depends on what."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import (
    at_option,
    json_option,
    opened_cluster,
)


@click.command()
@click.argument("path", metavar="PRODUCT")
@json_option
@click.pass_context
def history(ctx: click.Context, path: str, as_json: bool) -> None:
    """List the versions of PRODUCT, newest first, and why each was made."""
    from ziggy_dask.interface.output import show

    rows = [
        {
            "version": one.number,
            "time": one.time,
            "instance": one.instance,
            "task": one.task,
            "made by": f"{one.node} {one.unit}".strip(),
            "tag": ", ".join(one.tags),
            "snapshot": one.snapshot,
            "reason": one.reason,
        }
        for one in reversed(opened_cluster(ctx).history(path))
    ]
    show(rows, as_json=as_json, empty="")


@click.command()
@click.argument("path", metavar="PRODUCT")
@click.option("--up", "way", flag_value="up", default="up", help="What it was made of.")
@click.option("--down", "way", flag_value="down", help="What was made of it.")
@click.option(
    "--depth", type=click.IntRange(min=1), help="So many steps at most. Default: all."
)
@at_option
@json_option
@click.pass_context
def lineage(
    ctx: click.Context,
    path: str,
    way: str,
    depth: int | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Draw what PRODUCT was made of, or what was made of it, version by version."""
    from ziggy_dask.interface.lineage import lineage_to_json, tree_lines
    from ziggy_dask.interface.output import show_value

    found = opened_cluster(ctx).lineage(path, way=way, at=at, depth=depth)
    if as_json:
        show_value(lineage_to_json(found))
        return
    for line in tree_lines(found):
        name = click.style(line.path, bold=True) + "  " if line.path else ""
        click.echo(line.branch + name + line.text)


@click.command()
@click.argument(
    "kind",
    type=click.Choice(["model", "parameter", "code", "package", "delivery", "file"]),
)
@click.argument("name")
@click.option(
    "--now", "is_now", is_flag=True, help="Only versions that are the newest."
)
@json_option
@click.pass_context
def which(
    ctx: click.Context, kind: str, name: str, is_now: bool, as_json: bool
) -> None:
    """List every version of a product that depends on NAME, directly or not.

    NAME is of a model NAME or NAME@FILE; of a parameter SET.NAME or SET.NAME=VALUE; of code
    the begin of its digest or version, or an instance; of a package also which versions, as
    in 'scipy<1.15'; of a delivery its dataset id or name; of a file its name in the delivery.
    """
    from ziggy_dask.interface.lineage import maker_text
    from ziggy_dask.interface.output import show

    rows = [
        {
            "product": one.version.path,
            "version": one.version.number,
            "how": "directly" if one.is_direct else f"by {', '.join(one.through)}",
            "instance": one.version.instance,
            "state": "newest"
            if one.version.successor is None
            else f"replaced by {one.version.successor}",
            "tag": ", ".join(one.version.tags),
            "made": maker_text(one.version).removeprefix("by "),
        }
        for one in opened_cluster(ctx).which(kind, name)
        if not is_now or one.version.successor is None
    ]
    show(rows, as_json=as_json, empty="nothing depends on it")
