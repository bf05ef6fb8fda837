"""``ziggy datastore``: look at products, and remove them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ziggy_dask.interface.commands.context import (
    Commands,
    at_option,
    json_option,
    opened_cluster,
)
from ziggy_dask.interface.commands.watching import watchable

if TYPE_CHECKING:
    from ziggy_dask.datastore import Datastore


_READ_BYTES = 1_000_000
"""What is larger is shown without its values, in bytes."""


@click.group(cls=Commands)
def datastore() -> None:
    """Look at products, and remove them."""


@datastore.command("ls")
@click.argument("path", required=False)
@at_option
@json_option
@click.pass_context
def list_(ctx: click.Context, path: str | None, at: str | None, as_json: bool) -> None:
    """List the products, or the files or items of the product at PATH."""
    store = _opened(ctx, at)
    names = list(store) if path is None else store.items(path)
    click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names))


@datastore.command()
@click.argument("path")
@at_option
@click.pass_context
def cat(ctx: click.Context, path: str, at: str | None) -> None:
    """Write the file at PATH, a product and the name of a file in it, byte for byte."""
    product, _, name = path.strip("/").rpartition("/")
    item = _opened(ctx, at).file(product, name)
    for piece in item.pieces():
        sys.stdout.buffer.write(piece)


@datastore.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@at_option
@click.pass_context
def export_(
    ctx: click.Context, directory: Path, paths: tuple[str, ...], at: str | None
) -> None:
    """Write the products at PATHs, or all, into DIRECTORY.

    Files come out byte for byte; arrays and collections as NetCDF.
    """
    written = _opened(ctx, at).export(directory, paths or None)
    click.echo(f"{len(written)} files in {directory}")


@datastore.command()
@click.argument("path")
@at_option
@click.pass_context
def show(ctx: click.Context, path: str, at: str | None) -> None:
    """Show the product at PATH; of a small one also the values."""
    from ziggy_dask.datastore.items import Files

    product = _opened(ctx, at)[path]
    if isinstance(product, Files):
        for name in product:
            click.echo(f"{name}  {product.item(name).size} bytes")
        return
    if product.nbytes <= _READ_BYTES:
        product.load()
    click.echo(repr(product))


@datastore.command("rm")
@click.argument("paths", nargs=-1, required=True, metavar="PRODUCT...")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.pass_context
def remove(ctx: click.Context, paths: tuple[str, ...], dry_run: bool) -> None:
    """Remove PRODUCTs; until they expire, --at shows them as of before."""
    before = opened_cluster(ctx).datastore.history()[0][0]
    for path in opened_cluster(ctx).remove(*paths, dry_run=dry_run):
        click.echo(f"{path} {'would be' if dry_run else 'was'} removed")
    if not dry_run:
        click.echo(f"until it expires, it can be read with: --at {before}")


@datastore.command()
@watchable
@click.pass_context
def history(ctx: click.Context, as_json: bool) -> None:
    """List what was published, newest first."""
    from ziggy_dask.interface.output import show

    rows = [
        {"snapshot": snapshot, "time": time, "message": message}
        for snapshot, time, message in opened_cluster(ctx).datastore.history()
    ]
    show(rows, as_json=as_json, empty="nothing yet")


def _opened(ctx: click.Context, at: str | None) -> Datastore:
    store = opened_cluster(ctx).datastore
    return store if at is None else store.at(at)
