"""Checking a cluster file without opening or starting anything."""

from __future__ import annotations

import os
from pathlib import Path

from ziggy_dask.compute.script import check_jobs, example_of, job_script
from ziggy_dask.definitions import read_cluster


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
        With everything that is wrong, each with file, line and mend.
    """
    cluster = read_cluster(Path(file), check_jobs)
    return {
        (environment.name, architecture.name): job_script(
            example_of(environment, architecture)
        )
        for environment in cluster.environments
        for architecture in environment.architectures
    }
