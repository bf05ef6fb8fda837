"""``ziggy why`` and ``ziggy code``: where values come from, and the code that made them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.commands.context import (
    Commands,
    at_option,
    json_option,
    opened_cluster,
    opened_records,
)


@click.command()
@click.argument("path")
@click.option(
    "--where",
    metavar="DIMENSION=LABEL",
    help="One item of the product, such as image=3.",
)
@at_option
@json_option
@click.pass_context
def why(
    ctx: click.Context,
    path: str,
    where: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Say who made the product at PATH, from what, and with which code."""
    name, sign, label = (where or "").partition("=")
    if where is not None and not (name and sign):
        raise click.UsageError(
            f"--where {where!r}: write DIMENSION=LABEL, as in image=3"
        )
    chosen = {name: label} if sign else {}
    found = opened_cluster(ctx).why(path, at=at, **chosen)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, default=str))
        return
    for heading, text in found.lines():
        click.echo(f"{heading:<11} {text}")


@click.group(cls=Commands)
def code() -> None:
    """Show and check out the code that ran."""


@code.command("show")
@click.argument("which")
@click.argument("file", required=False)
@click.pass_context
def show_code(ctx: click.Context, which: str, file: str | None) -> None:
    """List the files of WHICH code, or write FILE of it.

    WHICH is the number of an instance, or the begin of a digest that 'ziggy why' shows.
    """
    tree = opened_records(ctx).recorded_code(which)
    if file is None:
        for one in tree.files:
            click.echo(f"{one.digest[:16]}  {len(one.content):>9}  {one.path}")
        return
    found = next((one for one in tree.files if one.path == file), None)
    if found is None:
        raise DefinitionError(f"code {tree.version} has no file {file!r}")
    sys.stdout.buffer.write(found.content)


@code.command("checkout")
@click.argument("which")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def check_out_code(ctx: click.Context, which: str, directory: Path) -> None:
    """Write the files of WHICH code into a new DIRECTORY."""
    from ziggy_dask.definitions import check_out

    if directory.exists():
        raise DefinitionError(f"{directory}: is there already; name a new directory")
    tree = opened_records(ctx).recorded_code(which)
    check_out(tree, directory.resolve())
    click.echo(f"{len(tree.files)} files of {tree.version} in {directory}")
