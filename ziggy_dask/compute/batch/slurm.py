"""SLURM: squeue, scancel and sacct."""

from __future__ import annotations

import os
import re

from ziggy_dask.compute.batch.command import IDS, Command, Commands, Told
from ziggy_dask.compute.batch.times import from_iso
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    **dict.fromkeys(
        (
            *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
            *("SPECIAL_EXIT", "RESV_DEL_HOLD", "POWER_UP_NODE"),
        ),
        JobState.QUEUED,
    ),
    **dict.fromkeys(
        (
            *("SUSPENDED", "STOPPED", "RUNNING", "RESIZING", "SIGNALING"),
            *("COMPLETING", "STAGE_OUT", "EXPEDITING"),
        ),
        JobState.RUNNING,
    ),
    "COMPLETED": JobState.ENDED,
    "CANCELLED": JobState.CANCELLED,
    **dict.fromkeys(
        (
            *("FAILED", "TIMEOUT", "DEADLINE", "PREEMPTED", "REVOKED", "NODE_FAIL"),
            *("BOOT_FAIL", "OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL"),
        ),
        JobState.FAILED,
    ),
}
"""Job state codes and flags: https://slurm.schedmd.com/squeue.html and job_state_string_."""

_CAUSES = {
    "TIMEOUT": JobCause.TIME_LIMIT,
    "DEADLINE": JobCause.TIME_LIMIT,
    "CANCELLED": JobCause.CANCELLED,
    "REVOKED": JobCause.CANCELLED,
    "PREEMPTED": JobCause.PREEMPTED,
    "SUSPENDED": JobCause.PREEMPTED,
    "STOPPED": JobCause.PREEMPTED,
    "NODE_FAIL": JobCause.NODE_FAILED,
    "BOOT_FAIL": JobCause.NODE_FAILED,
    "LAUNCH_FAILED": JobCause.NODE_FAILED,
    "OUT_OF_MEMORY": JobCause.OUT_OF_MEMORY,
}

_NUMBER = re.compile(r"\d+([_+]\S*)?")
_CODE = re.compile(r"\d+(:\d+)?|")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|N/A|NONE|None|Unknown|")
_UNTOLD = ("", "None", "N/A", "(null)")


def read_squeue(text: str) -> Told:
    r"""Return what ``squeue`` printed, one line per job.

    Its format is ``JobArrayID|State|exit_code|StartTime|EndTime|Reason|Name|``; a wrapper
    of a site may print the first five only.

    Raises
    ------
    ValueError
        If a line can't be one of squeue, or the last one is cut off.

    Examples
    --------
    >>> read_squeue("8|TIMEOUT|15|2026-11-25T14:43:42|2026-11-25T14:44:10|\n")["8"].cause
    <JobCause.TIME_LIMIT: 'time limit'>
    """
    if text and not text.endswith("|\n"):
        raise ValueError(f"its last line is cut off: {text[-80:]!r}")
    return dict(_row(line.strip().removesuffix("|")) for line in text.splitlines())


def read_sacct(text: str) -> Told:
    r"""Return what ``sacct --parsable2`` printed: the first five fields of `read_squeue`.

    Examples
    --------
    >>> read_sacct("8|CANCELLED by 1000|0:15|2026-11-25T14:43:42|Unknown\n")["8"].exit_code
    143
    """
    return dict(_row(line) for line in text.splitlines())


def _row(line: str) -> tuple[str, JobStatus]:
    fields = [field.strip() for field in line.split("|", 6)]
    number, word, code, started, ended, *further = [*fields, "", "", "", "", ""][:7]
    first = word.partition(" ")[0].rstrip("+")
    if (
        len(fields) not in (5, 7)
        or first not in _STATES
        or not _NUMBER.fullmatch(number)
        or not _CODE.fullmatch(code)
        or not (_TIME.fullmatch(started) and _TIME.fullmatch(ended))
    ):
        raise ValueError(f"{line[:80]!r} is not a line about a job")
    reason, name = further
    return number, _status(word, first, code, (started, ended), reason, name)


def _status(
    word: str, first: str, code: str, times: tuple[str, str], reason: str, name: str
) -> JobStatus:
    state = _STATES[first]
    started, ended = times
    has_begun = state is not JobState.QUEUED
    is_told = state is JobState.QUEUED and reason not in _UNTOLD
    return JobStatus(
        state=state,
        comment=f"{word}: {reason}" if is_told else word,
        cause=_CAUSES.get(first, JobCause.NONE),
        exit_code=_code(code) if state.is_final else None,
        started=from_iso(started) if has_begun else None,
        ended=from_iso(ended) if state.is_final else None,
        name=name,
        is_suspended=first in ("SUSPENDED", "STOPPED"),
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


_FIELDS = ("JobArrayID", "State", "exit_code", "StartTime", "EndTime", "Reason", "Name")


SLURM = Commands(
    query=Command(
        words=(
            *("squeue", "--noheader", "--me", "--states=all"),
            "--Format=" + ",".join(f"{field}:|" for field in _FIELDS),
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
    job_id="SLURM_JOB_ID",
)
"""How SLURM is spoken to."""
