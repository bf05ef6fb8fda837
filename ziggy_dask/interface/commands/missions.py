"""``ziggy init``: a first mission that works."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click


@click.command()
@click.argument(
    "directory", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option("--name", help="Name of the pipeline. Default: that of DIRECTORY.")
@click.option("--data", help="What your files are: images, tables, netcdf or fits.")
@click.option(
    "--unit", help="What a group of files is called that belong together, e.g. night."
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take the defaults.")
def init(
    directory: Path | None,
    name: str | None,
    data: str | None,
    unit: str | None,
    yes: bool,
) -> None:
    """Start a mission in DIRECTORY, with a pipeline that works.

    It makes simulated data, algorithms, a pipeline, a cluster file, a test and a
    README; creates the cluster, registers the pipeline and takes the data in. It asks
    for what is not given: the directory, what your files are, and what a group of
    them is called.
    """
    from ziggy_dask.interface.mission import (
        KINDS,
        create_mission,
        mission_name,
        require_empty,
    )

    asks = not yes and sys.stdin.isatty()
    if directory is None:
        directory = Path(_answer("Directory", "mission", asks=asks))
    require_empty(directory)
    if data is None:
        question = f"Your files are ({', '.join(KINDS)})"
        data = _answer(question, next(iter(KINDS)), asks=asks)
    if unit is None:
        unit = _answer("A group of files that belong together is a", "night", asks=asks)
    chosen = name or mission_name(directory)
    create_mission(directory, name=chosen, data=data, unit=unit)
    click.echo(
        f"mission {chosen!r} in {directory}: simulated {KINDS[data].files} by {unit}; "
        "it works; see its README.md"
    )
    click.echo("Go on with:")
    if directory.resolve() != Path.cwd():
        click.echo(f"  cd {shlex.quote(str(directory))}")
    click.echo(f"  ziggy run {shlex.quote(chosen)}")
    click.echo("  python -m pytest")


def _answer(question: str, default: str, *, asks: bool) -> str:
    answer = click.prompt(question, default=default, err=True) if asks else default
    return str(answer)
