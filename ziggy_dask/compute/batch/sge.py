"""Grid Engine: qstat, qdel and qacct."""

from __future__ import annotations

import re
from collections.abc import Mapping

from defusedxml import ElementTree

from ziggy_dask.compute.batch.command import Command, Commands, Told
from ziggy_dask.compute.batch.times import from_ctime, from_iso
from ziggy_dask.definitions import JobCause, JobState, JobStatus


def read_qstat(text: str) -> Told:
    """Return what ``qstat -xml`` of Grid Engine printed; it lists no job that has ended.

    Raises
    ------
    ValueError
        If it is not an answer of qstat, whole.
    """
    root = ElementTree.fromstring(text)
    if root.tag != "job_info":
        raise ValueError(f"<{root.tag}> is not what qstat prints")
    found = {}
    for job in root.iter("job_list"):
        word, number = job.findtext("state", ""), job.findtext("JB_job_number", "")
        if not _WORD.fullmatch(word) or not number.isdigit():
            raise ValueError(f"{word!r} is not a state of job {number!r}")
        state = JobState.QUEUED
        is_suspended = False
        is_stuck = "E" in word
        if not is_stuck and job.get("state") == "running":
            state = JobState.RUNNING
            is_suspended = bool(_SUSPENDED.search(word))
        found[number] = JobStatus(
            state=state,
            comment=word,
            cause=JobCause.PREEMPTED if is_suspended else JobCause.NONE,
            started=from_iso(job.findtext("JAT_start_time", "")),
            name=job.findtext("JB_name", ""),
            is_suspended=is_suspended,
            is_stuck=is_stuck,
            is_ending=state is JobState.RUNNING and "d" in word,
        )
    return found


_WORD = re.compile(r"[acdhorstwquzACDERSTN]{1,8}")
_SUSPENDED = re.compile(r"[sST]")
"""States of jobs are sets of letters: sge_status(5)."""


def read_qacct(text: str) -> Told:
    """Return what ``qacct -j`` of Grid Engine printed, of jobs that have ended.

    Numbers of failures are those of ``sge_status(5)``. Of a job that a limit ended, what it
    used tells which.
    """
    found = {}
    for block in text.split("=" * 62):
        job = {
            name: value.strip()
            for name, _, value in (one.partition(" ") for one in block.splitlines())
        }
        if "jobnumber" in job:
            found[job["jobnumber"]] = _status(job)
    return found


_CAUSES = {
    **dict.fromkeys(range(1, 17), JobCause.NOT_STARTED),
    17: JobCause.KILLED,
    18: JobCause.NODE_FAILED,
    19: JobCause.NODE_FAILED,
    21: JobCause.NODE_FAILED,
    26: JobCause.NOT_STARTED,
    27: JobCause.NOT_STARTED,
    28: JobCause.NOT_STARTED,
    37: JobCause.TIME_LIMIT,
    100: JobCause.KILLED,
}
_LIMITED = (37, 100)
"""Failures of jobs that a limit on time or memory ended, or a signal from elsewhere."""
_VMEM = re.compile(r"\b[hs]_vmem=(\S+?)(?:,|\s|$)")
_SIZE = re.compile(r"([\d.]+) *([KMGTkmgt]?)B?s?")


def _status(job: Mapping[str, str]) -> JobStatus:
    failed = " ".join(job["failed"].split())
    number = int(failed.partition(" ")[0])
    code = int(job["exit_status"].split()[0])
    killed = JobCause.KILLED if code > 128 else JobCause.NONE
    return JobStatus(
        state=JobState.FAILED if number or code else JobState.ENDED,
        comment=failed if number else f"exit code {code}",
        cause=JobCause.OUT_OF_MEMORY
        if number in _LIMITED and _is_over_memory(job)
        else _CAUSES.get(number, killed),
        exit_code=code,
        started=from_ctime(job["start_time"]),
        ended=from_ctime(job["end_time"]),
    )


def _is_over_memory(job: Mapping[str, str]) -> bool:
    """Tell whether a job used nearly all memory that it had asked for, or more."""
    asked = _VMEM.search(job.get("category", ""))
    limit = _bytes(asked[1]) * int(job.get("slots", "1")) if asked else 0.0
    return bool(limit) and _bytes(job.get("maxvmem", "")) >= 0.95 * limit


def _bytes(text: str) -> float:
    """Read a size such as ``5.070MB`` or ``2G``; 0: it is none."""
    found = _SIZE.fullmatch(text)
    return (
        float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ") if found else 0
    )


SGE = Commands(
    query=Command(words=("qstat", "-xml"), read=read_qstat),
    cancel=("qdel",),
    says=r"Your job (\d+) \(.*\) has been submitted|^(\d+)$",
    history=Command(
        words=("qacct", "-E", "-d", "1", "-j", "ziggy-*"),
        read=read_qacct,
        nothing="not found",
    ),
    job_id="JOB_ID",
)
"""How Grid Engine is spoken to."""
