"""``ziggy cluster``: create, check and look at a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.errors import LeaseError
from ziggy_dask.interface.commands.context import Commands, cluster_file, remember


@click.group(cls=Commands)
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
@click.option("--quiet", "-q", is_flag=True, help="Print no job scripts.")
@click.option(
    "--connect",
    is_flag=True,
    help="Also reach the compute environment, and ask each batch system.",
)
def check(file: Path, quiet: bool, connect: bool) -> None:
    """Check a cluster file; nothing is opened or created.

    Prints the job script that each architecture of each batch system would get.
    """
    from ziggy_dask.interface.checking import check_cluster, connect_cluster

    scripts = check_cluster(file)
    for (environment, architecture), text in scripts.items():
        if not quiet:
            click.secho(f"--- {environment}, {architecture}", bold=True)
            click.echo(text.rstrip() + "\n")
    if connect:
        for line in connect_cluster(file):
            click.echo(line)
    click.echo(f"{file} is sound")


@cluster.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def environments(files: tuple[Path, ...]) -> None:
    """Convert environments between cluster files and XML of the original Ziggy.

    Of XML FILES, print what goes into a cluster file; of a cluster file, print XML.
    """
    from ziggy_dask.interface.checking import (
        environments_for_ziggy,
        environments_of_ziggy,
    )

    if all(file.suffix.lower() == ".xml" for file in files):
        click.echo(environments_of_ziggy(*files), nl=False)
    elif len(files) == 1:
        click.echo(environments_for_ziggy(files[0]), nl=False)
    else:
        raise click.UsageError("give XML files, or one cluster file")


@cluster.command()
@click.option(
    "--standby",
    is_flag=True,
    help="Wait for the end of another supervisor, and take over then.",
)
@click.pass_context
def start(ctx: click.Context, standby: bool) -> None:
    """Start the supervisor in the background.

    'ziggy run', 'restart' and 'halt' then leave the work to it, and only watch.
    """
    from ziggy_dask.interface.daemon import start_supervisor

    file = cluster_file(ctx)
    pid, log = start_supervisor(file, standby=standby)
    doing = "standing by" if standby else "in charge"
    click.echo(f"supervisor {doing}: process {pid}, log {log}")


@cluster.command()
@click.pass_context
def stop(ctx: click.Context) -> None:
    """Stop the supervisor in the background.

    What runs is left as it is on record; the next supervisor goes on with it.
    """
    from ziggy_dask.interface.cluster import open_cluster

    opened = open_cluster(cluster_file(ctx))
    holder = opened.supervisor
    if holder is None:
        click.echo("no supervisor runs")
    elif not holder.takes_requests:
        raise LeaseError(
            f"process {holder.pid} on {holder.host} is in charge, which was not started "
            "by 'ziggy cluster start'; end it there"
        )
    else:
        opened.end_supervisor()
        click.echo(f"supervisor stopped: process {holder.pid} on {holder.host}")


@cluster.command()
@click.option("--standby", is_flag=True, help="Wait for another one's end.")
@click.pass_context
def serve(ctx: click.Context, standby: bool) -> None:
    """Be the supervisor in the foreground, for systemd and the like."""
    from ziggy_dask.interface.cluster import open_cluster
    from ziggy_dask.interface.daemon import serve_until_told

    serve_until_told(open_cluster(cluster_file(ctx)), standby=standby)


@cluster.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show where things are, and who is in charge."""
    from ziggy_dask.interface.cluster import open_cluster

    opened = open_cluster(cluster_file(ctx))
    click.echo(repr(opened))
    holder = opened.supervisor
    click.echo(
        "    supervisor "
        + (
            f"process {holder.pid} on {holder.host} since {holder.since:%Y-%m-%d %H:%M} UTC"
            + (", takes requests" if holder.takes_requests else "")
            if holder
            else "none"
        )
    )
