"""Subtasks that were lost with a job: what the batch system says of its end counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ziggy_dask.definitions import JobCause, JobState
from ziggy_dask.engine import lost_workers
from ziggy_dask.engine.in_flight import Ended
from ziggy_dask.engine.lost_workers import Spared, with_last_words
from ziggy_dask.records.jobs import JobRecord
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState
from ziggy_dask.workers.last_words import Deaths, LastWords

JOB = JobRecord(
    id=1,
    name="ziggy-fit-1-light-3f9a",
    number="7",
    instance=1,
    environment="lab",
    architecture="node",
    queue="",
    wall_s=900.0,
    cost_per_hour=1.0,
    state=JobState.FAILED,
    comment="OUT_OF_MEMORY: Detected 1 oom_kill event",
    cause=JobCause.OUT_OF_MEMORY,
    exit_code=137,
    submitted=datetime.now(UTC),
    started=None,
    ended=None,
)


NOBODY = Deaths(of_these={}, deaths=0)
DIED = LastWords(exit_code=-9, output="", times=1)


def lost(worker: str, *states: SubtaskState) -> Ended:
    outcomes = tuple(
        Outcome(
            subtask=number,
            state=state,
            cause=Cause.WORKER_LOST,
            message="its worker died",
            started_s=0.0,
        )
        for number, state in enumerate(states)
    )
    result = BatchResult(index=0, outcomes=outcomes)
    return Ended(result=result, is_lost=True, worker=worker)


def told(monkeypatch, one: Ended, records) -> BatchResult:
    """Return what is made of a loss of which no nanny has told anything."""
    monkeypatch.setattr(lost_workers, "last_words_of", lambda *given: NOBODY)
    monkeypatch.setattr(lost_workers, "_LOOK_S", 0.0)
    spared = Spared(jobs=Counter({(0, number): 5 for number in range(2)}))
    found = with_last_words(None, {"k": one}, str, spared, lambda name: next(records))
    (ended,) = found.values()
    assert ended.result is not None
    return ended.result


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (JobCause.OUT_OF_MEMORY, Cause.OUT_OF_MEMORY),
        (JobCause.TIME_LIMIT, Cause.TIME_LIMIT),
        (JobCause.NODE_FAILED, Cause.WORKER_LOST),
        (JobCause.PREEMPTED, Cause.WORKER_LOST),
        (JobCause.KILLED, Cause.WORKER_LOST),
    ],
)
def test_the_end_of_the_job_is_told_as_soon_as_it_is_known(
    monkeypatch, cause, expected
):
    running = replace(JOB, state=JobState.RUNNING, cause=JobCause.NONE, comment="")
    records = iter([running, running, replace(JOB, cause=cause)])
    one = lost(f"{JOB.name}.2", SubtaskState.FAILED, SubtaskState.BLOCKED)
    failed, blocked = told(monkeypatch, one, records).outcomes
    assert failed.cause is expected
    assert f"job 7 ended: {cause.value} (OUT_OF_MEMORY: Detected" in failed.message
    assert (blocked.cause, blocked.message) == (Cause.WORKER_LOST, "its worker died")


def test_what_a_subtask_that_lacked_memory_needs_is_said(monkeypatch):
    one = lost(JOB.name, SubtaskState.FAILED)
    (failed,) = told(monkeypatch, one, iter([JOB])).outcomes
    assert failed.message.endswith("more 'memory', or 'retry: {memory: 2}'")


def test_nothing_is_said_of_jobs_that_nobody_knows_or_that_do_not_end(monkeypatch):
    monkeypatch.setattr(lost_workers, "_JOB_NEWS_S", -1.0)
    running = replace(JOB, state=JobState.RUNNING, cause=JobCause.NONE)
    for worker, records in (("", [JOB]), ("3", [None]), (JOB.name, [running])):
        one = lost(worker, SubtaskState.FAILED)
        (failed,) = told(monkeypatch, one, iter(records)).outcomes
        assert (failed.cause, failed.message) == (Cause.WORKER_LOST, "its worker died")


@pytest.fixture
def judged(monkeypatch):
    """Return how a subtask ends that Dask gave up after four deaths, by what is known then."""
    spared = Spared()

    def state(blamed: int, deaths: int) -> SubtaskState:
        own = {"0 0": replace(DIED, times=blamed)} if blamed else {}
        words = Deaths(of_these=own, deaths=deaths)
        monkeypatch.setattr(lost_workers, "last_words_of", lambda *given: words)
        one = replace(lost("", SubtaskState.FAILED), deaths=4)
        ended = with_last_words(None, {"k": one}, str, spared, lambda name: None)
        (outcome,) = ended["k"].result.outcomes
        return outcome.state

    return state


def test_what_did_not_run_is_let_run_as_long_as_workers_die_of_others(judged):
    assert judged(0, 1) is SubtaskState.BLOCKED  # to be let run
    assert judged(0, 1) is SubtaskState.FAILED
    assert judged(0, 2) is SubtaskState.BLOCKED
    assert judged(0, 3) is SubtaskState.BLOCKED
    assert judged(0, 3) is SubtaskState.FAILED


def test_a_subtask_is_not_blamed_for_deaths_of_others_beside_its_own(judged):
    assert judged(1, 4) is SubtaskState.BLOCKED
    assert judged(3, 8) is SubtaskState.BLOCKED
    assert judged(4, 9) is SubtaskState.FAILED


def test_a_subtask_that_all_its_workers_died_of_fails_at_once(judged):
    assert judged(4, 4) is SubtaskState.FAILED


def test_deaths_that_nobody_told_of_are_not_waited_for_without_end(judged):
    assert judged(2, 2) is SubtaskState.BLOCKED
    assert judged(2, 2) is SubtaskState.FAILED


@pytest.mark.parametrize(
    ("state", "cause", "is_spared"),
    [
        (JobState.RUNNING, JobCause.NONE, True),  # it was requeued
        (JobState.FAILED, JobCause.CANCELLED, True),
        (JobState.FAILED, JobCause.NODE_FAILED, True),
        (JobState.FAILED, JobCause.PREEMPTED, True),
        (JobState.FAILED, JobCause.OUT_OF_MEMORY, False),
        (JobState.FAILED, JobCause.TIME_LIMIT, False),
        (JobState.FAILED, JobCause.KILLED, False),
    ],
)
def test_a_subtask_outlives_jobs_that_are_taken_away_some_times(
    monkeypatch, state, cause, is_spared
):
    monkeypatch.setattr(lost_workers, "last_words_of", lambda *given: NOBODY)
    monkeypatch.setattr(lost_workers, "_JOB_NEWS_S", -1.0)
    spared, job = Spared(), replace(JOB, state=state, cause=cause)
    states = []
    for _ in range(7):
        one = lost(f"{JOB.name}.2", SubtaskState.FAILED)
        found = with_last_words(None, {"k": one}, str, spared, lambda name: job)
        (outcome,) = found["k"].result.outcomes
        states.append(outcome.state)
    again = 5 if is_spared else 0
    assert states == again * [SubtaskState.BLOCKED] + (7 - again) * [
        SubtaskState.FAILED
    ]


def test_a_subtask_that_killed_its_workers_is_not_spared_with_its_job(monkeypatch):
    words = Deaths(of_these={"0 0": replace(DIED, times=4)}, deaths=4)
    monkeypatch.setattr(lost_workers, "last_words_of", lambda *given: words)
    job = replace(JOB, cause=JobCause.CANCELLED)
    one = replace(lost(JOB.name, SubtaskState.FAILED), deaths=4)
    found = with_last_words(None, {"k": one}, str, Spared(), lambda name: job)
    (outcome,) = found["k"].result.outcomes
    assert outcome.state is SubtaskState.FAILED
