"""For how long jobs had a node, whatever happens to them and to who looks at them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.definitions import JobState, JobStatus
from ziggy_dask.records.jobs import _times, union_seconds

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def row(started=None, seen=None, earlier_s=0.0, ended=None):
    return SimpleNamespace(
        submitted=NOON, started=started, seen=seen, ended=ended, earlier_s=earlier_s
    )


def told(state: JobState, started=None, ended=None) -> JobStatus:
    return JobStatus(state=state, comment="", started=started, ended=ended)


def test_a_job_that_was_given_up_and_is_there_has_not_ended():
    assert _times(row(ended=at(3)), told(JobState.QUEUED), at(60)) == {"ended": None}
    assert "ended" not in _times(row(), told(JobState.RUNNING), at(60))


def test_waiting_costs_nothing():
    assert _times(row(), told(JobState.QUEUED), at(60)) == {}


def test_a_requeued_job_keeps_the_time_of_its_earlier_run():
    before = row(started=at(10), seen=at(15), earlier_s=30.0)
    assert _times(before, told(JobState.QUEUED), at(16)) == {
        "started": None,
        "seen": None,
        "earlier_s": 330.0,
    }


def test_a_job_that_began_again_between_two_looks_keeps_it_too():
    before = row(started=at(10), seen=at(15))
    values = _times(before, told(JobState.RUNNING, started=at(18)), at(19))
    assert (values["started"], values["earlier_s"]) == (at(18), 300.0)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [(None, at(15)), (at(40), at(40))],
    ids=["not told", "told by the batch system"],
)
def test_a_job_that_nobody_looked_at_ended_when_it_was_last_seen_or_as_it_is_told(
    ended, expected
):
    """A supervisor crashed at 12:15, and the next one came at 18:00."""
    before = row(started=at(10), seen=at(15))
    values = _times(before, told(JobState.CANCELLED, ended=ended), at(360))
    assert values["ended"] == expected


def test_a_job_that_is_watched_ends_now():
    before = row(started=at(10), seen=at(15))
    values = _times(before, told(JobState.ENDED), at(15.5))
    assert values["ended"] == at(15.5)


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=20)


@given(spans)
def test_the_time_of_overlapping_subtasks_counts_once(given_):
    ranges = [(begin, begin + length) for begin, length in given_]
    covered = {second for begin, end in ranges for second in range(begin, end)}
    assert union_seconds(ranges) == len(covered)


def test_a_job_that_is_told_to_end_ran_until_then_if_it_was_followed():
    """Whatever is told of its end, if anything is."""
    followed = row(started=at(10), seen=at(10))
    assert _times(followed, told(JobState.CANCELLING), at(11))["seen"] == at(11)
    assert "seen" not in _times(followed, told(JobState.CANCELLING), at(99))
    assert "seen" not in _times(row(), told(JobState.CANCELLING), at(11))
