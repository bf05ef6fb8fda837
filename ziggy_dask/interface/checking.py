"""Cluster files without opening or starting anything: checks, and other formats."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ziggy_dask.compute import open_client
from ziggy_dask.compute.batch import commands_of
from ziggy_dask.compute.hosted import check_call
from ziggy_dask.compute.jobs import NoAnswer, ask, find
from ziggy_dask.compute.script import check_jobs, example_of, job_script
from ziggy_dask.definitions import (
    AddressCompute,
    LocalCompute,
    check_environment,
    environments_to_yaml,
    read_cluster,
)
from ziggy_dask.definitions.compute import kind_of
from ziggy_dask.definitions.ziggy_xml import (
    environments_from_ziggy,
    library_from_environments,
    read_ziggy_xml,
    ziggy_xml,
)
from ziggy_dask.errors import ClusterError, DefinitionError, Fault


def check_cluster(file: str | os.PathLike[str]) -> dict[tuple[str, str], str]:
    """Check a cluster file, and return the job scripts that it leads to.

    Returns
    -------
    dict
        Job scripts by environment and architecture, each for the automatic queue with
        the lowest limit. Address of the scheduler and names are those of an example.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with file, line and fix.
    """
    cluster = read_cluster(Path(file), check_jobs)
    if not isinstance(cluster.compute, LocalCompute | AddressCompute):
        fault = check_call(cluster.compute)
        if fault:
            raise DefinitionError([Fault(message=fault, file=str(file))])
    return {
        (environment.name, architecture.name): job_script(
            example_of(environment, architecture)
        )
        for environment in cluster.environments
        for architecture in environment.architectures
    }


_WORKER_S = 10.0
"""So long a check waits for the first worker, in seconds."""


def connect_cluster(file: str | os.PathLike[str]) -> Iterator[str]:
    """Reach the compute environment of a cluster file, and ask its batch systems.

    What has to be started for that is ended again; no job is submitted.

    Yields
    ------
    str
        What is found, one line for each.

    Raises
    ------
    ClusterError
        If something can't be reached or does not fit.
    """
    cluster = read_cluster(Path(file), check_jobs)

    def waiting(waited_s: float) -> None:
        if waited_s > _WORKER_S:
            raise ClusterError(
                f"'compute: {kind_of(cluster.compute)}' answers, but has no worker after "
                f"{waited_s:.0f} s; start one"
            )

    with (
        TemporaryDirectory(prefix="ziggy-check-") as scratch,
        open_client(
            cluster.compute, Path(scratch), cluster.environments, waiting
        ) as client,
    ):
        count = len(client.scheduler_info(n_workers=-1)["workers"])
        yield f"compute: {kind_of(cluster.compute)} has {count} workers"
    for environment in cluster.environments:
        commands = commands_of(environment.batch)
        said: object = ask(commands.query, []) if commands.query.is_complete else ""
        if commands.find:
            said = find(commands, "ziggy-check")
        if isinstance(said, NoAnswer):
            raise ClusterError(f"environment {environment.name!r}: {said.words}")
        yield f"environment {environment.name}: {environment.batch.value} answers"


def environments_of_ziggy(*files: str | os.PathLike[str]) -> str:
    """Return what a cluster file says for the remote environments of Ziggy's XML files.

    Raises
    ------
    DefinitionError
        With everything that is wrong with them.
    """
    found = environments_from_ziggy(read_ziggy_xml([Path(one) for one in files]))
    faults = [
        Fault(message=f"environment {one.name!r}: {problem.message}")
        for one in found
        for problem in (*check_environment(one), *check_jobs(one))
    ]
    if faults:
        raise DefinitionError(faults)
    if not found:
        raise DefinitionError(
            "no remote environment with a batch system is defined there"
        )
    return environments_to_yaml(found)


def environments_for_ziggy(file: str | os.PathLike[str]) -> str:
    """Return the environments of a cluster file as Ziggy's XML.

    Raises
    ------
    DefinitionError
        With everything in them that XML can't say.
    """
    return ziggy_xml(library_from_environments(read_cluster(Path(file)).environments))
