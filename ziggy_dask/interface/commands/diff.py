"""``ziggy diff``: what differs between two states, and by how much."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import json_option, opened_cluster


@click.command()
@click.argument("first", metavar="FIRST")
@click.argument("second", metavar="SECOND")
@click.argument("paths", nargs=-1, metavar="[PRODUCT]...")
@click.option("--no-values", is_flag=True, help="Read no values: only what was run.")
@json_option
@click.pass_context
def diff(
    ctx: click.Context,
    first: str,
    second: str,
    paths: tuple[str, ...],
    no_values: bool,
    as_json: bool,
) -> None:
    """Say what differs between the states FIRST and SECOND, and by how much.

    A state is an instance, a tag, a date or a snapshot. What was run: definitions, code,
    parameters, models, packages. And the values of all products, or of PRODUCTs.
    """
    from ziggy_dask.interface.output import difference_rows, show, show_value

    found = opened_cluster(ctx).diff(first, second, *paths, values=not no_values)
    if as_json:
        show_value(found)
        return
    for title, lines in (
        ("definitions", found.definitions),
        ("code", found.code),
        ("packages", found.packages),
    ):
        if lines:
            click.secho(title, bold=True)
            for line in lines:
                colour = {"+": "green", "-": "red"}.get(line[:1])
                click.secho(f"  {line}", fg=colour)
    count = len(found.products)
    click.secho(
        f"{count} product{' differs' if count == 1 else 's differ'}, "
        f"{found.same} of the same version in both",
        bold=True,
    )
    for one in found.products:
        numbers = f"version {one.first or '-'} → {one.second or '-'}"
        click.echo(f"{one.path}  {numbers}")
        for text in one.made_with:
            click.echo(f"    {text}")
    if not no_values:
        rows = difference_rows(value for one in found.products for value in one.values)
        show(rows, as_json=False, empty="no values differ")
