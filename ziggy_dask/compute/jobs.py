"""Jobs of batch systems: submitting, asking, cancelling.

One query tells of all jobs of a run. What it prints is read by the pure functions of `batch`;
what can't be an answer is not taken for one.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ziggy_dask.compute.batch import Command, Commands, Told, commands_of, filled
from ziggy_dask.compute.batch.command import NAME
from ziggy_dask.compute.batch.replies import Meaning, Reply, read_reply
from ziggy_dask.definitions import BatchSystem

if TYPE_CHECKING:
    from dask_jobqueue.core import Job

PATIENCE_S = 60.0
"""Time limit of a submission, in seconds."""
_QUERY_S = 30.0
"""Time limit of the other commands, in seconds."""
_MAY_EXIST = re.compile(
    r"time-?d? ?out|no answer|receive failure|failed receiving|zero bytes|unexpected mes|"
    r"premature end|end of file|protocol error|connection (reset|closed)|broken pipe|"
    r"failed to commit|names no job|killed by|said nothing",
    re.IGNORECASE,
)
"""After such a reply a job may have been made all the same."""
_Said = subprocess.CompletedProcess[str]
_UNREADABLE = (
    *(ValueError, TypeError, AttributeError, SyntaxError),
    *(LookupError, ArithmeticError, RecursionError),
)
"""What readers raise for what is not an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """A command that failed, or printed what can't be an answer."""

    words: str
    """What it said, as one line."""


def submit(job: Job, batch: BatchSystem) -> str | Reply:
    """Hand a job to its batch system; return the id that it got, or the refusal.

    The number counts, whatever the exit code, if a line says it as the batch system does;
    numbers in other lines, as of a notice of the site, are none of a job.
    """
    commands = commands_of(batch)
    words = shlex.split(job.submit_command)
    try:
        with job.job_file() as script, Path(script).open("rb") as text:
            is_piped = getattr(job, "use_stdin", False)
            done = _run(words if is_piped else [*words, script], PATIENCE_S, stdin=text)
    except subprocess.TimeoutExpired:
        reply = read_reply(batch, "")
        return replace(reply, words=f"no answer in {PATIENCE_S:.0f} s")
    except OSError as error:
        return read_reply(batch, str(error))
    if number := commands.taken(done.stdout):
        return number
    said = done.stderr.strip() or done.stdout.strip()
    if done.returncode == 0:
        said = f"{words[0]} printed {said[-300:]!r}, which names no job"
        reply = read_reply(batch, said)
        passes = reply.meaning is Meaning.PASSING
        return reply if passes else Reply(meaning=Meaning.UNKNOWN, words=said)
    if done.returncode < 0 and not said:
        said = f"{words[0]} was killed by signal {-done.returncode}"
    elif not said:
        said = f"{words[0]} ended with exit code {done.returncode} and said nothing"
    return read_reply(batch, said)


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
    if not said.stdout.strip():
        is_told = bool(command.nothing) and command.nothing in said.stderr
        if ids and not is_told and not command.may_be_blank:
            return NoAnswer(words=f"{command.words[0]} printed nothing")
        return {}
    try:
        return command.read(said.stdout)
    except _UNREADABLE as error:
        return _unread(command.words[0], said.stdout, str(error))


def _unread(program: str, printed: str, why: str) -> NoAnswer:
    first = printed.strip().partition("\n")[0][:120]
    return NoAnswer(words=f"{program} printed {first!r}, which can't be read: {why}")


def find(commands: Commands, name: str) -> str | NoAnswer:
    """Return the id of the job with a name; empty if there is none.

    Only for batch systems whose query does not list all jobs.
    """
    words = tuple(name if word == NAME else word for word in commands.find)
    said = _call(words)
    if isinstance(said, NoAnswer):
        return said
    numbers = [commands.taken(line) for line in said.stdout.splitlines()]
    if not all(numbers):
        return _unread(words[0], said.stdout, "it is not the number of a job")
    return numbers[-1] if numbers else ""


def cancel(commands: Commands, ids: Sequence[str]) -> str:
    """Tell jobs to end; return what went wrong, or nothing.

    Whether they have ended only a later query tells.
    """
    if not ids:
        return ""
    said = _call((*commands.cancel, *ids))
    return said.words if isinstance(said, NoAnswer) else ""


def _call(command: Sequence[str], nothing: str = "") -> _Said | NoAnswer:
    try:
        done = _run(command, _QUERY_S)
    except subprocess.TimeoutExpired:
        return NoAnswer(words=f"{command[0]} did not answer in {_QUERY_S:.0f} s")
    except OSError as error:
        return NoAnswer(words=f"{command[0]} can't be run: {error}")
    if done.returncode == 0 or (nothing and nothing in done.stderr):
        return done
    said = " ".join(done.stderr.split())[-500:] or "nothing"
    return NoAnswer(
        words=f"{command[0]} ended with exit code {done.returncode} and said: {said}"
    )


def _run(
    command: Sequence[str], patience_s: float, stdin: IO[bytes] | None = None
) -> _Said:
    """Run a command in a session of its own, where no Ctrl-C reaches it.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes too long; it is ended then, with all that it started.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed, complained = process.communicate(timeout=patience_s)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, printed, complained)
