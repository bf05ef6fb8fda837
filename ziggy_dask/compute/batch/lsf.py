"""LSF: bjobs and bkill."""

from __future__ import annotations

import json

from ziggy_dask.compute.batch.command import Command, Commands, Told
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    **dict.fromkeys(("PEND", "WAIT", "PSUSP", "PROV"), JobState.QUEUED),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), JobState.RUNNING),
    "DONE": JobState.ENDED,
}
"""Others are failures: bjobs(1)."""
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
    "TERM_PREEMPT": JobCause.CANCELLED,
    "TERM_ZOMBIE": JobCause.NODE_FAILED,
    "TERM_RC_RECLAIM": JobCause.NODE_FAILED,
}


def read_bjobs(text: str) -> Told:
    """Return what ``bjobs -a -json -o 'jobid stat exit_code exit_reason'`` printed."""
    found = {}
    for job in json.loads(text or "{}").get("RECORDS", []):
        word = job["STAT"]
        state = _STATES.get(word, JobState.FAILED)
        reason = job.get("EXIT_REASON") or ""
        cause = _CAUSES.get(reason.partition(":")[0].strip(), JobCause.NONE)
        if cause is JobCause.CANCELLED:
            state = JobState.CANCELLED
        code = job.get("EXIT_CODE") or ""
        found[job["JOBID"]] = JobStatus(
            state=state,
            comment=reason or word,
            cause=cause,
            exit_code=int(code) if code else 0 if word == "DONE" else None,
        )
    return found


LSF = Commands(
    query=Command(
        words=("bjobs", "-a", "-json", "-o", "jobid stat exit_code exit_reason"),
        read=read_bjobs,
        nothing="job found",
    ),
    cancel=("bkill",),
)
"""How LSF is spoken to."""
