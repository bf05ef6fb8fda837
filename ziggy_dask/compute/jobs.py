"""Jobs of batch systems: submitting, asking, cancelling.

One query tells of all jobs of a run. What it prints is read by the pure functions of `batch`.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ziggy_dask.compute.batch import Command, Commands, Told, filled
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from dask_jobqueue.core import Job

logger = logging.getLogger(__name__)
_PATIENCE_S = 60


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


def _call(command: Sequence[str], nothing: str = "") -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    knows_less = bool(nothing) and nothing in done.stderr
    return done.stdout if done.returncode == 0 or knows_less else None
