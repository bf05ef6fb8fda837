"""What follows for a job from what its batch system and Dask say of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

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


statuses = st.one_of(
    st.none(),
    st.builds(
        said,
        st.sampled_from([S.QUEUED, S.RUNNING, S.ENDED, S.CANCELLED, S.FAILED]),
        is_suspended=st.booleans(),
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
