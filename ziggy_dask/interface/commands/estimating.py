"""``ziggy estimate``: nodes, wall time, queue and price before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import json_option, opened_cluster

if TYPE_CHECKING:
    from ziggy_dask.interface.estimating import Estimates
    from ziggy_dask.records.history import Percentile


def _size(text: str) -> int:
    from ziggy_dask.definitions.section import size_in_bytes

    size = size_in_bytes(text)
    if not size:
        raise click.BadParameter(f"{text!r} is not a valid size; write e.g. '10GB'")
    return size


def _time(text: str) -> float:
    from ziggy_dask.definitions.section import seconds_of

    seconds = seconds_of(text)
    if not seconds:
        raise click.BadParameter(
            f"{text!r} is not a valid time; write e.g. '0.15h' or '9min'"
        )
    return seconds


@click.command()
@click.argument("pipeline", shell_complete=complete.PIPELINE)
@click.option(
    "--node", required=True, shell_complete=complete.NODE, help="Node of the pipeline."
)
@click.option("--environment", default="", help="Environment. Default: the node's.")
@click.option("--subtasks", type=click.IntRange(1), help="Default: as planned now.")
@click.option("--tasks", type=click.IntRange(1), help="Default: as planned now.")
@click.option("--memory", type=_size, metavar="SIZE", help="Of one subtask, e.g. 10GB.")
@click.option(
    "--time", type=_time, metavar="TIME", help="Longest of one subtask, e.g. 0.15h."
)
@click.option(
    "--typical", type=_time, metavar="TIME", help="Typical time. Default: the longest."
)
@click.option(
    "--from-history",
    is_flag=True,
    help="Take memory and times from past subtasks of the node.",
)
@click.option(
    "--queue-table",
    type=click.Path(path_type=Path),
    help="CSV of the site's queues, for optimizers by queue.",
)
@json_option
@click.pass_context
def estimate(
    ctx: click.Context,
    pipeline: str,
    node: str,
    environment: str,
    subtasks: int | None,
    tasks: int | None,
    memory: int | None,
    time: float | None,
    typical: float | None,
    from_history: bool,
    queue_table: Path | None,
    as_json: bool,
) -> None:
    """Show what a node of PIPELINE would get on a batch system, and what that costs.

    One line per architecture; the arrow marks the one that a run would use. What is given
    here wins over --from-history, and that over the node's definition.
    """
    from ziggy_dask.interface.output import show

    made = opened_cluster(ctx).estimate(
        pipeline,
        node,
        environment=environment,
        subtasks=subtasks or 0,
        tasks=tasks or 0,
        memory_bytes=memory or 0,
        longest_s=time or 0.0,
        typical_s=typical or 0.0,
        from_history=from_history,
        queue_table=queue_table or "",
    )
    if as_json:
        click.echo(json.dumps(_content(made), indent=2))
    else:
        _say(made)
        show(made.rows, as_json=False, empty="")
    made.chosen  # noqa: B018 (an error tells why nothing can be used)


def _say(made: Estimates) -> None:
    from ziggy_dask.compute.formatting import clock

    needs = made.needs
    click.echo(
        f"{sum(made.subtasks)} subtasks in {len(made.subtasks)} tasks on "
        f"{made.environment.name}; each {needs.memory_bytes / 1e9:g} GB, "
        f"{clock(needs.typical_s)} typically, {clock(needs.longest_s)} at most"
    )
    for line in made.reasons:
        click.echo(line)
    if made.history is not None:
        past = made.history
        click.echo(f"From {past.subtasks} past subtasks, with 95 % bands:")
        for what, one, unit, per in (
            ("median time", past.median_s, "s", 1.0),
            ("95 % take at most", past.longest_s, "s", 1.0),
            ("median memory", past.median_bytes, "GB", 1e9),
            ("95 % need at most", past.most_bytes, "GB", 1e9),
        ):
            click.echo(f"    {what}: {_band(one, per)} {unit}")


def _band(one: Percentile, per: float) -> str:
    text = f"{one.value / per:.3g} ({one.low / per:.3g} to {one.high / per:.3g})"
    return text if one.is_enough else f"{text}, too few to be sure,"


def _content(made: Estimates) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "environment": made.environment.name,
        "cost_unit": made.environment.cost_unit,
        "subtasks": list(made.subtasks),
        "memory_bytes": made.needs.memory_bytes,
        "typical_s": made.needs.typical_s,
        "longest_s": made.needs.longest_s,
        "history": asdict(made.history) if made.history else None,
        "architectures": [
            {
                "architecture": one.architecture.name,
                "is_chosen": one.is_chosen,
                "reason": one.reason,
                "estimate": asdict(one.estimate) if one.estimate else None,
            }
            for one in made.offers
        ],
    }
