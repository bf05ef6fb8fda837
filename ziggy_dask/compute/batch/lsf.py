"""LSF: bjobs and bkill."""

from __future__ import annotations

import json

from ziggy_dask.compute.batch.command import Command, Commands, Told
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    **dict.fromkeys(("PEND", "WAIT", "PSUSP", "PROV"), JobState.QUEUED),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), JobState.RUNNING),
    **dict.fromkeys(("DONE", "POST_DONE"), JobState.ENDED),
    **dict.fromkeys(("EXIT", "POST_ERR", "ZOMBI"), JobState.FAILED),
}
"""States of jobs: bjobs(1)."""
_SUSPENDED = ("USUSP", "SSUSP")
_CAUSES = {
    "TERM_RUNLIMIT": JobCause.TIME_LIMIT,
    "TERM_CPULIMIT": JobCause.TIME_LIMIT,
    "TERM_DEADLINE": JobCause.TIME_LIMIT,
    "TERM_MEMLIMIT": JobCause.OUT_OF_MEMORY,
    "TERM_SWAP": JobCause.OUT_OF_MEMORY,
    "TERM_OWNER": JobCause.CANCELLED,
    "TERM_ADMIN": JobCause.CANCELLED,
    "TERM_FORCE_OWNER": JobCause.CANCELLED,
    "TERM_FORCE_ADMIN": JobCause.CANCELLED,
    "TERM_PREEMPT": JobCause.PREEMPTED,
    "TERM_BUCKET_KILL": JobCause.CANCELLED,
    "TERM_ZOMBIE": JobCause.NODE_FAILED,
    "TERM_RC_RECLAIM": JobCause.NODE_FAILED,
    "TERM_REMOVE_HUNG_JOB": JobCause.NODE_FAILED,
    "TERM_CWD_NOTEXIST": JobCause.NOT_STARTED,
    "TERM_PRE_EXEC_FAIL": JobCause.NOT_STARTED,
}
"""Reasons why jobs ended: bhist(1), table of termination reasons."""


def read_bjobs(text: str) -> Told:
    """Return what ``bjobs -a -json`` printed, with the fields of `LSF`.

    Raises
    ------
    ValueError
        If it is not an answer of bjobs, whole.
    """
    content = json.loads(text)
    found = {}
    if content["JOBS"] != len(content["RECORDS"]):
        raise ValueError(f"it has {len(content['RECORDS'])} of {content['JOBS']} jobs")
    for job in content["RECORDS"]:
        word = job["STAT"]
        if word not in _STATES:
            raise ValueError(f"{word!r} is not a state of job {job['JOBID']}")
        state = _STATES[word]
        reason = job.get("EXIT_REASON") or ""
        cause = _CAUSES.get(reason.partition(":")[0].strip(), JobCause.NONE)
        if cause is JobCause.CANCELLED:
            state = JobState.CANCELLED
        code = job.get("EXIT_CODE") or ""
        if cause is JobCause.NONE and state is JobState.FAILED and int(code or 0) > 128:
            cause = JobCause.KILLED
        waits_for = job.get("PEND_REASON") if state is JobState.QUEUED else ""
        if word in _SUSPENDED:
            cause = JobCause.PREEMPTED
        found[job["JOBID"]] = JobStatus(
            state=state,
            comment=reason or waits_for or word,
            cause=cause,
            exit_code=int(code) if code else 0 if word == "DONE" else None,
            name=job.get("JOB_NAME") or "",
            is_suspended=word in _SUSPENDED,
        )
    return found


_FIELDS = "jobid stat exit_code exit_reason pend_reason job_name"

LSF = Commands(
    query=Command(
        words=("bjobs", "-a", "-json", "-o", _FIELDS),
        read=read_bjobs,
        nothing="job found",
    ),
    cancel=("bkill",),
    says=r"Job <(\d+)> is submitted",
    job_id="LSB_JOBID",
)
"""How LSF is spoken to."""
