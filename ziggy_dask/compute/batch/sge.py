"""Grid Engine: qstat, qdel and qacct."""

from __future__ import annotations

from collections.abc import Mapping

from defusedxml import ElementTree

from ziggy_dask.compute.batch.command import Command, Commands, Told
from ziggy_dask.compute.batch.times import from_ctime, from_iso
from ziggy_dask.definitions import JobCause, JobState, JobStatus


def read_qstat(text: str) -> Told:
    """Return what ``qstat -xml`` of Grid Engine printed; it lists no job that has ended."""
    if not text.strip():
        return {}
    found = {}
    for job in ElementTree.fromstring(text).iter("job_list"):
        word = job.findtext("state", "")
        state = JobState.QUEUED
        if "E" in word:
            state = JobState.FAILED
        elif job.get("state") == "running":
            state = JobState.RUNNING
        found[job.findtext("JB_job_number", "")] = JobStatus(
            state=state,
            comment=word,
            started=from_iso(job.findtext("JAT_start_time", "")),
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
            found[job["jobnumber"]] = _status(job)
    return found


_CAUSES = {
    17: JobCause.KILLED,
    18: JobCause.NODE_FAILED,
    19: JobCause.NODE_FAILED,
    37: JobCause.TIME_LIMIT,
    100: JobCause.KILLED,
}


def _status(job: Mapping[str, str]) -> JobStatus:
    failed = " ".join(job["failed"].split())
    number = int(failed.partition(" ")[0])
    code = int(job["exit_status"].split()[0])
    killed = JobCause.KILLED if code > 128 else JobCause.NONE
    return JobStatus(
        state=JobState.FAILED if number or code else JobState.ENDED,
        comment=failed if number else f"exit code {code}",
        cause=_CAUSES.get(number, killed),
        exit_code=code,
        started=from_ctime(job["start_time"]),
        ended=from_ctime(job["end_time"]),
    )


SGE = Commands(
    query=Command(words=("qstat", "-xml"), read=read_qstat),
    cancel=("qdel",),
    history=Command(
        words=("qacct", "-E", "-d", "1", "-j", "ziggy-*"),
        read=read_qacct,
        nothing="not found",
    ),
)
"""How Grid Engine is spoken to."""
