"""Which cluster a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ziggy_dask.errors import DefinitionError

if TYPE_CHECKING:
    from ziggy_dask.interface.cluster import Cluster

POINTER = Path(".ziggy") / "cluster"
"""File that remembers, in a directory, the cluster that was initialised there."""


def opened_cluster(ctx: click.Context) -> Cluster:
    """Open the cluster that was asked for, or the one of this directory."""
    from ziggy_dask.interface.cluster import open_cluster

    return open_cluster(cluster_file(ctx))


def cluster_file(ctx: click.Context) -> Path:
    """Return the cluster file: the option's, or that of the nearest directory above."""
    given = ctx.find_root().obj
    if given is not None:
        return Path(given)
    for directory in (Path.cwd(), *Path.cwd().parents):
        pointer = directory / POINTER
        if pointer.is_file():
            return Path(pointer.read_text(encoding="utf-8").strip())
    raise DefinitionError(
        "no cluster is known here; begin with: ziggy cluster init FILE, or give --cluster"
    )


def remember(file: Path) -> None:
    """Make a cluster the one of this directory and those below."""
    POINTER.parent.mkdir(exist_ok=True)
    POINTER.write_text(f"{file.resolve()}\n", encoding="utf-8")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
