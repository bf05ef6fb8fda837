"""Jobs of batch systems: submitting, asking, cancelling.

One query tells of all jobs of a user. What it prints is read by pure functions.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ziggy_dask.definitions import BatchSystem, JobState
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from dask_jobqueue.core import Job

_PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What a batch system says of a job."""

    state: JobState
    """What it is doing."""
    comment: str
    """The batch system's own word for it."""


_SLURM_STATES = {
    "PENDING": JobState.QUEUED,
    "CONFIGURING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "SUSPENDED": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "COMPLETED": JobState.ENDED,
    "CANCELLED": JobState.CANCELLED,
}
"""Others are failures: https://slurm.schedmd.com/squeue.html, job state codes."""


def read_squeue(text: str) -> dict[str, JobStatus]:
    r"""Return what ``squeue --format %i|%T`` printed, by job id.

    Examples
    --------
    >>> read_squeue("7|RUNNING\n8|TIMEOUT\n")["8"].comment
    'TIMEOUT'
    """
    found = {}
    for line in text.splitlines():
        number, _, word = line.strip().partition("|")
        state = _SLURM_STATES.get(word, JobState.FAILED)
        if number and word:
            found[number] = JobStatus(state=state, comment=word)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a batch system is spoken to."""

    query: tuple[str, ...]
    """Command that prints all jobs of this user."""
    read: Callable[[str], dict[str, JobStatus]]
    """Reads what it prints."""
    cancel: tuple[str, ...]
    """Command that cancels the jobs that are named after it."""


COMMANDS: Mapping[BatchSystem, Commands] = {
    BatchSystem.SLURM: Commands(
        query=("squeue", "--noheader", "--me", "--states=all", "--format=%i|%T"),
        read=read_squeue,
        cancel=("scancel", "--quiet"),
    ),
}


def commands_of(batch: BatchSystem, environment: str) -> Commands:
    """Return how a batch system is spoken to.

    Raises
    ------
    ClusterError
        If this version can't.
    """
    if batch not in COMMANDS:
        known = ", ".join(one.value for one in COMMANDS)
        raise ClusterError(
            f"environment {environment!r}: jobs of {batch.value} can't be run by this "
            f"version, only estimated and written; it runs those of {known}"
        )
    return COMMANDS[batch]


def submit(job: Job) -> str:
    """Hand a job to its batch system; return the id that it got.

    Raises
    ------
    ClusterError
        If it is refused, with what the batch system said.
    """
    try:
        asyncio.run(asyncio.wait_for(job.start(), _PATIENCE_S))
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        said = str(error).partition("stderr:")[2] or str(error) or "no answer"
        raise ClusterError(" ".join(said.split())) from error
    return str(job.job_id)


def query(commands: Commands) -> dict[str, JobStatus] | None:
    """Return what the batch system says of the jobs of this user; None: nothing now."""
    said = _call(commands.query)
    return None if said is None else commands.read(said)


def cancel(commands: Commands, ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended already do no harm."""
    if ids:
        _call((*commands.cancel, *ids))


def _call(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
