"""Jobs of batch systems: submitting, asking, cancelling.

One query tells of all jobs of a run. What it prints is read by the pure functions of `batch`;
what can't be an answer is not taken for one.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ziggy_dask.compute.batch import Command, Commands, Told, filled
from ziggy_dask.compute.batch.command import NAME
from ziggy_dask.compute.batch.replies import Reply, read_reply
from ziggy_dask.definitions import BatchSystem

if TYPE_CHECKING:
    from dask_jobqueue.core import Job

PATIENCE_S = 60.0
"""Time limit of a submission, in seconds."""
_QUERY_S = 30.0
"""Time limit of the other commands, in seconds."""
_MAY_EXIST = re.compile(
    r"timed? ?out|no answer|receive failure|zero bytes|parse job id|cluster id", re.I
)
"""After such a reply a job may have been made all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """A command that failed, or printed what can't be an answer."""

    words: str
    """What it said, as one line."""


def submit(job: Job, batch: BatchSystem) -> str | Reply:
    """Hand a job to its batch system; return the id that it got, or the refusal."""
    try:
        asyncio.run(asyncio.wait_for(job.start(), PATIENCE_S))
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        said = str(error).partition("stderr:")[2] or str(error)
        reply = read_reply(batch, said)
        if isinstance(error, TimeoutError):
            reply = replace(reply, words=f"no answer in {PATIENCE_S:.0f} s")
        return reply
    return str(job.job_id)


def may_exist(reply: Reply) -> bool:
    """Tell whether a job may have been made although the command failed.

    Examples
    --------
    >>> may_exist(read_reply(BatchSystem.SLURM, "Socket timed out on send/recv"))
    True
    >>> may_exist(read_reply(BatchSystem.PBS, "qsub: Unknown queue"))
    False
    """
    return bool(_MAY_EXIST.search(reply.words))


def ask(command: Command, ids: Sequence[str]) -> Told | NoAnswer:
    """Return what a batch system says of jobs, if that can be an answer."""
    said = _call(filled(command.words, ids), command.nothing)
    if isinstance(said, NoAnswer):
        return said
    if command.nothing and not said.strip():
        return {}
    try:
        return command.read(said)
    except (KeyError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        first = said.strip().partition("\n")[0][:120]
        return NoAnswer(
            words=f"{command.words[0]} printed {first!r}, which can't be read: {error}"
        )


def find(commands: Commands, name: str) -> str | NoAnswer:
    """Return the id of the job with a name; empty if there is none.

    Only for batch systems whose query does not list all jobs.
    """
    words = tuple(name if word == NAME else word for word in commands.find)
    said = _call(words, "")
    if isinstance(said, NoAnswer):
        return said
    found = said.split()
    return commands.short_id(found[-1]) if found else ""


def cancel(commands: Commands, ids: Sequence[str]) -> str:
    """Tell jobs to end; return what went wrong, or nothing.

    Whether they have ended only a later query tells.
    """
    if not ids:
        return ""
    said = _call((*commands.cancel, *ids), "")
    return said.words if isinstance(said, NoAnswer) else ""


def _call(command: Sequence[str], nothing: str) -> str | NoAnswer:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_QUERY_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NoAnswer(words=f"{command[0]} did not answer in {_QUERY_S:.0f} s")
    except OSError as error:
        return NoAnswer(words=f"{command[0]} can't be run: {error}")
    if done.returncode == 0 or (nothing and nothing in done.stderr):
        return done.stdout
    said = " ".join(done.stderr.split())[-500:] or "nothing"
    return NoAnswer(
        words=f"{command[0]} ended with exit code {done.returncode} and said: {said}"
    )
