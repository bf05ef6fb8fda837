"""``ziggy restart``, ``halt``, ``failures``, ``alerts``: what operators do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import (
    json_option,
    opened_cluster,
    opened_records,
)
from ziggy_dask.interface.commands.running import followed, parse_changes
from ziggy_dask.interface.commands.watching import watchable


def _numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...]:
    """Return numbers and ranges of numbers, as in ``3,4,7-10``, each once, in order."""
    found: dict[int, None] = {}
    for piece in value.split(",") if value else ():
        first, dash, last = (part.strip() for part in piece.partition("-"))
        if not first.isdigit() or (dash and not last.isdigit()):
            raise click.BadParameter(f"{piece!r} is not a number; write e.g. 3,4,7-10")
        found.update(dict.fromkeys(range(int(first), int(last or first) + 1)))
    return tuple(found)


_tasks = click.argument(
    "tasks", callback=_numbers, required=False, shell_complete=complete.TASK
)


@click.command()
@_tasks
@click.option(
    "--instance",
    type=int,
    shell_complete=complete.INSTANCE,
    help="All failed tasks of an instance.",
)
@click.option(
    "--cause",
    default="",
    shell_complete=complete.CAUSE,
    help="All failures of one kind; see: ziggy failures.",
)
@click.option(
    "--mode",
    type=click.Choice(["from-beginning", "resubmit", "resume-current-step"]),
    help="All of a task; what failed of it (default); nothing: store what is good.",
)
@click.option(
    "--set",
    "changes",
    shell_complete=complete.PARAMETER,
    multiple=True,
    metavar="SET.PARAMETER=VALUE",
    help="Change a value for what runs again; it is recorded.",
)
@click.option(
    "--code",
    type=click.Choice(["old", "new"]),
    help="If files have changed since: the code it was launched with (default), or the "
    "code of now. Both stay on record.",
)
@json_option
@click.pass_context
def restart(
    ctx: click.Context,
    tasks: tuple[int, ...],
    instance: int | None,
    cause: str,
    mode: str | None,
    changes: tuple[str, ...],
    code: str | None,
    as_json: bool,
) -> None:
    """Run TASKS again, such as 3,4,7-10, and wait for the end.

    What waits downstream starts by itself. Exits with 1 when tasks failed again.
    """
    if not tasks and instance is None and not cause:
        raise click.UsageError("give TASKS, --instance or --cause")
    cluster = opened_cluster(ctx)
    chosen = code or _choose_code(
        cluster.code_changes(*tasks, instance=instance, cause=cause)
    )
    with followed(cluster, as_json) as listen:
        done = cluster.restart(
            *tasks,
            instance=instance,
            cause=cause,
            mode=mode,
            parameters=parse_changes(changes),
            code=chosen,
            listen=listen,
        )
    if not done:
        click.echo("nothing to restart: none of these tasks has failed", err=as_json)
    from ziggy_dask.interface.commands.records import show_ended

    ctx.exit(show_ended(done, as_json=as_json))


def _choose_code(changes: dict[int, list[str]]) -> str:
    """Tell which files of the code have changed, and ask which code to run."""
    for number, files in changes.items():
        click.echo(f"code changed since instance {number} was launched:", err=True)
        click.echo("".join(f"  {file}\n" for file in files), err=True, nl=False)
    if not changes:
        return "old"
    if not sys.stdin.isatty():
        click.echo(
            "the old code runs, as nobody can be asked; for the new one: --code new",
            err=True,
        )
        return "old"
    choice = click.Choice(["old", "new"])
    return str(click.prompt("Run which code?", type=choice, default="old", err=True))


@click.command()
@_tasks
@click.option(
    "--instance",
    type=int,
    shell_complete=complete.INSTANCE,
    help="All tasks of an instance.",
)
@click.option("--all", "everything", is_flag=True, help="All that has not ended.")
@click.pass_context
def halt(
    ctx: click.Context,
    tasks: tuple[int, ...],
    instance: int | None,
    everything: bool,
) -> None:
    """End TASKS, such as 3,4,7-10, with all that runs for them; nothing is stored.

    What is on record of them stays; they can be restarted.
    """
    if [bool(tasks), instance is not None, everything].count(True) != 1:
        raise click.UsageError("give TASKS, --instance or --all")
    count = opened_cluster(ctx).halt(*tasks, instance=instance)
    click.echo(f"{count} tasks halted" if count else "nothing to halt: all had ended")


@click.command()
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@watchable
@click.pass_context
def failures(ctx: click.Context, instance: int, as_json: bool) -> bool:
    """Show the failures of INSTANCE by cause, with an example and what to type next."""
    from ziggy_dask.interface.output import show
    from ziggy_dask.records.items import shown_items

    records = opened_records(ctx)
    record = records.instance_record(instance)
    is_over = record.state.is_final
    found = records.failures(instance)
    rows = [
        {
            "kind": one.fingerprint,
            "cause": one.cause.value,
            "count": one.count,
            "nodes": ", ".join(one.nodes),
            "tasks": ",".join(str(number) for number in one.tasks),
            "example": "{} --subtask {}".format(*one.example),
            "items": list(one.items) if as_json else shown_items(one.items),
            "message": one.message,
        }
        for one in found
    ]
    why = f"; it could not go on: {record.message}" if record.message else ""
    empty = f"no subtask of instance {instance} failed{why}"
    if not found:
        failed = records.failed_tasks(instance)
        lines = [
            f"task {one.id} {one.node} {one.unit}: {one.message}"
            for one in failed.tasks
        ]
        if failed.total > len(lines):
            lines.append(f"and {failed.total - len(lines)} more tasks")
        empty = "\n".join([empty, *lines])
    show(rows, as_json=as_json, empty=empty)
    earlier = records.earlier_failures(instance)
    if earlier and not as_json:
        count = sum(earlier.values())
        click.echo(
            f"{count} {'subtask' if count == 1 else 'subtasks'} failed in earlier attempts; "
            f"see: ziggy logs {next(iter(earlier))} --errors"
        )
    if found and not as_json:
        task, number = found[0].example
        click.echo(f"See one:    ziggy logs {task} --subtask {number}")
        click.echo(f"Run again:  ziggy restart --cause {found[0].fingerprint}")
    return is_over


@click.command()
@click.option(
    "--acknowledge",
    callback=_numbers,
    metavar="NUMBERS",
    help="Mark alerts as seen, e.g. 3,7-10.",
)
@click.option("--clear", is_flag=True, help="Take all off the list.")
@watchable
@click.pass_context
def alerts(
    ctx: click.Context,
    acknowledge: tuple[int, ...],
    clear: bool,
    as_json: bool,
) -> None:
    """List what operators should know, newest first."""
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    if acknowledge:
        click.echo(f"{records.acknowledge(*acknowledge)} acknowledged", err=as_json)
    if clear:
        click.echo(f"{records.clear_alerts()} cleared", err=as_json)
    rows = [
        {
            "id": one.id,
            "time": one.time,
            "severity": one.severity.value,
            "source": one.source,
            "instance": one.instance,
            "task": one.task,
            "seen": one.is_acknowledged,
            "count": one.count,
            "message": one.message,
        }
        for one in records.alerts
    ]
    show(rows, as_json=as_json, empty="none")


@click.command()
@click.option("--fix", "fixes", is_flag=True, help="Fix what can be fixed.")
@click.option("--mend", "mends", is_flag=True, hidden=True)
@json_option
@click.pass_context
def doctor(ctx: click.Context, fixes: bool, mends: bool, as_json: bool) -> None:
    """Show what does not fit between records, datastore and directories.

    Exits with 1 if anything is left that only you can fix.
    """
    from ziggy_dask.interface.output import show

    if mends:
        click.echo(
            "'--mend' is now called '--fix'; the old name works in this version only",
            err=True,
        )
    fixes = fixes or mends
    findings = opened_cluster(ctx).doctor(fix=fixes)
    rows = [
        {
            "what": one.what,
            "fix": one.fix,
            "done": fixes and one.do is not None,
        }
        for one in findings
    ]
    show(rows, as_json=as_json, empty="all is well")
    if not fixes and not as_json and any(one.do for one in findings):
        click.echo("To fix what can be fixed: ziggy doctor --fix")
    ctx.exit(int(any(not row["done"] for row in rows)))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def backup(ctx: click.Context, file: Path) -> None:
    """Write all records to FILE, with the snapshot of the datastore they are of.

    It can be made while a supervisor works, and is checked before it gets its name. The
    datastore itself is not copied. Exits with 1 if the records themselves have faults.
    """
    faults = opened_cluster(ctx).backup(file)
    click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    for fault in faults:
        click.secho(f"warning: {fault}; see: ziggy doctor", fg="yellow", err=True)
    ctx.exit(1 if faults else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.pass_context
def restore(ctx: click.Context, file: Path) -> None:
    """Take all records from FILE, and take the datastore back to its snapshot.

    The database must be a new one: ziggy cluster init makes it.
    """
    tag = opened_cluster(ctx).restore(file)
    kept = f"; what was stored since is kept as tag {tag!r}" if tag else ""
    click.echo(f"restored from {file}{kept}")
