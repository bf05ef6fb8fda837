"""``ziggy verify``: read all that is stored, and compare its checksums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ziggy_dask.interface.commands.context import (
    at_option,
    json_option,
    opened_cluster,
)

if TYPE_CHECKING:
    from ziggy_dask.datastore.verifying import Verified

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
    history = cluster.verify_history() if is_all else None
    faults = () if history is None else history.faults
    found = list(cluster.verify(*paths, at=at))
    damages = [cluster.damage_text(bad) for one in found for bad in one.damages]
    if as_json:
        show_value({"products": found, "damages": damages, "history": history})
    else:
        rows = [
            {
                "product": one.path,
                "arrays": one.arrays,
                "chunks": one.chunks,
                "MB": one.bytes / 1e6,
                "MB/s": one.bytes / 1e6 / max(one.seconds, 1e-9),
                "files": one.files,
                "found": f"{len(one.damages)} damaged"
                if one.damages
                else "readable, no checksum"
                if one.unchecked
                else "sound, files without digest"
                if one.undigested
                else "sound",
            }
            for one in found
        ]
        show(rows, as_json=False, empty="there is no product")
        for one in found:
            for text in _unproven(one):
                click.echo(text)
        total, seconds = sum(v.bytes for v in found), sum(v.seconds for v in found)
        click.echo(
            f"{sum(v.chunks for v in found)} chunks, {total / 1e6:.1f} MB of values, "
            f"{total / 1e6 / max(seconds, 1e-9):.0f} MB/s"
        )
        if history is not None:
            speed = history.bytes / 1e6 / max(history.seconds, 1e-9)
            click.echo(
                f"{history.files} snapshots and manifests, {history.bytes / 1e6:.1f} MB, "
                f"{speed:.0f} MB/s; {history.undigested} of them without a digest on record"
            )
        for text in (*faults, *damages):
            click.secho(text, fg="red", err=True)
    if faults or damages:
        ctx.exit(_DAMAGED)


def _unproven(one: Verified) -> Iterator[str]:
    """Yield what of a product could be read, but not compared with anything."""
    if one.unchecked:
        some = ", ".join(one.unchecked[:3])
        yield (
            f"'{one.path}': {len(one.unchecked)} arrays have no checksum, being of an "
            f"earlier version: {some}"
        )
    if one.undigested:
        yield (
            f"'{one.path}': {one.undigested} of {one.files + one.undigested} files that say "
            "where its chunks are have no digest on record: they are of an earlier version, "
            "or in an object store"
        )
