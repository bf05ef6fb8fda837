"""Jobs of batch systems: submitting, asking, cancelling.

One query tells of all jobs of a run. What it prints is read by the pure functions of `answers`.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ziggy_dask.compute import answers
from ziggy_dask.compute.answers import Told
from ziggy_dask.definitions import BatchSystem
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from dask_jobqueue.core import Job

logger = logging.getLogger(__name__)
_PATIENCE_S = 60
_ID = "{id}"
"""Stands for all ids of jobs, each an argument of its own."""
_IDS = "{ids}"
"""Stands for them with commas between, as one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that prints something of jobs."""

    words: tuple[str, ...]
    """The command and its arguments, with places to fill in."""
    read: Callable[[str], Told]
    """Reads what it prints."""
    nothing: str = ""
    """What it complains of when it knows none of the jobs, or not all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a batch system is spoken to."""

    query: Command
    """Prints all jobs that have not ended, and those that have if it can."""
    cancel: tuple[str, ...]
    """Cancels the jobs that are named after it."""
    history: Command | None = None
    """Prints how jobs ended; None: the query does."""


_SLURM_FIELDS = ("JobArrayID", "State", "exit_code", "StartTime", "EndTime")
_CONDOR_FIELDS = (
    "ClusterId,ProcId,JobStatus,ExitCode,ExitBySignal,ExitSignal,HoldReason,"
    "HoldReasonCode,RemoveReason,JobCurrentStartDate,CompletionDate,EnteredCurrentStatus"
)

COMMANDS: Mapping[BatchSystem, Commands] = {
    BatchSystem.SLURM: Commands(
        query=Command(
            words=(
                *("squeue", "--noheader", "--me", "--states=all"),
                "--Format=" + ",".join(f"{one}:|" for one in _SLURM_FIELDS),
            ),
            read=answers.read_squeue,
        ),
        cancel=("scancel", "--quiet"),
        history=Command(
            words=(
                *("sacct", "--noheader", "--parsable2", "--allocations"),
                *("--format=JobID,State,ExitCode,Start,End", "--jobs", _IDS),
            ),
            read=answers.read_sacct,
        ),
    ),
    BatchSystem.PBS: Commands(
        query=Command(
            words=("qstat", "-x", "-f", "-F", "json", _ID),
            read=answers.read_qstat_pbs,
            nothing="Unknown Job Id",
        ),
        cancel=("qdel",),
    ),
    BatchSystem.SGE: Commands(
        query=Command(words=("qstat", "-xml"), read=answers.read_qstat_sge),
        cancel=("qdel",),
        history=Command(
            words=("qacct", "-E", "-d", "1", "-j", "ziggy-*"),
            read=answers.read_qacct,
            nothing="not found",
        ),
    ),
    BatchSystem.LSF: Commands(
        query=Command(
            words=(
                *("bjobs", "-a", "-json", "-o"),
                "jobid stat exit_code exit_reason",
            ),
            read=answers.read_bjobs,
            nothing="job found",
        ),
        cancel=("bkill",),
    ),
    BatchSystem.HTCONDOR: Commands(
        query=Command(
            words=("condor_q", "-json", "-attributes", _CONDOR_FIELDS),
            read=answers.read_condor,
        ),
        cancel=("condor_rm",),
        history=Command(
            words=("condor_history", "-json", "-attributes", _CONDOR_FIELDS, _ID),
            read=answers.read_condor,
        ),
    ),
}


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


def ask(command: Command, ids: Sequence[str]) -> Told | None:
    """Return what a batch system says of jobs; None: it does not answer now."""
    said = _call(filled(command.words, ids), command.nothing)
    try:
        return None if said is None else command.read(said)
    except (KeyError, ValueError, SyntaxError) as error:
        logger.warning("what %s printed can't be read: %r", command.words[0], error)
        return None


def cancel(commands: Commands, ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended already do no harm."""
    if ids:
        _call((*commands.cancel, *ids))


def filled(words: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return a command with ids filled in.

    Examples
    --------
    >>> filled(("qstat", "-x", "{id}"), ("7", "8"))
    ('qstat', '-x', '7', '8')
    >>> filled(("sacct", "--jobs", "{ids}"), ("7", "8"))
    ('sacct', '--jobs', '7,8')
    """
    places = {_ID: tuple(ids), _IDS: (",".join(ids),)}
    return tuple(word for each in words for word in places.get(each, (each,)))


def _call(command: Sequence[str], nothing: str = "") -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    knows_less = bool(nothing) and nothing in done.stderr
    return done.stdout if done.returncode == 0 or knows_less else None
