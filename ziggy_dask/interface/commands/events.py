"""``ziggy events`` and ``ziggy event``: what starts pipelines by itself."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import (
    Commands,
    json_option,
    opened_cluster,
    opened_records,
)
from ziggy_dask.interface.commands.running import followed
from ziggy_dask.interface.commands.watching import watchable


@click.command()
@watchable
@click.pass_context
def events(ctx: click.Context, as_json: bool) -> None:
    """List the event handlers, and the events that started instances."""
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    states = records.handlers
    handlers = [
        {
            "handler": one.name,
            "pipeline": name,
            "directory": one.directory,
            "schedule": f"{one.schedule} {one.timezone}" if one.schedule else "",
            "enabled": states[name, one.name].is_on(one.is_enabled),
            "fault": states[name, one.name].fault,
        }
        for name, stored in records.pipelines.items()
        for one in stored.pipeline.events
    ]
    seen = [
        {
            "time": one.time,
            "handler": one.handler,
            "event": one.name,
            "labels": ", ".join(one.labels),
            "due": one.due,
            "instance": one.instance,
        }
        for one in records.events
    ]
    if as_json:
        show([{"handlers": handlers, "events": seen}], as_json=True, empty="")
        return
    show(handlers, as_json=False, empty="no pipeline has event handlers")
    if seen:
        show(seen, as_json=False, empty="")


@click.group(cls=Commands)
def event() -> None:
    """Fire, enable and disable event handlers; ziggy events lists them."""


_pipeline_option = click.option(
    "--pipeline", help="Needed if several pipelines have a handler of that name."
)


@event.command()
@click.argument("handler")
@click.option("--label", "labels", multiple=True, help="A label; repeatable.")
@_pipeline_option
@json_option
@click.pass_context
def fire(
    ctx: click.Context,
    handler: str,
    labels: tuple[str, ...],
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Do what HANDLER does when its time has come, now, and wait."""
    from ziggy_dask.interface.commands.records import show_ended

    cluster = opened_cluster(ctx)
    with followed(cluster, as_json) as listen:
        done = cluster.fire(handler, labels, pipeline=pipeline, listen=listen)
    ctx.exit(show_ended([done], as_json=as_json))


@event.command()
@click.argument("handler")
@_pipeline_option
@click.pass_context
def enable(ctx: click.Context, handler: str, pipeline: str | None) -> None:
    """Let the supervisor follow HANDLER from now on."""
    opened_records(ctx).switch(handler, on=True, pipeline=pipeline)
    click.echo(f"{handler} is on")


@event.command()
@click.argument("handler")
@_pipeline_option
@click.pass_context
def disable(ctx: click.Context, handler: str, pipeline: str | None) -> None:
    """Let the supervisor pass over HANDLER."""
    opened_records(ctx).switch(handler, on=False, pipeline=pipeline)
    click.echo(f"{handler} is off")
