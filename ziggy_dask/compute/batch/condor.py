"""HTCondor: condor_q, condor_rm and condor_history."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ziggy_dask.compute.batch.command import ID, Command, Commands, Told
from ziggy_dask.compute.batch.times import from_epoch
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    1: (JobState.QUEUED, "idle"),
    2: (JobState.RUNNING, "running"),
    3: (JobState.CANCELLED, "removed"),
    4: (JobState.ENDED, "completed"),
    5: (JobState.QUEUED, "held"),
    6: (JobState.RUNNING, "transferring output"),
    7: (JobState.RUNNING, "suspended"),
}
_HOLDS = {
    **dict.fromkeys((6, 7, 8, 9, 10, 12, 13, 14), JobCause.NOT_STARTED),
    34: JobCause.OUT_OF_MEMORY,
    46: JobCause.TIME_LIMIT,
    47: JobCause.TIME_LIMIT,
}
"""Codes of reasons to hold a job; one that is held does nothing until it is released."""


def read_condor(text: str) -> Told:
    """Return what ``condor_q -json`` or ``condor_history -json`` printed.

    States and codes are those of HTCondor's manual, job ClassAd attributes.

    Raises
    ------
    ValueError
        If it is not an answer of HTCondor, whole.
    """
    jobs = json.loads(text) if text.strip() else []
    if not isinstance(jobs, list):
        raise ValueError("it is not a list of jobs")
    return {f"{job['ClusterId']}.{job['ProcId']}": _status(job) for job in jobs}


def _status(job: Mapping[str, object]) -> JobStatus:
    number = int(str(job["JobStatus"]))
    if number not in _STATES:
        raise ValueError(f"{number} is not a status of a job")
    state, word = _STATES[number]
    cause = JobCause.NONE
    if state is JobState.CANCELLED:
        evicted = str(job.get("RemoveReason", ""))
        is_ours = "NumJobStarts > 0" in evicted
        cause = JobCause.PREEMPTED if is_ours else JobCause.CANCELLED
    if word == "suspended":
        cause = JobCause.PREEMPTED
    if word == "held":
        cause = _HOLDS.get(int(str(job.get("HoldReasonCode", 0))), cause)
    code = None
    if job.get("ExitBySignal"):
        code = 128 + int(str(job.get("ExitSignal", 0)))
    elif state.is_final and "ExitCode" in job:
        code = int(str(job["ExitCode"]))
    if state is JobState.ENDED and code:
        state = JobState.FAILED
        cause = JobCause.KILLED if code > 128 else cause
    reason = job.get("HoldReason") if word == "held" else job.get("RemoveReason")
    return JobStatus(
        state=state,
        comment=str(reason or word),
        cause=cause,
        exit_code=code,
        started=None
        if state is JobState.QUEUED
        else from_epoch(job.get("JobCurrentStartDate")),
        ended=from_epoch(job.get("CompletionDate") or job.get("EnteredCurrentStatus"))
        if state.is_final
        else None,
        name=str(job.get("JobBatchName", "")),
        is_suspended=word == "suspended",
        is_stuck=word == "held",
    )


_FIELDS = (
    "ClusterId,ProcId,JobStatus,ExitCode,ExitBySignal,ExitSignal,HoldReason,"
    "HoldReasonCode,RemoveReason,JobCurrentStartDate,CompletionDate,EnteredCurrentStatus,"
    "JobBatchName"
)


HTCONDOR = Commands(
    query=Command(
        words=("condor_q", "-json", "-attributes", _FIELDS),
        read=read_condor,
        may_be_blank=True,
    ),
    cancel=("condor_rm",),
    says=r"submitted to cluster (\d+)|^(\d+)\.0 - \d+\.0$",
    suffix=".0",
    history=Command(
        words=("condor_history", "-json", "-attributes", _FIELDS, ID),
        read=read_condor,
        may_be_blank=True,
    ),
)
"""How HTCondor is spoken to."""
