"""SLURM: squeue, scancel and sacct."""

from __future__ import annotations

import os

from ziggy_dask.compute.batch.command import IDS, Command, Commands, Told
from ziggy_dask.compute.batch.times import from_iso
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
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

_CAUSES = {
    "TIMEOUT": JobCause.TIME_LIMIT,
    "DEADLINE": JobCause.TIME_LIMIT,
    "CANCELLED": JobCause.CANCELLED,
    "PREEMPTED": JobCause.CANCELLED,
    "REVOKED": JobCause.CANCELLED,
    "NODE_FAIL": JobCause.NODE_FAILED,
    "BOOT_FAIL": JobCause.NODE_FAILED,
    "OUT_OF_MEMORY": JobCause.OUT_OF_MEMORY,
}


def read_squeue(text: str) -> Told:
    r"""Return what ``squeue`` printed, one line per job.

    Its format is ``JobArrayID|State|exit_code|StartTime|EndTime|``.

    Examples
    --------
    >>> read_squeue("8|TIMEOUT|15|2026-11-25T14:43:42|2026-11-25T14:44:10|\n")["8"].cause
    <JobCause.TIME_LIMIT: 'time limit'>
    """
    found = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) < 5:
            continue
        number, word, code, started, ended = fields[:5]
        found[number] = _status(word, code, started, ended)
    return found


def read_sacct(text: str) -> Told:
    r"""Return what ``sacct --parsable2`` printed: fields as in `read_squeue`.

    Examples
    --------
    >>> read_sacct("8|CANCELLED by 1000|0:15|2026-11-25T14:43:42|Unknown\n")["8"].exit_code
    143
    """
    return read_squeue(text)


def _status(word: str, code: str, started: str, ended: str) -> JobStatus:
    first = word.partition(" ")[0].rstrip("+")
    state = _STATES.get(first, JobState.FAILED)
    has_begun = state is not JobState.QUEUED
    return JobStatus(
        state=state,
        comment=word,
        cause=_CAUSES.get(first, JobCause.NONE),
        exit_code=_code(code) if state.is_final else None,
        started=from_iso(started) if has_begun else None,
        ended=from_iso(ended) if state.is_final else None,
    )


def _code(text: str) -> int | None:
    """Read ``code:signal`` of sacct, or the wait status that squeue prints."""
    code, colon, sent = text.partition(":")
    if not code.isdigit():
        return None
    if colon:
        return 128 + int(sent) if sent not in ("", "0") else int(code)
    status = os.waitstatus_to_exitcode(int(code))
    return 128 - status if status < 0 else status


_FIELDS = ("JobArrayID", "State", "exit_code", "StartTime", "EndTime")


SLURM = Commands(
    query=Command(
        words=(
            *("squeue", "--noheader", "--me", "--states=all"),
            "--Format=" + ",".join(f"{one}:|" for one in _FIELDS),
        ),
        read=read_squeue,
    ),
    cancel=("scancel", "--quiet"),
    history=Command(
        words=(
            *("sacct", "--noheader", "--parsable2", "--allocations"),
            *("--format=JobID,State,ExitCode,Start,End", "--jobs", IDS),
        ),
        read=read_sacct,
    ),
)
"""How SLURM is spoken to."""
