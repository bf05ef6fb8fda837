"""PBS, as OpenPBS and PBS Professional have it: qstat and qdel."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ziggy_dask.compute.batch.command import ID, NAME, Command, Commands, Told
from ziggy_dask.compute.batch.times import from_ctime
from ziggy_dask.definitions import JobCause, JobState, JobStatus

_STATES = {
    **dict.fromkeys("HQTW", JobState.QUEUED),
    **dict.fromkeys("BERSU", JobState.RUNNING),
    "M": JobState.CANCELLED,
}
_FINAL = "FXC"
"""Finished, expired (of arrays), and completed as other descendants of PBS call it."""
_REASONS = {
    -29: JobCause.TIME_LIMIT,
    -28: JobCause.TIME_LIMIT,
    -27: JobCause.OUT_OF_MEMORY,
    -26: JobCause.OUT_OF_MEMORY,
    -20: JobCause.NODE_FAILED,
    -14: JobCause.NODE_FAILED,
    -4: JobCause.NODE_FAILED,
    -3: JobCause.NODE_FAILED,
    -2: JobCause.NOT_STARTED,
    -1: JobCause.NOT_STARTED,
}
"""``JOB_EXEC_...`` of OpenPBS: src/include/job.h."""
_DELETED = "91"
"""Substate of PBS: the job was deleted before it ended."""
_SUSPENDED = "SU"
_NEVER = re.compile(r"can never run|too many failed attempts", re.IGNORECASE)
"""Comments on jobs that wait for what does not come by itself: the scheduler's of OpenPBS."""


def read_qstat(text: str) -> Told:
    """Return what ``qstat -x -f -F json`` of PBS printed.

    States and exit codes are those of the PBS reference guide: an exit status of 256 and
    more is a signal, a negative one PBS's own reason. A job that exceeds its wall time
    is ended by SIGTERM, status 271. Signals are shown as shells do, by 128 and their number.

    Raises
    ------
    ValueError
        If it is not an answer of PBS, whole.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or "pbs_server" not in content:
        raise ValueError("it does not name its 'pbs_server'")
    jobs = content.get("Jobs", {})
    return {short_id(number): _status(number, job) for number, job in jobs.items()}


def short_id(number: str) -> str:
    """Return the id of a job without its server, as submissions are remembered.

    Examples
    --------
    >>> short_id("101.pbs1"), short_id("101")
    ('101', '101')
    """
    return number.partition(".")[0]


def _status(number: str, job: Mapping[str, object]) -> JobStatus:
    letter = str(job.get("job_state", ""))
    status = job.get("Exit_status")
    comment = str(job.get("comment") or letter)
    started = from_ctime(str(job.get("stime", "")))
    name = str(job.get("Job_Name", ""))
    if letter in _STATES:
        is_suspended = letter in _SUSPENDED
        is_stuck = letter in "QH" and (
            bool(_NEVER.search(comment)) or "s" in str(job.get("Hold_Types", "n"))
        )
        return JobStatus(
            state=_STATES[letter],
            comment=comment,
            cause=JobCause.PREEMPTED if is_suspended else JobCause.NONE,
            started=started,
            name=name,
            is_suspended=is_suspended,
            is_stuck=is_stuck,
            is_ending=letter == "E",
        )
    if not letter or letter not in _FINAL:
        raise ValueError(f"{letter!r} is not a state of job {number}")
    code = int(str(status)) if status is not None else None
    state, cause = JobState.FAILED, JobCause.NONE
    if code in _REASONS:
        cause = _REASONS[code]
    elif code is None or str(job.get("substate")) == _DELETED:
        state, cause = JobState.CANCELLED, JobCause.CANCELLED
    elif code == 0:
        state = JobState.ENDED
    elif code >= 128:
        cause = _exceeded(job)
    return JobStatus(
        state=state,
        comment=comment,
        cause=cause,
        exit_code=_code(code),
        started=started,
        ended=from_ctime(str(job.get("obittime") or job.get("mtime") or "")),
        name=name,
    )


def _exceeded(job: Mapping[str, object]) -> JobCause:
    """Tell from what a job used why a signal ended it; 271 is SIGTERM, from whomever."""
    used, asked = job.get("resources_used"), job.get("Resource_List")
    if not isinstance(used, Mapping) or not isinstance(asked, Mapping):
        return JobCause.KILLED
    for name, cause, read in (
        ("walltime", JobCause.TIME_LIMIT, _seconds),
        ("mem", JobCause.OUT_OF_MEMORY, _bytes),
    ):
        limit = read(str(asked.get(name, "")))
        if limit and read(str(used.get(name, ""))) >= limit:
            return cause
    return JobCause.KILLED


def _seconds(text: str) -> int:
    """Read a time of PBS, ``HH:MM:SS`` or seconds; 0: it is none."""
    parts = text.split(":")
    if not all(part.isdigit() for part in parts):
        return 0
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kmgt]?)b", text, re.IGNORECASE)
    if not found:
        return 0
    return int(found[1]) << 10 * " kmgt".index(found[2].lower() or " ")


def _code(code: int | None) -> int | None:
    if code is None or code < 0:
        return None
    return code - 128 if code >= 256 else code


PBS = Commands(
    query=Command(
        words=("qstat", "-x", "-f", "-F", "json", ID),
        read=read_qstat,
        nothing="Unknown Job Id",
        is_complete=False,
    ),
    cancel=("qdel",),
    says=r"^(\d+)(?:\.[\w.:-]+)?$",
    find=("qselect", "-x", "-N", NAME),
    short_id=short_id,
    job_id="PBS_JOBID",
)
"""How PBS is spoken to."""
