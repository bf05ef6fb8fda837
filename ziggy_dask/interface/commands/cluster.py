"""``ziggy cluster``: create, check and look at a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.interface.commands.here import cluster_file, remember


@click.group()
def cluster() -> None:
    """Create, check and look at a cluster."""


@cluster.command()
@click.argument("file", type=click.Path(path_type=Path))
def init(file: Path) -> None:
    """Create datastore and database of the cluster in FILE; what is there stays.

    Commands in this directory use this cluster from now on.
    """
    from ziggy_dask.interface.cluster import create_cluster

    made = create_cluster(file)
    remember(file)
    click.echo(repr(made))


@cluster.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a cluster file; nothing is opened or created."""
    from ziggy_dask.definitions import read_cluster

    found = read_cluster(file)
    click.echo(f"{file}: cluster {found.name!r} is sound")


@cluster.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show where things are, and who is in charge."""
    from ziggy_dask.definitions import read_cluster
    from ziggy_dask.interface.cluster import Cluster
    from ziggy_dask.records.lease import current_lease
    from ziggy_dask.supervisor import open_site

    site = open_site(read_cluster(cluster_file(ctx)))
    click.echo(repr(Cluster(site)))
    holder = current_lease(site.database)
    click.echo(
        "    supervisor "
        + (
            f"process {holder.pid} on {holder.host} since {holder.since:%Y-%m-%d %H:%M} UTC"
            if holder
            else "none"
        )
    )
