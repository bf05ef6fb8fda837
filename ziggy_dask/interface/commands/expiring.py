"""``ziggy expire``: give up what no rule keeps."""

from __future__ import annotations

import click

from ziggy_dask.interface.commands.context import json_option, opened_cluster


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would expire.")
@json_option
@click.pass_context
def expire(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Give up the versions of products that no rule of the cluster file keeps."""
    from ziggy_dask.interface.output import show, show_value

    found = opened_cluster(ctx).expire(dry_run=dry_run)
    if as_json:
        show_value(found)
        return
    rows = [
        {"publication": one.number, "made": one.time, "snapshot": one.snapshot}
        for one in found.expired
    ]
    show(rows, as_json=False, empty="no publication expires")
    for kind, size in (found.bytes or {}).items():
        click.echo(f"{size / 1e6:.3f} MB of {kind}")
    if found.bytes is None:
        click.echo("what that frees is not known: the datastore is in an object store")
    if found.later:
        click.echo(
            f"{found.later / 1e6:.3f} MB more can go later: they were written after "
            f"{found.cutoff:%Y-%m-%d %H:%M} UTC, an hour before now or before the oldest "
            "work that has not ended"
        )
    kept = len(found.kept)
    if dry_run:
        click.echo(f"{kept} publications would stay; nothing was changed")
    elif found.freed is None:
        click.echo(
            f"{kept} publications stay; the supervisor did it, its log has figures"
        )
    else:
        click.echo(f"{kept} publications stay; {found.freed / 1e6:.3f} MB were freed")
