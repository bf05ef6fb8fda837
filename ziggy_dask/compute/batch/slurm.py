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

_NEVER = re.compile(
    r"launch[ _]failed[ _]requeued[ _]held|JobHoldMaxRequeue|BadConstraints|"
    r"DependencyNeverSatisfied|PartitionTimeLimit|InvalidAccount|InvalidQOS|"
    r"AccountNotAllowed|QOSNotAllowed|ReservationDeleted|(Assoc|QOS)Max\w+PerJob\w*|"
    r"QOSMin\w+|MaxMemPerLimit",
    re.IGNORECASE,
)
"""Reasons of jobs that wait for what does not come by itself: job_state_reason_string_."""
_NUMBER = re.compile(r"\d+([_+]\S*)?")
_CODE = re.compile(r"\d+(:\d+)?|")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|N/A|NONE|None|Unknown|")
_UNTOLD = ("", "None", "N/A", "(null)")


def read_squeue(text: str) -> Told:
    r"""Return what ``squeue`` printed, one line per job.

    Its format is ``JobArrayID|State|exit_code|StartTime|EndTime|Reason|Name|``, with the
    names of the fields in the first line; a wrapper of a site may print the first five only,
    and no names.

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
    lines = [line.strip().removesuffix("|") for line in text.splitlines()]
    first = [field.strip() for field in lines[0].split("|")] if lines else []
    is_headed = first[1:2] == ["STATE"]
    return dict(_row(line) for line in lines[is_headed:])


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
    exit_code = _code(code) if state.is_final else None
    signalled = JobCause.KILLED if (exit_code or 0) > 128 else JobCause.NONE
    return JobStatus(
        state=state,
        comment=f"{word}: {reason}" if is_told else word,
        cause=_CAUSES.get(first, signalled),
        exit_code=exit_code,
        started=from_iso(started) if has_begun else None,
        ended=from_iso(ended) if state.is_final else None,
        name=name,
        is_suspended=first in ("SUSPENDED", "STOPPED"),
        is_stuck=is_told and bool(_NEVER.search(reason)),
        is_ending=first == "COMPLETING",
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
            *("squeue", "--me", "--states=all"),
            "--Format=" + ",".join(f"{field}:|" for field in _FIELDS),
        ),
        read=read_squeue,
    ),
    cancel=("scancel", "--quiet"),
    says=r"Submitted batch job (\d+)|^(\d+)(?:;\S+)?$",
    history=Command(
        words=(
            *("sacct", "--noheader", "--parsable2", "--allocations"),
            *("--format=JobID,State,ExitCode,Start,End", "--jobs", IDS),
        ),
        read=read_sacct,
        may_be_blank=True,
    ),
    job_id="SLURM_JOB_ID",
)
"""How SLURM is spoken to."""
