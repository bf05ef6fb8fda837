"""Fates of jobs: what follows from what a batch system and Dask say of one.

A pure function from facts to actions. What a listing does not say is not taken for an end
while a worker of the job is here; what it says of the end of a job counts even if Dask still
waits for its worker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.records.jobs import JobRecord

GONE_RUNNING_S = 12.0
"""A job that ran has ended if good answers lack it for so long, in seconds."""
GONE_QUEUED_S = 60.0
"""A job that was queued has ended if good answers lack it for so long, in seconds."""
UNSEEN_S = 15.0
"""A job whose submission failed half way is looked for so long, in seconds."""
UNNAMED_S = 120.0
"""The same where the listing does not tell names."""
UNNEEDED = "no longer needed"
RETIRED = "nothing was left for it"
LEFT = "it left the queue"
HERE = "its worker is here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is known of a job at one look."""

    job: JobRecord
    """What is on record."""
    said: JobStatus | None = None
    """What the batch system says of it; None: nothing."""
    is_answered: bool = False
    """Whether it has given a good answer since the last look."""
    has_names: bool = False
    """Whether that answer tells the names of jobs, or that there are none."""
    has_worker: bool = False
    """Whether a worker of the job is on the scheduler."""
    was_listed_running: bool = False
    """Whether a listing has said that it runs."""
    is_restarted: bool = False
    """Whether it began again since the last answer."""
    is_missing: bool = False
    """Whether the last good answer that was asked about it lacks it."""
    missing_s: float = 0.0
    """Time for which good answers have lacked it, in seconds."""
    age_s: float = 0.0
    """Time since its submission, in seconds."""
    since_cancel_s: float = 0.0
    """Time since it was last told to end, in seconds."""
    cancels: int = 0
    """How often it was told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Put on record what a job is doing."""

    status: JobStatus
    is_end: bool = False
    """Whether its end is to be weighed: was it of use, what ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Take its worker off the scheduler at once; what ran there runs elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Tell it to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take it for the one whose submission seemed to fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """Tell operators."""

    words: str


Action = Note | Retire | Cancel | Adopt | Warn


def follow(seen: Sighting) -> tuple[Action, ...]:
    """Return what follows from what is known of a job."""
    if not seen.job.number:
        return _unnumbered(seen)
    if seen.job.state is JobState.CANCELLING:
        return _cancelling(seen)
    if seen.said is None:
        return _unlisted(seen)
    return _listed(seen, seen.said)


def _listed(seen: Sighting, said: JobStatus) -> tuple[Action, ...]:
    job = seen.job
    if said.state.is_final:
        end: tuple[Action, ...] = (Note(status=said, is_end=True), Retire())
        # Some that failed would be tried again.
        return (*end, Cancel()) if said.state is JobState.FAILED else end
    if said.is_stuck:
        cause = said.cause
        if cause is JobCause.NONE:
            cause = JobCause.NOT_STARTED
        stuck = replace(said, state=JobState.CANCELLING, cause=cause)
        return Note(status=stuck, is_end=True), Retire(), Cancel()
    if said.is_suspended:
        ending = replace(said, state=JobState.CANCELLING, cause=JobCause.PREEMPTED)
        words = f"is held by the batch system ({said.comment}); it is cancelled"
        return Note(status=ending), Retire(), Cancel(), Warn(words=words)
    if said.is_ending and seen.has_worker:
        return (Retire(),)
    if said.state is JobState.QUEUED and seen.was_listed_running:
        return Note(status=said), Retire(), Warn(words=f"was requeued ({said.comment})")
    if said.state is JobState.QUEUED and seen.has_worker:
        return _here(seen)
    actions: tuple[Action, ...] = ()
    if seen.is_restarted:
        actions = (Retire(), Warn(words="was requeued, and has begun again"))
    if said.state is not job.state or _is_news(job, said):
        actions = (Note(status=said), *actions)
    return actions


def explained(job: JobRecord, status: JobStatus, *, had_worker: bool) -> JobStatus:
    """Return how a job ended, with the cause that follows from what else is known.

    One that a signal ended after its wall time reached that: Grid Engine and HTCondor tell
    of the signal alone. One that failed by itself before its worker came did not start it.
    """
    if (
        status.state is JobState.FAILED
        and status.cause is JobCause.NONE
        and not had_worker
    ):
        return replace(status, cause=JobCause.NOT_STARTED)
    if status.cause is not JobCause.KILLED or not (status.started and status.ended):
        return status
    ran_s = (status.ended - status.started).total_seconds()
    return replace(status, cause=JobCause.TIME_LIMIT) if ran_s >= job.wall_s else status


def _is_news(job: JobRecord, said: JobStatus) -> bool:
    """Tell whether a job that waits waits for something else now."""
    return said.state is JobState.QUEUED and said.comment != job.comment


def _unlisted(seen: Sighting) -> tuple[Action, ...]:
    if seen.has_worker:
        return _here(seen)
    limit = GONE_RUNNING_S if seen.job.state is JobState.RUNNING else GONE_QUEUED_S
    if not seen.is_answered or seen.missing_s < limit:
        return ()
    left = JobStatus(state=JobState.ENDED, comment=LEFT)
    return Note(status=left, is_end=True), Retire(), Cancel()


def _here(seen: Sighting) -> tuple[Action, ...]:
    if seen.job.state is JobState.RUNNING:
        return ()
    return (Note(status=JobStatus(state=JobState.RUNNING, comment=HERE)),)


def _cancelling(seen: Sighting) -> tuple[Action, ...]:
    """Wait for the end of a job that was told to; tell it again if need be."""
    job, said = seen.job, seen.said
    if said is not None and said.state.is_final:
        ended = replace(said, state=_end_of(job), comment=job.comment, cause=job.cause)
        return Note(status=ended), Retire()
    if said is None and seen.is_missing and seen.cancels:
        gone = JobStatus(state=_end_of(job), comment=job.comment, cause=job.cause)
        return Note(status=gone), Retire()
    pause = min(5.0 * 2 ** max(seen.cancels - 1, 0), 60.0)
    if seen.cancels and seen.since_cancel_s < pause:
        return ()
    again = f"was told to end {seen.cancels} times, and has not"
    return (Cancel(), Warn(words=again)) if seen.cancels == 3 else (Cancel(),)


def _end_of(job: JobRecord) -> JobState:
    """Return how a job ended that was told to: by itself if its worker was let go."""
    if job.comment == RETIRED:
        return JobState.ENDED
    is_told = job.cause in (JobCause.NONE, JobCause.PREEMPTED, JobCause.CANCELLED)
    return JobState.CANCELLED if is_told else JobState.FAILED


def _unnumbered(seen: Sighting) -> tuple[Action, ...]:
    """Look for a job whose submission failed half way."""
    if seen.has_worker and seen.job.state is not JobState.CANCELLING:
        return Adopt(), *_here(seen)
    if seen.has_worker or seen.said is not None:
        return (Adopt(),)
    waits_s = UNSEEN_S if seen.has_names and seen.is_answered else UNNAMED_S
    if seen.age_s < waits_s:
        return ()
    words = (
        f"not submitted: {seen.job.comment}" if seen.job.comment else "not submitted"
    )
    return (Note(status=JobStatus(state=JobState.FAILED, comment=words)),)
