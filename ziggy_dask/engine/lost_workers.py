"""Subtasks whose worker died: which of them ran, how the process ended, what it printed.

If it died with its job, the batch system knows more: that counts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ziggy_dask.compute.placing import job_name
from ziggy_dask.definitions import JobCause, JobStatus
from ziggy_dask.engine.connection import asking
from ziggy_dask.records.jobs import JobRecord
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState, last_words_of

if TYPE_CHECKING:
    from distributed import Client

    from ziggy_dask.engine.in_flight import Ended
    from ziggy_dask.planning import Key
    from ziggy_dask.workers.last_words import LastWords

_LOST = (Cause.WORKER_LOST, Cause.OUT_OF_MEMORY)
_NEWS_S = 2.0
"""Longest time that the news of a worker's end takes, in seconds."""
_JOB_NEWS_S = 12.0
"""The same of the end of its job."""
_LOOK_S = 0.2
"""Time between two looks for that, in seconds."""
_TAKEN_AWAY = (JobCause.CANCELLED, JobCause.NODE_FAILED, JobCause.PREEMPTED)
"""Causes of the ends of jobs that are not the doing of what ran in them."""
_MOST_SPARED = 5
"""So often a subtask is let run again that was given up with jobs that were taken away."""
_CAUSES = {
    JobCause.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    JobCause.TIME_LIMIT: Cause.TIME_LIMIT,
}
"""Causes of the ends of jobs that are those of their subtasks, too."""
_ADVICE = {
    JobCause.OUT_OF_MEMORY: "; give the node more 'memory', or 'retry: {memory: 2}'",
    JobCause.TIME_LIMIT: "; give the node more 'time', or 'retry: {time: 2}'",
}


@dataclass(frozen=True, slots=True)
class Spared:
    """Subtasks, by task and number, that were let run once more though Dask gave them up."""

    deaths: dict[tuple[int, int], int] = field(default_factory=dict)
    """How many workers had died when one was."""
    jobs: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often one was because its job was taken away."""


def with_last_words(
    client: Client,
    ended: Mapping[Key, Ended],
    token_of: Callable[[int], str],
    spared: Spared,
    job_of: Callable[[str], JobRecord | None],
) -> dict[Key, Ended]:
    """Return how batches ended, of which those that were lost with their workers say why.

    Dask blames whatever a dying worker was about to run, too. What the workers' last words
    do not blame as often is let run once more; and again, if more workers died since. So is,
    some times, what was lost as the batch system took the node away or the job back.

    Parameters
    ----------
    client
        A client of the scheduler.
    ended
        How batches ended, by key.
    token_of
        Returns the token of a task's work, by its index.
    spared
        What was let run once more; is added to.
    job_of
        Returns the record of the job of a worker; None: it is of none.
    """
    explained = dict(ended)
    until = time.monotonic() + _NEWS_S  # for all together: many may be lost at once
    jobs_until = time.monotonic() + _JOB_NEWS_S
    for key, one in ended.items():
        if one.result and one.is_lost:
            result, is_blamed = _explained(
                client, one, one.result, token_of, spared, until
            )
            job = _job_end(one.worker, job_of, jobs_until)
            if job is not None and not is_blamed and _is_taken_away(job):
                result = _spared(result, spared)
            if job is not None and job.cause is not JobCause.NONE:
                result = replace(
                    result, outcomes=tuple(_by_job(o, job) for o in result.outcomes)
                )
            ran = any(o.state is SubtaskState.FAILED for o in result.outcomes)
            explained[key] = replace(one, result=result, is_lost=ran)
    return explained


def _explained(
    client: Client,
    ended: Ended,
    result: BatchResult,
    token_of: Callable[[int], str],
    spared: Spared,
    until: float,
) -> tuple[BatchResult, bool]:
    """Return a result with last words, and whether all deaths are put down to it."""
    if not any(one.cause in _LOST for one in result.outcomes):
        return result, True
    token = token_of(result.index)
    about = {f"{token} {one.subtask}": one.subtask for one in result.outcomes}
    with asking():
        words = last_words_of(client, list(about), token, ended.deaths, until)
    known = {about[text]: said for text, said in words.of_these.items()}
    if words.blamed < ended.deaths:
        pairs = _pairs(result)
        if any(spared.deaths.get(pair, 0) < words.deaths for pair in pairs):
            spared.deaths.update(dict.fromkeys(pairs, words.deaths))
            return _to_run_again(result), False
    if known:
        outcomes = [_told(one, known) for one in result.outcomes]
        result = replace(result, outcomes=tuple(outcomes))
    return result, words.blamed >= ended.deaths


def _spared(result: BatchResult, spared: Spared) -> BatchResult:
    """Return a result that was lost with its job: to run again, if that is not too often."""
    is_failed = any(one.state is SubtaskState.FAILED for one in result.outcomes)
    pairs = _pairs(result)
    if not is_failed or any(spared.jobs[pair] >= _MOST_SPARED for pair in pairs):
        return result
    spared.jobs.update(pairs)
    return _to_run_again(result)


def _pairs(result: BatchResult) -> list[tuple[int, int]]:
    return [(result.index, one.subtask) for one in result.outcomes]


def _to_run_again(result: BatchResult) -> BatchResult:
    outcomes = [replace(one, state=SubtaskState.BLOCKED) for one in result.outcomes]
    return replace(result, outcomes=tuple(outcomes))


def _told(one: Outcome, known: Mapping[int, LastWords]) -> Outcome:
    if one.subtask in known:
        words = known[one.subtask]
        return replace(one, message=f"{words}", log=words.output)
    ran = ", ".join(str(number) for number in known)
    return replace(
        one, message=f"its worker was lost while subtask {ran} of its batch ran"
    )


def _job_end(
    worker: str, job_of: Callable[[str], JobRecord | None], until: float
) -> JobRecord | None:
    """Return the job of a worker, after it ended or the time is over; None: it is of none."""
    while worker and (job := job_of(job_name(worker))) is not None:
        if job.state.is_final or time.monotonic() > until:
            return job
        time.sleep(_LOOK_S)
    return None


def _is_taken_away(job: JobRecord) -> bool:
    """Tell whether a job lost its workers by no fault of theirs: one that goes on did, too.

    It was requeued, or its node froze: what a subtask does to its own worker, a nanny tells.
    """
    return not job.state.is_final or job.cause in _TAKEN_AWAY


def _by_job(one: Outcome, job: JobRecord) -> Outcome:
    if one.state is not SubtaskState.FAILED:
        return one
    status = JobStatus(
        state=job.state, comment=job.comment, cause=job.cause, exit_code=job.exit_code
    )
    return replace(
        one,
        cause=_CAUSES.get(job.cause, one.cause),
        message=f"{one.message}; job {job.number} ended: {status.ending}"
        + _ADVICE.get(job.cause, ""),
    )
