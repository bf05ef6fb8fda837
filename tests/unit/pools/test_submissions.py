"""What is learned from replies to submissions, on a clock that tests set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.compute.batch.replies import Meaning, Reply
from ziggy_dask.pools.submissions import (
    FIRST_S,
    LONGEST_S,
    UNKNOWN_TRIES,
    Intake,
    Loudness,
    Refuse,
    Tell,
    after_reply,
    after_success,
    allowed,
)


def reply(meaning: Meaning, words: str = "their own words", key: str = "") -> Reply:
    return Reply(meaning=meaning, words=words, key=key)


def test_what_passes_is_tried_again_after_growing_pauses_and_told_once():
    intake, now, pauses, told = Intake(), 0.0, [], []
    for _ in range(9):
        intake, more = after_reply("lab", intake, reply(Meaning.PASSING), 2, now)
        told += more
        assert allowed(intake, 0, 2, now) == 0
        pauses.append(intake.retry_at - now)
        now = intake.retry_at
        assert allowed(intake, 0, 2, now) > 0
    assert pauses[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_S
    assert [one.loudness for one in told] == [
        Loudness.WARNING,
        Loudness.INFRASTRUCTURE,
    ]
    assert all("their own words" in one.message for one in told)
    intake, (again,) = after_success("lab", intake, 3, now)
    assert "takes jobs again" in again.message
    assert intake == Intake()


def test_a_limit_is_learned_and_one_more_is_tried_seldom():
    intake, (told,) = after_reply("lab", Intake(), reply(Meaning.LIMIT), 2, 0.0)
    assert isinstance(told, Tell)
    assert "no more than 2 jobs" in told.message
    assert "max_jobs: 2" in told.message
    assert [allowed(intake, 0, open_, 1.0) for open_ in (0, 1, 2)] == [2, 1, 0]
    assert allowed(intake, 0, 2, 60.0) == 1
    intake, told_again = after_reply("lab", intake, reply(Meaning.LIMIT), 2, 60.0)
    assert told_again == ()
    assert allowed(intake, 0, 2, 120.0) == 0
    assert allowed(intake, 0, 2, 180.0) == 1
    intake, _ = after_success("lab", intake, 3, 180.0)
    assert intake.learned_max == 3


def test_a_limit_that_others_have_used_up_is_waited_for():
    intake, (told,) = after_reply("lab", Intake(), reply(Meaning.LIMIT), 0, 0.0)
    assert isinstance(told, Tell)
    assert intake.learned_max == 0
    assert allowed(intake, 0, 0, FIRST_S) > 0


def test_what_is_permanent_is_refused_at_once_with_the_key_that_asked():
    permanent = reply(Meaning.PERMANENT, "Invalid account", "'account'")
    _, told = after_reply("lab", Intake(), permanent, 2, 0.0)
    assert told == (Refuse(reason="Invalid account (fix 'account')"),)


def test_what_nobody_knows_is_tried_a_few_times():
    intake, now = Intake(), 0.0
    for _ in range(UNKNOWN_TRIES - 1):
        intake, told = after_reply("lab", intake, reply(Meaning.UNKNOWN), 2, now)
        assert not [one for one in told if isinstance(one, Refuse)]
        now = intake.retry_at
    _, (refused,) = after_reply("lab", intake, reply(Meaning.UNKNOWN), 2, now)
    assert isinstance(refused, Refuse)
    assert "their own words" in refused.reason


@given(
    events=st.lists(st.sampled_from([None, *Meaning]), max_size=30),
    max_jobs=st.integers(0, 5),
    site_limit=st.integers(1, 5),
)
def test_no_more_jobs_than_a_limit_and_never_given_up_unless_told(
    events, max_jobs, site_limit
):
    """A site with a limit; replies that have nothing to do with it come between."""
    intake, now, open_ = Intake(), 0.0, 0
    for event in events:
        now += 1000.0
        if not allowed(intake, max_jobs, open_, now):
            assert max_jobs, "without a limit of the file something is tried in the end"
            continue
        assert not max_jobs or open_ < max_jobs
        if event in (None, Meaning.LIMIT) and open_ < site_limit:
            open_ += 1
            intake, _ = after_success("lab", intake, open_, now)
            continue
        meaning = event or Meaning.LIMIT
        intake, told = after_reply("lab", intake, reply(meaning), open_, now)
        if [one for one in told if isinstance(one, Refuse)]:
            assert meaning in (Meaning.PERMANENT, Meaning.UNKNOWN)
            return
