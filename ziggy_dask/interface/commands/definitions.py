"""``ziggy import``, ``update``, ``export``, ``pipelines``, ``parameters``, ``schema``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import (
    json_option,
    opened_cluster,
    opened_records,
)
from ziggy_dask.interface.whole_files import write_file


def _import_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that register definitions."""
    for option in (
        json_option,
        click.option("--dry-run", is_flag=True, help="Check only; register nothing."),
        click.option(
            "--home",
            type=click.Path(path_type=Path, file_okay=False),
            help="For XML: directory of the algorithms. Default: that of the first file.",
        ),
        click.argument(
            "paths",
            nargs=-1,
            required=True,
            type=click.Path(path_type=Path),
            metavar="PATH...",
        ),
    ):
        function = option(function)
    return click.pass_context(function)


@click.command("import")
@_import_options
def import_(ctx: click.Context, /, **options: Any) -> None:
    """Register the pipelines in directories or YAML files, or definitions in XML files.

    All or nothing. Of the original Ziggy's XML files, only what is new is taken; to
    replace what is there: ziggy update.
    """
    _import(ctx, updates=False, **options)


@click.command()
@_import_options
def update(ctx: click.Context, /, **options: Any) -> None:
    """Register definitions, and replace those that are there already.

    Like import, but XML files of the original Ziggy also change what is there.
    """
    _import(ctx, updates=True, **options)


def _import(
    ctx: click.Context,
    paths: tuple[Path, ...],
    home: Path | None,
    *,
    updates: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from ziggy_dask.interface.output import show

    cluster = opened_cluster(ctx)
    xml = [path for path in paths if path.suffix.lower() == ".xml"]
    if xml and len(xml) < len(paths):
        raise click.UsageError("give either XML files or others, not both at once")
    if xml:
        done = cluster.import_ziggy(*xml, updates=updates, home=home, dry_run=dry_run)
    else:
        done = cluster.register(*paths, dry_run=dry_run)
    rows = [
        {
            "kind": one.kind,
            "name": one.name,
            "version": one.version,
            "change": one.change.value,
        }
        for one in done
    ]
    named = ", ".join(str(path) for path in paths)
    show(rows, as_json=as_json, empty=f"sound, and not registered: {named}")


@click.command()
@click.argument("pipeline", shell_complete=complete.PIPELINE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "xml"]),
    default="yaml",
    help="YAML, or XML of the original Ziggy.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File. Default: print it."
)
@click.pass_context
def export(ctx: click.Context, pipeline: str, form: str, output: Path | None) -> None:
    """Write the definition of PIPELINE, with its newest parameters."""
    text = opened_cluster(ctx).export(pipeline, as_xml=form == "xml")
    if output is None:
        click.echo(text, nl=False)
    else:
        write_file(output, text)


@click.command()
@json_option
@click.pass_context
def pipelines(ctx: click.Context, as_json: bool) -> None:
    """List the registered pipelines."""
    from ziggy_dask.interface.output import show

    rows = [
        {
            "name": name,
            "version": one.version,
            "locked": one.is_locked,
            "nodes": " → ".join(node.name for node in one.pipeline.ordered),
            "description": one.pipeline.description,
        }
        for name, one in opened_records(ctx).pipelines.items()
    ]
    show(rows, as_json=as_json, empty="none; register one with: ziggy import DIRECTORY")


@click.command()
@click.argument("pipeline", shell_complete=complete.PIPELINE)
@click.option(
    "--set",
    "changes",
    shell_complete=complete.PARAMETER,
    multiple=True,
    metavar="SET.PARAMETER=VALUE",
    help="Change a value for all runs to come.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="File of parameter sets whose values are taken over.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write them to, for --from.",
)
@json_option
@click.pass_context
def parameters(
    ctx: click.Context,
    pipeline: str,
    changes: tuple[str, ...],
    source: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """List the parameters of PIPELINE and their values, or change some.

    A version that an instance has used stays as it is; a change makes a new one.
    """
    from ziggy_dask.interface.commands.running import parse_changes
    from ziggy_dask.interface.output import show

    cluster = opened_cluster(ctx)
    for asked in (source, parse_changes(changes)):
        for one in cluster.set_parameters(pipeline, asked) if asked else ():
            click.echo(
                f"{one.change.value:<12}  {one.name} v{one.version}", err=as_json
            )
    if output is not None:
        write_file(output, cluster.export_parameters(pipeline))
        return
    rows = [
        {
            "set": name,
            "version": stored.version,
            "locked": stored.is_locked,
            "parameter": one.name,
            "type": one.type_text,
            "value": one.text,
        }
        for name, stored in cluster.parameter_sets(pipeline).items()
        for one in stored.content.parameters
    ]
    show(rows, as_json=as_json, empty=f"pipeline {pipeline!r} has no parameters")


@click.command()
@click.argument("kind", type=click.Choice(["pipeline", "cluster", "parameters"]))
def schema(kind: str) -> None:
    """Print the JSON schema of pipeline, cluster or parameter files.

    Editors that read it complete keys and underline mistakes as you type.
    """
    from ziggy_dask.definitions import schema as schema_of

    click.echo(json.dumps(schema_of(kind), indent=2))
