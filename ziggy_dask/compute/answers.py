"""Answers of batch systems, read: one pure function for what each command prints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime

from defusedxml import ElementTree

from ziggy_dask.definitions import JobCause, JobState, JobStatus

Told = dict[str, JobStatus]
"""What is told of jobs, by their ids."""

_SLURM_STATES = {
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

_SLURM_CAUSES = {
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
        found[number] = _of_slurm(word, code, started, ended)
    return found


def read_sacct(text: str) -> Told:
    r"""Return what ``sacct --parsable2`` printed: fields as in `read_squeue`.

    Examples
    --------
    >>> read_sacct("8|CANCELLED by 1000|0:15|2026-11-25T14:43:42|Unknown\n")["8"].exit_code
    143
    """
    return read_squeue(text)


def _of_slurm(word: str, code: str, started: str, ended: str) -> JobStatus:
    first = word.partition(" ")[0].rstrip("+")
    state = _SLURM_STATES.get(first, JobState.FAILED)
    has_begun = state is not JobState.QUEUED
    return JobStatus(
        state=state,
        comment=word,
        cause=_SLURM_CAUSES.get(first, JobCause.NONE),
        exit_code=_slurm_code(code) if state.is_final else None,
        started=_iso(started) if has_begun else None,
        ended=_iso(ended) if state.is_final else None,
    )


def _slurm_code(text: str) -> int | None:
    """Read ``code:signal`` of sacct, or the wait status that squeue prints."""
    code, colon, sent = text.partition(":")
    if not code.isdigit():
        return None
    if colon:
        return 128 + int(sent) if sent not in ("", "0") else int(code)
    return _shell_code(os.waitstatus_to_exitcode(int(code)))


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


def read_qstat_pbs(text: str) -> Told:
    """Return what ``qstat -x -f -F json`` of PBS printed.

    States and exit codes are those of the PBS reference guide: an exit status of 256 and
    more is a signal, a negative one PBS's own reason.
    """
    jobs = json.loads(text or "{}").get("Jobs", {})
    return {number: _of_pbs(job) for number, job in jobs.items()}


_PBS_STATES = {
    **dict.fromkeys("HQTW", JobState.QUEUED),
    **dict.fromkeys("BERSU", JobState.RUNNING),
    "M": JobState.CANCELLED,
}
_PBS_REASONS = {
    -29: JobCause.TIME_LIMIT,
    -27: JobCause.OUT_OF_MEMORY,
    -26: JobCause.OUT_OF_MEMORY,
}
_DELETED = "91"
"""Substate of PBS: the job was deleted before it ended."""


def _of_pbs(job: Mapping[str, object]) -> JobStatus:
    letter = str(job.get("job_state", ""))
    status = job.get("Exit_status")
    comment = str(job.get("comment") or letter)
    started = _ctime(str(job.get("stime", "")))
    if letter in _PBS_STATES:
        return JobStatus(state=_PBS_STATES[letter], comment=comment, started=started)
    code = int(str(status)) if status is not None else None
    state, cause = JobState.FAILED, JobCause.NONE
    if code in _PBS_REASONS:
        cause = _PBS_REASONS[code]
    elif code is None or str(job.get("substate")) == _DELETED:
        state, cause = JobState.CANCELLED, JobCause.CANCELLED
    elif code == 0:
        state = JobState.ENDED
    elif code >= 256:
        cause = JobCause.KILLED
    return JobStatus(
        state=state,
        comment=comment,
        cause=cause,
        exit_code=_pbs_code(code),
        started=started,
        ended=_ctime(str(job.get("obittime") or job.get("mtime") or "")),
    )


def _pbs_code(code: int | None) -> int | None:
    if code is None or code < 0:
        return None
    return code - 128 if code >= 256 else code


def read_qstat_sge(text: str) -> Told:
    """Return what ``qstat -xml`` of Grid Engine printed; it lists no job that has ended."""
    if not text.strip():
        return {}
    found = {}
    for job in ElementTree.fromstring(text).iter("job_list"):
        word = job.findtext("state", "")
        is_running = job.get("state") == "running"
        state = JobState.RUNNING if is_running else JobState.QUEUED
        if "E" in word:
            state = JobState.FAILED
        found[job.findtext("JB_job_number", "")] = JobStatus(
            state=state,
            comment=word,
            started=_iso(job.findtext("JAT_start_time", "")) if is_running else None,
        )
    return found


def read_qacct(text: str) -> Told:
    """Return what ``qacct -j`` of Grid Engine printed, of jobs that have ended.

    Numbers of failures are those of ``sge_status(5)``.
    """
    found = {}
    for block in text.split("=" * 62):
        job = {
            name: value.strip()
            for name, _, value in (one.partition(" ") for one in block.splitlines())
        }
        if "jobnumber" in job:
            found[job["jobnumber"]] = _of_qacct(job)
    return found


_SGE_CAUSES = {
    17: JobCause.KILLED,
    18: JobCause.NODE_FAILED,
    19: JobCause.NODE_FAILED,
    37: JobCause.TIME_LIMIT,
    100: JobCause.KILLED,
}


def _of_qacct(job: Mapping[str, str]) -> JobStatus:
    failed = " ".join(job["failed"].split())
    number = int(failed.partition(" ")[0])
    code = int(job["exit_status"].split()[0])
    killed = JobCause.KILLED if code > 128 else JobCause.NONE
    return JobStatus(
        state=JobState.FAILED if number or code else JobState.ENDED,
        comment=failed if number else f"exit code {code}",
        cause=_SGE_CAUSES.get(number, killed),
        exit_code=code,
        started=_ctime(job["start_time"]),
        ended=_ctime(job["end_time"]),
    )


_LSF_STATES = {
    **dict.fromkeys(("PEND", "WAIT", "PSUSP", "PROV"), JobState.QUEUED),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), JobState.RUNNING),
    "DONE": JobState.ENDED,
}
"""Others are failures: bjobs(1)."""
_LSF_CAUSES = {
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
        state = _LSF_STATES.get(word, JobState.FAILED)
        reason = job.get("EXIT_REASON") or ""
        cause = _LSF_CAUSES.get(reason.partition(":")[0].strip(), JobCause.NONE)
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


_CONDOR_STATES = {
    1: (JobState.QUEUED, "idle"),
    2: (JobState.RUNNING, "running"),
    3: (JobState.CANCELLED, "removed"),
    4: (JobState.ENDED, "completed"),
    5: (JobState.FAILED, "held"),
    6: (JobState.RUNNING, "transferring output"),
    7: (JobState.RUNNING, "suspended"),
}
_CONDOR_HOLDS = {
    34: JobCause.OUT_OF_MEMORY,
    46: JobCause.TIME_LIMIT,
    47: JobCause.TIME_LIMIT,
}
"""Codes of reasons to hold a job; one that is held does nothing until it is released."""


def read_condor(text: str) -> Told:
    """Return what ``condor_q -json`` or ``condor_history -json`` printed.

    States and codes are those of HTCondor's manual, job ClassAd attributes.
    """
    jobs = json.loads(text) if text.strip() else []
    return {f"{one['ClusterId']}.{one['ProcId']}": _of_condor(one) for one in jobs}


def _of_condor(job: Mapping[str, object]) -> JobStatus:
    number = int(str(job["JobStatus"]))
    state, word = _CONDOR_STATES.get(number, (JobState.FAILED, f"status {number}"))
    cause = JobCause.NONE
    if state is JobState.CANCELLED:
        cause = JobCause.CANCELLED
    if word == "held":
        cause = _CONDOR_HOLDS.get(int(str(job.get("HoldReasonCode", 0))), cause)
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
        started=_epoch(job.get("JobCurrentStartDate")),
        ended=_epoch(job.get("CompletionDate") or job.get("EnteredCurrentStatus"))
        if state.is_final
        else None,
    )


def _epoch(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(float(str(seconds)), UTC) if seconds else None


def _iso(text: str) -> datetime | None:
    """Read ``2026-11-25T14:43:42``, in the time of this machine."""
    return _local(text, "%Y-%m-%dT%H:%M:%S")


def _ctime(text: str) -> datetime | None:
    """Read ``Wed Nov 25 14:43:42 2026``, in the time of this machine."""
    return _local(" ".join(text.split()), "%a %b %d %H:%M:%S %Y")


def _local(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).astimezone(UTC)
    except ValueError:
        return None  # e.g. "Unknown", "N/A"
