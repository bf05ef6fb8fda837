"""``ziggy import``, ``pipelines``, ``parameters``: registered definitions."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.interface.commands.here import json_option, opened_cluster


@click.command("import")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option("--dry-run", is_flag=True, help="Check only; register nothing.")
@json_option
@click.pass_context
def import_(
    ctx: click.Context, paths: tuple[Path, ...], dry_run: bool, as_json: bool
) -> None:
    """Register the pipelines in directories or YAML files, all or nothing."""
    from ziggy_dask.definitions import read_pipeline
    from ziggy_dask.interface.output import show

    cluster = opened_cluster(ctx)
    read = [read_pipeline(path) for path in paths]
    done = [
        one for pipeline in read for one in cluster.register(pipeline, dry_run=dry_run)
    ]
    rows = [
        {
            "kind": one.kind,
            "name": one.name,
            "version": one.version,
            "change": one.change.value,
        }
        for one in done
    ]
    sound = ", ".join(pipeline.name for pipeline in read)
    show(rows, as_json=as_json, empty=f"sound, and not registered: {sound}")


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
        for name, one in opened_cluster(ctx).pipelines.items()
    ]
    show(rows, as_json=as_json, empty="none; register one with: ziggy import DIRECTORY")


@click.command()
@click.argument("pipeline")
@json_option
@click.pass_context
def parameters(ctx: click.Context, pipeline: str, as_json: bool) -> None:
    """List the parameters of PIPELINE and their values."""
    from ziggy_dask.interface.output import show

    cluster = opened_cluster(ctx)
    rows = [
        {
            "set": name,
            "version": stored.version,
            "parameter": one.name,
            "type": one.type_text,
            "value": one.text,
        }
        for name, stored in cluster.parameter_sets(pipeline).items()
        for one in stored.content.parameters
    ]
    show(rows, as_json=as_json, empty=f"pipeline {pipeline!r} has no parameters")
