"""``ziggy verify``: read all that is stored, and compare its checksums."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import (
    at_option,
    json_option,
    opened_cluster,
)

_DAMAGED = 4


@click.command()
@click.argument("paths", nargs=-1, metavar="[PRODUCT]...")
@click.option("--all", "is_all", is_flag=True, help="All products, and the history.")
@at_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    paths: tuple[str, ...],
    is_all: bool,
    at: str | None,
    as_json: bool,
) -> None:
    """Read every chunk of PRODUCTs, compare the checksums, and name what is damaged."""
    from ziggy_dask.interface.output import show, show_value

    if bool(paths) is is_all:
        raise click.UsageError("name products, or give --all")
    cluster = opened_cluster(ctx)
    faults = cluster.history_faults() if is_all else []
    found = list(cluster.verify(*paths, at=at))
    damages = [cluster.damage_text(bad) for one in found for bad in one.damages]
    if as_json:
        show_value({"products": found, "damages": damages, "history": faults})
    else:
        rows = [
            {
                "product": one.path,
                "arrays": one.arrays,
                "chunks": one.chunks,
                "MB": one.bytes / 1e6,
                "MB/s": one.bytes / 1e6 / max(one.seconds, 1e-9),
                "found": f"{len(one.damages)} damaged"
                if one.damages
                else "readable, no checksum"
                if one.unchecked
                else "sound",
            }
            for one in found
        ]
        show(rows, as_json=False, empty="there is no product")
        for one in found:
            if one.unchecked:
                some = ", ".join(one.unchecked[:3])
                click.echo(
                    f"'{one.path}': {len(one.unchecked)} arrays have no checksum, being of "
                    f"an earlier version: {some}"
                )
        total, seconds = sum(v.bytes for v in found), sum(v.seconds for v in found)
        click.echo(
            f"{sum(v.chunks for v in found)} chunks, {total / 1e6:.1f} MB of values, "
            f"{total / 1e6 / max(seconds, 1e-9):.0f} MB/s"
        )
        for text in (*faults, *damages):
            click.secho(text, fg="red", err=True)
    if faults or damages:
        ctx.exit(_DAMAGED)
