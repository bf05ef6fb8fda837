"""Batch systems: the commands by which each is spoken to, and readers of what they print."""

from __future__ import annotations

from collections.abc import Mapping

from ziggy_dask.compute.batch.command import Command, Commands, Told, filled
from ziggy_dask.compute.batch.condor import HTCONDOR
from ziggy_dask.compute.batch.lsf import LSF
from ziggy_dask.compute.batch.pbs import PBS
from ziggy_dask.compute.batch.sge import SGE
from ziggy_dask.compute.batch.slurm import SLURM
from ziggy_dask.definitions import BatchSystem
from ziggy_dask.errors import ClusterError

__all__ = ["COMMANDS", "Command", "Commands", "Told", "commands_of", "filled"]

COMMANDS: Mapping[BatchSystem, Commands] = {
    BatchSystem.SLURM: SLURM,
    BatchSystem.PBS: PBS,
    BatchSystem.SGE: SGE,
    BatchSystem.LSF: LSF,
    BatchSystem.HTCONDOR: HTCONDOR,
}
"""Batch systems whose jobs can be run."""


def commands_of(batch: BatchSystem) -> Commands:
    """Return how a batch system is spoken to.

    Raises
    ------
    ClusterError
        If this version can't.
    """
    if batch not in COMMANDS:
        known = ", ".join(one.value for one in COMMANDS)
        raise ClusterError(
            f"jobs of {batch.value} can't be run by this version, only estimated and "
            f"written; it runs those of {known}"
        )
    return COMMANDS[batch]
