"""``ziggy plan``, ``graph``, ``run``: from a definition to products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import json_option, opened_cluster

if TYPE_CHECKING:
    from ziggy_dask.interface.cluster import Cluster
    from ziggy_dask.supervisor import Listener


def _choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose nodes and units of work, as one argument `choice`."""
    options = (
        click.option(
            "--start",
            metavar="NODE",
            shell_complete=complete.NODE,
            help="First node. Default: all roots.",
        ),
        click.option(
            "--stop",
            metavar="NODE",
            shell_complete=complete.NODE,
            help="Leave out what follows this node.",
        ),
        click.option(
            "--where",
            multiple=True,
            metavar="NAME=REGEX",
            help="Only units of work with such a placeholder value.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="NAME=REGEX",
            help="No units of work with such a placeholder value.",
        ),
        click.option(
            "--process",
            type=click.Choice(["all", "new"]),
            help="All items, or those that were not processed yet. Default: as the "
            "pipeline says.",
        ),
    )

    @wraps(function)
    def chosen(*arguments: Any, **given: Any) -> Any:
        names = ("start", "stop", "where", "exclude", "process")
        choice = {name: given.pop(name) for name in names}
        return function(*arguments, choice=choice, **given)

    for option in reversed(options):  # the last one comes first
        chosen = option(chosen)
    return chosen


@click.command()
@click.argument("pipeline", shell_complete=complete.PIPELINE)
@_choice_options
@click.option("--subtasks", is_flag=True, help="List every subtask with its items.")
@json_option
@click.pass_context
def plan(
    ctx: click.Context,
    pipeline: str,
    choice: dict[str, Any],
    subtasks: bool,
    as_json: bool,
) -> None:
    """Show all tasks that a run of PIPELINE would have; nothing is changed."""
    from ziggy_dask.interface.output import show

    made = opened_cluster(ctx).plan(pipeline, **choice)
    if subtasks:
        rows: list[dict[str, Any]] = [
            {
                "node": task.node,
                "unit": task.unit.name,
                "subtask": number,
                "items": ", ".join(task.labels.take(task.items(number)))
                if task.labels is not None
                else "all",
            }
            for task in made.tasks
            for number in range(task.count)
        ]
    else:
        rows = [
            {
                "node": task.node,
                "unit": task.unit.name,
                "subtasks": task.count
                if not task.is_open
                else "when its inputs are stored",
                "reads": ", ".join(feed.path for feed in task.feeds),
                "writes": ", ".join(target.path for target in task.targets),
            }
            for task in made.tasks
        ]
    show(rows, as_json=as_json, empty="nothing to do")
    for warning in made.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    if not as_json:
        old = f", {made.unchanged} have nothing new" if made.unchanged else ""
        click.echo(f"{len(made.tasks)} tasks, {made.subtask_count} subtasks{old}")


@click.command()
@click.argument("pipeline", shell_complete=complete.PIPELINE)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write: .svg, .png, .pdf or .dot.",
)
@_choice_options
@click.pass_context
def graph(
    ctx: click.Context,
    pipeline: str,
    output: Path,
    choice: dict[str, Any],
) -> None:
    """Draw the Dask graph of a run of PIPELINE; nothing is changed."""
    from ziggy_dask.interface.picture import draw_plan

    made = opened_cluster(ctx).plan(pipeline, **choice)
    draw_plan(made, output)
    click.echo(f"{output}: {len(made.tasks)} tasks, {made.subtask_count} subtasks")


@click.command()
@click.argument("pipeline", required=False, shell_complete=complete.PIPELINE)
@click.option("--name", default="", help="Name for the instance.")
@_choice_options
@click.option(
    "--set",
    "changes",
    shell_complete=complete.PARAMETER,
    multiple=True,
    metavar="SET.PARAMETER=VALUE",
    help="Change a parameter for this run.",
)
@click.option(
    "--continue",
    "continues",
    is_flag=True,
    help="Resume the newest instance that has not ended.",
)
@click.option(
    "--instance",
    type=int,
    shell_complete=complete.INSTANCE,
    help="With --continue: this one.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Let the supervisor of 'ziggy cluster start' run it; say its number and return.",
)
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    pipeline: str | None,
    name: str,
    choice: dict[str, Any],
    changes: tuple[str, ...],
    continues: bool,
    instance: int | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Run PIPELINE and wait for its end.

    Exits with 0 when the instance is COMPLETED, with 1 when tasks failed.
    """
    from ziggy_dask.interface.commands.records import show_ended

    chosen = (name, *choice.values(), changes, detach)
    if continues == (pipeline is not None):
        raise click.UsageError("give either PIPELINE or --continue")
    if continues and any(chosen):
        raise click.UsageError(
            "--continue goes on with what the instance was begun with, and takes no "
            "options but --instance and --json"
        )
    if instance is not None and not continues:
        raise click.UsageError("--instance goes with --continue")
    cluster = opened_cluster(ctx)
    asked = {"name": name, "parameters": parse_changes(changes), **choice}
    if detach:
        click.echo(cluster.run(pipeline or "", **asked, wait=False).id)
        return
    with followed(cluster, as_json) as listen:
        if continues:
            done = cluster.resume(instance, listen=listen)
        else:
            done = cluster.run(pipeline or "", **asked, listen=listen)
    code = show_ended([done], as_json=as_json)
    if continues and instance is None:
        _say_what_else_waits(cluster)
    ctx.exit(code)


def _say_what_else_waits(cluster: Cluster) -> None:
    """Name the instances that have not ended either: only the newest was gone on with."""
    for one in cluster.instance_records:
        if not one.state.is_final:
            click.echo(
                f"instance {one.id} has not ended either; resume it with: "
                f"ziggy run --continue --instance {one.id}",
                err=True,
            )


@contextmanager
def followed(cluster: Cluster, as_json: bool) -> Iterator[Listener]:
    """Show what the supervisor does; yield what it has to be told to.

    Signals end the work in order, and then the command, with their exit code; that
    nobody reads its output any more, or none can be written, does not.
    """
    from rich.console import Console

    from ziggy_dask.interface.output import console
    from ziggy_dask.interface.progress import shown_progress
    from ziggy_dask.interface.signals import say, told_by_signals
    from ziggy_dask.interface.streams import make_output_sturdy

    make_output_sturdy()
    with told_by_signals(cluster.stop, interrupts=True) as told:
        try:
            with shown_progress(
                Console(stderr=True) if as_json else console()
            ) as listen:
                yield listen
            if told.number is not None:  # the work has ended in order
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            say("interrupted; resume with: ziggy run --continue")
            raise click.exceptions.Exit(told.exit_code) from None


def parse_changes(texts: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """Read texts of the form ``Set.parameter=value``.

    Examples
    --------
    >>> parse_changes(("Algorithm Parameters.pause=1",))
    {'Algorithm Parameters': {'pause': '1'}}
    """
    changes: dict[str, dict[str, object]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        set_name, dot, parameter = key.rpartition(".")
        if not equals or not dot:
            raise DefinitionError(
                f"{text!r} changes no parameter; write 'Set.parameter=value'"
            )
        if not value.strip():
            raise DefinitionError(
                f"{text!r} gives no value; write 'Set.parameter=value', or "
                "'Set.parameter=\"\"' for an empty text"
            )
        changes.setdefault(set_name, {})[parameter] = "" if value == '""' else value
    return changes
