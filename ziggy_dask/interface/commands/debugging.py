"""``ziggy debug``: a subtask once more, here, in the debugger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import opened_cluster

if TYPE_CHECKING:
    from ziggy_dask.supervisor import OpenedSubtask


@click.command()
@click.argument("task", type=int, shell_complete=complete.TASK)
@click.option("--subtask", type=int, help="Default: the first one that failed.")
@click.option("--item", default="", help="The subtask of this item.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="For a program: directory to make, with all that it was given.",
)
@click.pass_context
def debug(
    ctx: click.Context,
    task: int,
    subtask: int | None,
    item: str,
    directory: Path | None,
) -> None:
    """Run a subtask of TASK again on this machine, and stop where it fails.

    It gets the very inputs, parameters and models that it had; nothing is stored. No
    compute environment is needed.
    """
    if item and subtask is not None:
        raise click.UsageError("give either --subtask or --item")
    found = opened_cluster(ctx).task(task)
    if item:
        subtask = found.subtask_of(item)
    if subtask is None:
        failed = [one.record.number for one in found.subtasks if one.record.cause.value]
        subtask = failed[0] if failed else 0
    opened = found.open(subtask)
    click.echo(repr(opened))
    if opened.is_program:
        _show_program(opened, directory or Path(f"debug-{task}-{subtask}"))
    else:
        _run(opened)


def _show_program(opened: OpenedSubtask, directory: Path) -> None:
    import shlex

    command = opened.prepare(directory.resolve())
    click.echo(f"{directory} has all that it was given. Run it with:")
    click.echo(f"  cd {shlex.quote(str(directory))} && {shlex.join(command)}")


def _run(opened: OpenedSubtask) -> None:
    import pdb
    import traceback

    try:
        returned = opened.run()
    except BaseException:  # noqa: BLE001 -- algorithms raise anything; it is shown
        traceback.print_exc()
        pdb.post_mortem()
        return
    click.echo(f"it did not fail; it returned:\n{returned!r}")
