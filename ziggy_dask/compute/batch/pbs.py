"""PBS, as OpenPBS and PBS Professional have it: qstat and qdel."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ziggy_dask.compute.batch.command import ID, Command, Commands, Told
from ziggy_dask.compute.batch.times import from_ctime
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    **dict.fromkeys("HQTW", JobState.QUEUED),
    **dict.fromkeys("BERSU", JobState.RUNNING),
    "M": JobState.CANCELLED,
}
_REASONS = {
    -29: JobCause.TIME_LIMIT,
    -27: JobCause.OUT_OF_MEMORY,
    -26: JobCause.OUT_OF_MEMORY,
}
_DELETED = "91"
"""Substate of PBS: the job was deleted before it ended."""


def read_qstat(text: str) -> Told:
    """Return what ``qstat -x -f -F json`` of PBS printed.

    States and exit codes are those of the PBS reference guide: an exit status of 256 and
    more is a signal, a negative one PBS's own reason. A job that exceeds its wall time
    is ended by SIGTERM, status 271. Signals are shown as shells do, by 128 and their number.
    """
    jobs = json.loads(text or "{}").get("Jobs", {})
    return {number: _status(job) for number, job in jobs.items()}


def _status(job: Mapping[str, object]) -> JobStatus:
    letter = str(job.get("job_state", ""))
    status = job.get("Exit_status")
    comment = str(job.get("comment") or letter)
    started = from_ctime(str(job.get("stime", "")))
    if letter in _STATES:
        return JobStatus(state=_STATES[letter], comment=comment, started=started)
    code = int(str(status)) if status is not None else None
    state, cause = JobState.FAILED, JobCause.NONE
    if code in _REASONS:
        cause = _REASONS[code]
    elif code is None or str(job.get("substate")) == _DELETED:
        state, cause = JobState.CANCELLED, JobCause.CANCELLED
    elif code == 0:
        state = JobState.ENDED
    elif code >= 256:
        cause = JobCause.TIME_LIMIT if _is_over_time(job) else JobCause.KILLED
    return JobStatus(
        state=state,
        comment=comment,
        cause=cause,
        exit_code=_code(code),
        started=started,
        ended=from_ctime(str(job.get("obittime") or job.get("mtime") or "")),
    )


def _is_over_time(job: Mapping[str, object]) -> bool:
    """Tell whether a job ran for all the time that it had: PBS ends it by a signal then."""
    used, allowed = (
        _seconds(times.get("walltime") if isinstance(times, Mapping) else None)
        for times in (job.get("resources_used"), job.get("Resource_List"))
    )
    return used is not None and allowed is not None and used >= allowed


def _seconds(walltime: object) -> int | None:
    """Return a time of PBS, ``HH:MM:SS`` or seconds, in seconds; None: it is none."""
    parts = str(walltime).split(":")
    if not all(part.isdigit() for part in parts):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds


def _code(code: int | None) -> int | None:
    if code is None or code < 0:
        return None
    return code - 128 if code >= 256 else code


PBS = Commands(
    query=Command(
        words=("qstat", "-x", "-f", "-F", "json", ID),
        read=read_qstat,
        nothing="Unknown Job Id",
    ),
    cancel=("qdel",),
)
"""How PBS is spoken to."""
