"""What follows for a job from what its batch system and Dask say of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.pools.fates import (
    GONE_QUEUED_S,
    GONE_RUNNING_S,
    UNNAMED_S,
    UNNEEDED,
    UNSEEN_S,
    Adopt,
    Cancel,
    Note,
    Retire,
    Sighting,
    Warn,
    explained,
    follow,
)
from ziggy_dask.records.jobs import JobRecord

JOB = JobRecord(
    id=1,
    name="ziggy-test-1-fit-3f9a",
    number="7",
    instance=1,
    environment="lab",
    architecture="node",
    queue="",
    wall_s=900.0,
    cost_per_hour=1.0,
    state=JobState.RUNNING,
    comment="",
    cause=JobCause.NONE,
    exit_code=None,
    submitted=datetime.now(UTC),
    started=None,
    ended=None,
)
S = JobState


def said(state: JobState, comment: str = "WORD", **more) -> JobStatus:
    return JobStatus(state=state, comment=comment, **more)


def seen(state: JobState, status: JobStatus | None = None, **more) -> Sighting:
    number = more.pop("number", "7")
    comment = more.pop("comment", "")
    job = replace(JOB, state=state, number=number, comment=comment)
    more.setdefault("is_answered", status is not None)
    return Sighting(job=job, said=status, **more)


def kinds(sighting: Sighting) -> list[type]:
    return [type(action) for action in follow(sighting)]


ENDED = said(S.FAILED, "TIMEOUT", cause=JobCause.TIME_LIMIT)
STUCK = said(S.QUEUED, "PENDING: launch_failed_requeued_held", is_stuck=True)
ENDING = said(S.RUNNING, "COMPLETING", is_ending=True)
HELD = said(S.RUNNING, "SUSPENDED", is_suspended=True)


@pytest.mark.parametrize(
    ("sighting", "actions"),
    [
        # Nothing is known: nothing follows.
        (seen(S.QUEUED), []),
        (seen(S.RUNNING), []),
        (seen(S.RUNNING, has_worker=True), []),
        # A worker that is here runs, whatever the listing says.
        (seen(S.QUEUED, has_worker=True), [Note]),
        (seen(S.QUEUED, said(S.QUEUED), has_worker=True), [Note]),
        (seen(S.RUNNING, None, is_answered=True, missing_s=999, has_worker=True), []),
        # What a listing lacks has ended after a while.
        (seen(S.RUNNING, None, is_answered=True, missing_s=GONE_RUNNING_S - 1), []),
        (
            seen(S.RUNNING, None, is_answered=True, missing_s=GONE_RUNNING_S),
            [Note, Retire, Cancel],
        ),
        (seen(S.QUEUED, None, is_answered=True, missing_s=GONE_QUEUED_S - 1), []),
        (
            seen(S.QUEUED, None, is_answered=True, missing_s=GONE_QUEUED_S),
            [Note, Retire, Cancel],
        ),
        (seen(S.RUNNING, None, is_answered=False, missing_s=999), []),
        # What the batch system says of an end counts even if the worker seems to be here.
        (seen(S.RUNNING, ENDED, has_worker=True), [Note, Retire, Cancel]),
        (seen(S.RUNNING, said(S.ENDED), has_worker=True), [Note, Retire]),
        (seen(S.RUNNING, said(S.CANCELLED), has_worker=True), [Note, Retire]),
        # Requeued, begun again, held.
        (
            seen(S.RUNNING, said(S.QUEUED), was_listed_running=True, has_worker=True),
            [Note, Retire, Warn],
        ),
        (
            seen(S.RUNNING, said(S.RUNNING), is_restarted=True, has_worker=True),
            [Retire, Warn],
        ),
        (seen(S.RUNNING, HELD, has_worker=True), [Note, Retire, Cancel, Warn]),
        # It never begins by itself.
        (seen(S.QUEUED, STUCK), [Note, Retire, Cancel]),
        (seen(S.RUNNING, STUCK, was_listed_running=True), [Note, Retire, Cancel]),
        (seen(S.CANCELLING, STUCK, cancels=1, since_cancel_s=5), [Cancel]),
        # Its processes have gone, or their node does not answer.
        (seen(S.RUNNING, ENDING, has_worker=True), [Retire]),
        (seen(S.RUNNING, ENDING), []),
        (seen(S.QUEUED, ENDING), [Note]),
        (seen(S.RUNNING, replace(ENDING, state=S.FAILED)), [Note, Retire, Cancel]),
        # Word of what a job waits for.
        (seen(S.QUEUED, said(S.QUEUED, "PENDING: Resources")), [Note]),
        (seen(S.QUEUED, said(S.QUEUED, "WORD"), comment="WORD"), []),
        (seen(S.QUEUED, said(S.RUNNING)), [Note]),
        # Told to end: seen, told again, told to operators.
        (seen(S.CANCELLING, ENDED), [Note, Retire]),
        (seen(S.CANCELLING, said(S.RUNNING), cancels=1, since_cancel_s=4), []),
        (seen(S.CANCELLING, said(S.RUNNING), cancels=1, since_cancel_s=5), [Cancel]),
        (
            seen(S.CANCELLING, said(S.RUNNING), cancels=3, since_cancel_s=20),
            [Cancel, Warn],
        ),
        (
            seen(S.CANCELLING, None, is_answered=True, is_missing=True, cancels=1),
            [Note, Retire],
        ),
        (seen(S.CANCELLING, None, cancels=1, since_cancel_s=1), []),
        # A submission that failed half way.
        (seen(S.SUBMITTING, None, number="", age_s=UNSEEN_S - 1, has_names=True), []),
        (seen(S.SUBMITTING, said(S.QUEUED), number=""), [Adopt]),
        (seen(S.SUBMITTING, None, number="", has_worker=True), [Adopt, Note]),
        (seen(S.CANCELLING, None, number="", has_worker=True), [Adopt]),
        (
            seen(
                *(S.SUBMITTING, None),
                number="",
                age_s=UNSEEN_S,
                has_names=True,
                is_answered=True,
            ),
            [Note],
        ),
        (seen(S.SUBMITTING, None, number="", age_s=UNNAMED_S - 1), []),
        (seen(S.SUBMITTING, None, number="", age_s=UNNAMED_S), [Note]),
    ],
)
def test_what_follows(sighting, actions):
    assert kinds(sighting) == actions


def test_a_job_that_was_told_to_end_keeps_the_reason_and_gets_its_times():
    status = said(S.CANCELLED, exit_code=143, started=JOB.submitted)
    (note, _) = follow(seen(S.CANCELLING, status, comment=UNNEEDED))
    assert isinstance(note, Note)
    assert note.status.comment == UNNEEDED
    assert (note.status.state, note.status.exit_code) == (S.CANCELLED, 143)
    assert note.status.started == JOB.submitted
    assert not note.is_end


def test_a_job_that_was_stuck_ends_as_failed_with_its_cause():
    (note, *_) = follow(seen(S.QUEUED, STUCK))
    assert isinstance(note, Note)
    assert note.is_end
    assert note.status.cause is JobCause.NOT_STARTED
    gone = seen(S.CANCELLING, said(S.CANCELLED))
    gone = replace(gone, job=replace(gone.job, cause=note.status.cause))
    (end, _) = follow(gone)
    assert isinstance(end, Note)
    assert (end.status.state, end.status.cause) == (S.FAILED, JobCause.NOT_STARTED)


@pytest.mark.parametrize(
    ("ran_s", "cause", "explained_by"),
    [
        (900.0, JobCause.KILLED, JobCause.TIME_LIMIT),
        (899.0, JobCause.KILLED, JobCause.KILLED),
        (1e6, JobCause.OUT_OF_MEMORY, JobCause.OUT_OF_MEMORY),
        (1e6, JobCause.NONE, JobCause.NONE),
        (None, JobCause.KILLED, JobCause.KILLED),
    ],
)
def test_what_a_signal_ends_at_its_wall_time_reached_that(ran_s, cause, explained_by):
    ended = None if ran_s is None else JOB.submitted + timedelta(seconds=ran_s)
    status = said(S.FAILED, cause=cause, started=JOB.submitted, ended=ended)
    assert explained(JOB, status, had_worker=True).cause is explained_by


@pytest.mark.parametrize(
    ("state", "cause", "had_worker", "expected"),
    [
        (S.FAILED, JobCause.NONE, False, JobCause.NOT_STARTED),
        (S.FAILED, JobCause.NONE, True, JobCause.NONE),
        (S.FAILED, JobCause.NODE_FAILED, False, JobCause.NODE_FAILED),
        (S.ENDED, JobCause.NONE, False, JobCause.NONE),
        (S.CANCELLED, JobCause.NONE, False, JobCause.NONE),
        (S.RUNNING, JobCause.NONE, False, JobCause.NONE),
    ],
)
def test_what_fails_before_its_worker_comes_did_not_start_it(
    state, cause, had_worker, expected
):
    status = said(state, cause=cause)
    assert explained(JOB, status, had_worker=had_worker).cause is expected


statuses = st.one_of(
    st.none(),
    st.builds(
        said,
        st.sampled_from([S.QUEUED, S.RUNNING, S.ENDED, S.CANCELLED, S.FAILED]),
        is_suspended=st.booleans(),
        is_stuck=st.booleans(),
        is_ending=st.booleans(),
    ),
)
sightings = st.builds(
    seen,
    st.sampled_from([S.SUBMITTING, S.QUEUED, S.RUNNING, S.CANCELLING]),
    statuses,
    number=st.sampled_from(["", "7"]),
    is_answered=st.booleans(),
    is_missing=st.booleans(),
    has_names=st.booleans(),
    has_worker=st.booleans(),
    was_listed_running=st.booleans(),
    is_restarted=st.booleans(),
    missing_s=st.floats(0, 1000),
    age_s=st.floats(0, 1000),
    since_cancel_s=st.floats(0, 1000),
    cancels=st.integers(0, 9),
)


@given(sightings)
def test_laws_of_all_facts(sighting):
    actions = follow(sighting)
    ends = [a for a in actions if isinstance(a, Note) and a.status.state.is_final]
    if ends and sighting.job.number:
        assert Retire() in actions, "no worker outlives its job on the scheduler"
    if ends and sighting.said is None and sighting.job.state is not S.CANCELLING:
        assert not sighting.has_worker, "silence ends no job whose worker is here"
    if Retire() in actions:
        assert sighting.said is not None or ends, "only word of its job takes a worker"
    if not sighting.is_answered and sighting.said is None and sighting.job.number:
        assert not ends or sighting.is_missing
    assert len([a for a in actions if isinstance(a, Note)]) <= 1
