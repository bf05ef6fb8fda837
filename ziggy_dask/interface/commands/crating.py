"""``ziggy export-crate``: an instance as an RO-Crate."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import opened_cluster


@click.command("export-crate")
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@click.argument(
    "directory", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option("--data", is_flag=True, help="With the products.")
@click.option("--license", "license_", default="", help="URL or words of the license.")
@click.pass_context
def export_crate(
    ctx: click.Context,
    instance: int,
    directory: Path | None,
    data: bool,
    license_: str,
) -> None:
    """Write what INSTANCE read, ran and made into DIRECTORY, as an RO-Crate.

    By default the directory is crate-INSTANCE.
    """
    place = opened_cluster(ctx).export_crate(
        instance, directory or f"crate-{instance}", data=data, license=license_
    )
    click.echo(f"{place} is an RO-Crate of instance {instance}")
