"""``ziggy status``: everything on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.commands.context import opened_records
from ziggy_dask.interface.commands.watching import watchable

if TYPE_CHECKING:
    from ziggy_dask.interface.status import Progress, Status
    from ziggy_dask.records.overview import NodeScore

_NEXT = 5
"""So many of the instances that wait are named."""
_BAR = 30
"""Length of a bar, in characters."""


@click.command()
@click.option(
    "--check",
    "checks",
    is_flag=True,
    help="Print one line for monitoring; exit with 0 if all is well, 1 for a warning, "
    "2 if it is critical, 3 if that can't be told.",
)
@watchable
@click.pass_context
def status(ctx: click.Context, checks: bool, as_json: bool) -> None:
    """Show on one screen how everything stands.

    The supervisor, what runs and how far it is, what ended last, alerts that nobody
    has seen, and deliveries.
    """
    from ziggy_dask.interface.output import console, show_value

    if checks:
        ctx.exit(_check(ctx))
    found = opened_records(ctx).status
    if as_json:
        show_value(found)
        return
    target = console()
    for line in _lines(found):
        target.print(line, overflow="ellipsis", no_wrap=True, highlight=False)


def _check(ctx: click.Context) -> int:
    """Print a line for monitoring; return its exit code."""
    from ziggy_dask.interface.check import Level, check

    try:
        found = check(opened_records(ctx).status)
    except ZiggyError as error:
        click.echo(f"ZIGGY {Level.UNKNOWN.name} - {error}")
        return Level.UNKNOWN
    click.echo(str(found))
    return found.level


def _lines(found: Status) -> Iterator[Any]:
    yield _line("cluster", found.cluster, note=found.file)
    holder = found.supervisor
    if holder is None:
        yield _line("supervisor", "none", note="start one with: ziggy cluster start")
    else:
        since = f"process {holder.pid} on {holder.host}"
        note = f"since {holder.since.astimezone():%Y-%m-%d %H:%M}"
        yield _line("supervisor", since, style="green", note=note)
    yield _line("running", str(len(found.running)) if found.running else "nothing")
    for one in found.running:
        yield from _progress(one)
    if found.queued:
        first = ", ".join(str(one.id) for one in found.queued[:_NEXT])
        more = ", …" if len(found.queued) > _NEXT else ""
        note = f"instances {first}{more}; see 'max_instances' in the cluster file"
        yield _line("waiting", f"{len(found.queued)} for their turn", note=note)
    yield _line("ended", str(found.ended_count) if found.ended_count else "none yet")
    for one in found.ended:
        yield _headline(one)
        yield from _first_failure(one)
    what = f"{found.alert_count} not seen" if found.alert_count else "none"
    yield _line("alerts", what, style="red" if found.alert_count else "")
    for alert in found.alerts:
        style = "yellow" if alert.severity.value == "WARNING" else "red"
        yield _line("", f"{alert.id}  {' '.join(alert.message.split())}", style=style)
    waiting = f"{len(found.waiting)} waiting" if found.waiting else "none waiting"
    last = found.received
    yield _line("deliveries", waiting, note=f"last: {last.name}" if last else "")


def _line(heading: str, text: str, *, style: str = "", note: str = "") -> Any:
    from rich.text import Text

    made = Text(f"{heading:<12}", style="bold").append(text, style)
    made.stylize("not bold", 12)
    return made.append(f"   {note}", "dim not bold") if note else made


def _headline(one: Progress) -> Any:
    record = one.instance
    good = record.state.value in ("COMPLETED", "PROCESSING", "INITIALIZED")
    name = f"  {record.name}" if record.name else ""
    note = ""
    if one.failed_tasks:
        note = f"failed tasks: {one.failed_tasks}; see: ziggy failures {record.id}"
    text = f"{record.id}  {record.pipeline}{name}  {record.state.value}"
    return _line("", text, style="green" if good else "red", note=note)


def _progress(one: Progress) -> Iterator[Any]:
    yield _headline(one)
    width = max((len(node.node) for node in one.nodes), default=0)
    for node in one.nodes:
        yield _bar(node, width)
    yield from _first_failure(one)


def _first_failure(one: Progress) -> Iterator[Any]:
    if one.first_failure:
        yield _line("", f"   {' '.join(one.first_failure.split())}", style="red")


def _bar(node: NodeScore, width: int) -> Any:
    from rich.text import Text

    total = max(node.subtasks, 1)
    done = _BAR * node.complete // total
    bad = min(_BAR - done, -(-_BAR * node.failed // total))
    made = Text(" " * 15 + f"{node.node:<{width}}  ")
    made.append("━" * done, "green").append("━" * bad, "red")
    made.append("─" * (_BAR - done - bad), "dim")
    made.append(f"  {node.complete}/{node.subtasks}")
    return made.append(f"  {node.failed} failed", "red") if node.failed else made
