"""``ziggy instances``, ``tasks``, ``subtasks``, ``logs``: what became of things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import (
    Commands,
    json_option,
    opened_cluster,
    opened_records,
)
from ziggy_dask.interface.commands.watching import watchable

if TYPE_CHECKING:
    from ziggy_dask.interface.objects import Instance
    from ziggy_dask.interface.recorded import Records
    from ziggy_dask.records.attempts import EarlierSubtask
    from ziggy_dask.records.instances import InstanceRecord, TaskRecord
    from ziggy_dask.records.outcomes import SubtaskLog
    from ziggy_dask.records.overview import TaskLine

_MOST_REMARKS = 10
"""So many warnings are shown when a run ends."""


_ITS = "of the task"
"""Stands for the workers of a task where none is named."""


@click.group(cls=Commands, invoke_without_command=True)
@watchable
@click.pass_context
def instances(ctx: click.Context, as_json: bool) -> bool:
    """List the instances, or remove one."""
    if ctx.invoked_subcommand is not None:
        return True
    from ziggy_dask.interface.output import show

    records = opened_records(ctx).instance_records
    show(instance_rows(records), as_json=as_json, empty="none yet")
    return all(one.state.is_final for one in records)


@instances.command("rm")
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@click.option("--dry-run", is_flag=True, help="Only say whether it can be removed.")
@click.pass_context
def remove_instance(ctx: click.Context, instance: int, dry_run: bool) -> None:
    """Remove INSTANCE, which stored nothing, with its tasks and logs."""
    opened_cluster(ctx).remove_instance(instance, dry_run=dry_run)
    click.echo(f"instance {instance} {'would be' if dry_run else 'was'} removed")


@click.command()
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@watchable
@click.pass_context
def tasks(ctx: click.Context, instance: int, as_json: bool) -> bool:
    """List the tasks of INSTANCE."""
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    is_over = records.instance_record(instance).state.is_final
    found = records.task_lines(instance)
    empty = f"instance {instance} has no tasks"
    show(task_rows(found), as_json=as_json, empty=empty)
    return is_over


@click.command()
@click.argument("task", type=int, shell_complete=complete.TASK)
@click.option("--item", default="", help="Only the subtask of this item.")
@watchable
@click.pass_context
def subtasks(ctx: click.Context, task: int, item: str, as_json: bool) -> bool:
    """List the subtasks of TASK that have ended."""
    from ziggy_dask.interface.output import show
    from ziggy_dask.records.items import shown_items

    records = opened_records(ctx)
    is_over = records.task_record(task).has_ended
    if item:
        records.find_item(item, task)
    current = records.task_record(task).attempt
    earlier = records.earlier_subtasks(task)
    ended: list[Any] = [*earlier, *records.subtask_records(task)]
    rows = [
        {
            "subtask": one.number,
            **({"attempt": getattr(one, "attempt", current)} if earlier else {}),
            "items": list(one.items) if as_json else shown_items(one.items),
            "state": one.state.value,
            "cause": one.cause.value,
            "started": one.started,
            "seconds": one.wall_s,
            "cpu_seconds": getattr(one, "cpu_s", None),
            "memory_MB": one.peak_memory_bytes / 1e6,
            "worker": f"{one.host}:{one.worker}",
            "message": one.message,
        }
        for one in ended
        if not item or item in one.items
    ]
    of_item = f"with the item {item!r} " if item else ""
    empty = f"no subtask {of_item}of task {task} has ended yet"
    show(rows, as_json=as_json, empty=empty)
    return is_over


@click.command()
@click.argument("task", type=int, required=False, shell_complete=complete.TASK)
@click.option(
    "--instance",
    type=int,
    shell_complete=complete.INSTANCE,
    help="All tasks of an instance.",
)
@click.option("--subtask", type=int, help="Only this subtask of TASK.")
@click.option("--item", default="", help="Only subtasks with this item.")
@click.option("--errors", is_flag=True, help="Only subtasks that failed.")
@click.option("--follow", is_flag=True, help="Go on as subtasks end, until all have.")
@click.option(
    "--worker",
    is_flag=False,
    flag_value=_ITS,
    help="The log of this worker: what was written outside of subtasks, or beside others. "
    "With TASK and no name: of the workers that ran it.",
)
@json_option
@click.pass_context
def logs(
    ctx: click.Context,
    task: int | None,
    instance: int | None,
    subtask: int | None,
    item: str,
    errors: bool,
    follow: bool,
    worker: str | None,
    as_json: bool,
) -> None:
    """Show what the subtasks of TASK printed, and the tracebacks of those that failed."""
    from ziggy_dask.interface.output import show_value
    from ziggy_dask.interface.outside import harmless
    from ziggy_dask.records.items import shown_items

    if worker is not None:
        if instance is not None or errors or follow or as_json:
            raise click.UsageError("--worker goes with TASK, --subtask and --item only")
        _show_worker(opened_records(ctx), worker, task, subtask, item)
        return
    if (task is None) == (instance is None) or None not in (instance, subtask):
        raise click.UsageError("give TASK, if you like with --subtask, or --instance")
    if as_json and follow:
        raise click.UsageError("give either --follow or --json")
    records = opened_records(ctx)
    if task is not None and subtask is not None:
        _require_subtask(records, task, subtask)
    if item:
        records.find_item(item, *_tasks_of(records, task, instance))
    wanted = (
        one
        for one in _entries(records, task, instance, follow=follow)
        if (one.traceback or not errors)
        and subtask in (None, one.number)
        and (not item or item in one.items)
    )
    if as_json:
        show_value(list(wanted))
        return
    is_empty = True
    for one in wanted:
        is_empty = False
        items = f" ({shown_items(one.items)})" if one.items else ""
        click.secho(f"── task {one.task}, subtask {one.number}{items}", bold=True)
        if one.log:
            click.echo(harmless(one.log.rstrip()))
        if one.traceback:
            click.secho(harmless(one.traceback.rstrip()), fg="red")
    for earlier in _earlier(records, task, instance) if errors and not follow else ():
        if subtask in (None, earlier.number) and (not item or item in earlier.items):
            is_empty = False
            items = f" ({shown_items(earlier.items)})" if earlier.items else ""
            click.secho(
                f"── task {earlier.task}, subtask {earlier.number}{items}, in the "
                f"earlier attempt {earlier.attempt}",
                bold=True,
            )
            said = f"{earlier.log}{earlier.traceback}".rstrip() or earlier.message
            click.echo(harmless(said))
    if is_empty:
        chosen = f"item {item!r}" if item else ""
        chosen = f"subtask {subtask}" if subtask is not None else chosen
        click.echo(_why_empty(records, task, instance, chosen, errors=errors))


def _show_worker(
    records: Records, worker: str, task: int | None, subtask: int | None, item: str
) -> None:
    """Print the logs of a worker, or of those that ran a task."""
    from ziggy_dask.interface.outside import harmless

    if (worker == _ITS) == (task is None):
        raise click.UsageError("give either the name of a worker, or TASK")
    names = [worker]
    if task is not None:
        if item:
            ((_, subtask),) = records.find_item(item, task)
        if subtask is not None:
            _require_subtask(records, task, subtask)
        ran = [
            one
            for one in records.subtask_records(task)
            if subtask in (None, one.number)
        ]
        names = sorted({f"{one.host}:{one.worker}" for one in ran})
        if not ran:
            click.echo(f"no such subtask of task {task} has ended yet")
    for name in names:
        for path in records.worker_logs(name):
            click.secho(f"── worker {name}: {path}", bold=True)
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    click.echo(harmless(line.rstrip("\n")))


def _require_subtask(records: Records, task: int, subtask: int) -> None:
    from ziggy_dask.errors import RecordsError

    total = records.task_record(task).total
    if not 0 <= subtask < total:
        raise RecordsError(
            f"task {task} has no subtask {subtask}; it has {total}, numbered from 0"
        )


def _tasks_of(records: Records, task: int | None, instance: int | None) -> list[int]:
    """Return the numbers of the tasks that are meant."""
    if task is not None:
        return [records.task_record(task).id]
    number = records.instance_record(instance).id
    return [one.id for one in records.task_lines(number)]


def _entries(
    records: Records, task: int | None, instance: int | None, *, follow: bool
) -> Iterable[SubtaskLog]:
    """Return the logs of a task, or of an instance; there must be one."""
    if task is not None:
        records.task_record(task)
        return records.followed_logs(task) if follow else records.logs(task)
    number = records.instance_record(instance).id
    if follow:
        return records.followed_instance_logs(number)
    return records.instance_logs(number)


def _earlier(
    records: Records, task: int | None, instance: int | None
) -> list[EarlierSubtask]:
    """Return the failures of earlier attempts of a task, or of an instance."""
    numbers = [task] if task is not None else []
    if instance is not None:
        numbers = list(records.earlier_failures(instance))
    return [
        one
        for number in numbers
        for one in records.earlier_subtasks(number)
        if one.cause.value
    ]


def _why_empty(
    records: Records,
    task: int | None,
    instance: int | None,
    chosen: str,
    *,
    errors: bool,
) -> str:
    """Say why there is nothing to show of a task, of an instance, or of what is chosen."""
    if task is not None:
        what, record = f"task {task}", records.task_record(task)
        message, state = record.message, record.state
    else:
        what, whole = f"instance {instance}", records.instance_record(instance)
        message, state = whole.message, whole.state.value
    if chosen:
        return f"{chosen} of {what} {'did not fail' if errors else 'printed nothing'}"
    empty = f"no subtask of {what} failed" if errors else f"{what} printed nothing"
    return message or f"{empty} ({state})"


def instance_rows(records: Sequence[InstanceRecord]) -> list[dict[str, Any]]:
    """Return the rows of the table of instances."""
    return [
        {
            "id": one.id,
            "name": one.name,
            "pipeline": f"{one.pipeline} v{one.version}",
            "state": one.state.value,
            "created": one.created,
            "seconds": one.seconds or None,
            "elapsed": _between(one.created, one.finished),
            "message": one.message,
        }
        for one in records
    ]


def task_rows(records: Sequence[TaskLine | TaskRecord]) -> list[dict[str, Any]]:
    """Return the rows of the table of tasks."""
    return [
        {
            "id": one.id,
            "node": one.node,
            "unit": one.unit,
            "state": one.state,
            "subtasks": subtask_counts(one.complete, one.total, one.failed),
            "seconds": one.seconds or None,
            "elapsed": _between(one.started, one.finished),
            "worker": one.worker,
            "message": one.message,
        }
        for one in records
    ]


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Return all the time from a start to an end, in seconds, standing still included."""
    return (end - start).total_seconds() if start and end else None


def subtask_counts(complete: int, total: int, failed: int) -> str:
    """Return counts as people read them.

    Examples
    --------
    >>> subtask_counts(3, 4, 1)
    '3/4 (1)'
    """
    return f"{complete}/{total}" + (f" ({failed})" if failed else "")


def show_ended(ended: Sequence[Instance], *, as_json: bool) -> int:
    """Show how instances ended; return 0 if all are complete, else 1."""
    from ziggy_dask.interface.output import show

    records = [one.record for one in ended]
    if records or as_json:
        show(instance_rows(records), as_json=as_json, empty="")
    remarks = [text for one in ended for text in one.remarks]
    for text in remarks[:_MOST_REMARKS] if not as_json else ():
        click.secho(f"warning: {text}", fg="yellow", err=True)
    if (others := len(remarks) - _MOST_REMARKS) > 0 and not as_json:
        click.secho(f"and {others} more warnings; see: ziggy alerts", err=True)
    if all(one.state.value == "COMPLETED" for one in records):
        return 0
    failed = [task for one in ended for task in one.tasks if task.record.is_error]
    if not as_json:
        more = f"; see: ziggy failures {failed[0].record.instance}" if failed else ""
        click.secho(f"failed tasks: {len(failed)}{more}", fg="red", err=True)
    return 1
