"""``ziggy reproduce``: run tasks again as they were, and compare."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import json_option, opened_cluster


@click.command()
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@click.option("--task", type=int, help="Only this task.", shell_complete=complete.TASK)
@click.option("--product", help="Only tasks that make this product.")
@click.option(
    "--dry-run", is_flag=True, help="Only say what can't be as it was; run nothing."
)
@json_option
@click.pass_context
def reproduce(
    ctx: click.Context,
    instance: int,
    task: int | None,
    product: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run the tasks of INSTANCE again as they were, here, and compare what comes out.

    Nothing is stored. What comes out differently is run twice, to tell whether it is
    deterministic at all.
    """
    from ziggy_dask.engine.reproduce import Verdict
    from ziggy_dask.interface.output import difference_rows, show, show_value

    cluster = opened_cluster(ctx)
    path = product.strip("/") if product else None
    if not as_json:
        lacking: dict[str, list[str]] = {}
        for one in cluster.reproduce(instance, task=task, path=path, dry_run=True):
            for text in one.lacking:
                lacking.setdefault(text, []).append(str(one.task))
        for text, tasks in lacking.items():
            more = f" and {len(tasks) - 3} more" if len(tasks) > 3 else ""
            click.echo(f"not as it was: {text} (task {', '.join(tasks[:3])}{more})")
    found = []
    for one in cluster.reproduce(instance, task=task, path=path, dry_run=dry_run):
        found.append(one)
        if as_json:
            continue
        click.echo(f"task {one.task}, {one.node} {one.unit}: {one.verdict.value}")
        if one.verdict is Verdict.FAILED:
            click.echo(f"    {one.lacking[-1]}")
        rows = difference_rows(one.differences)
        if rows:
            show(rows, as_json=False, empty="")
    if as_json:
        show_value(found)
    if not dry_run and not all(one.verdict.is_good for one in found):
        ctx.exit(1)
