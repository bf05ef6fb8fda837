"""What is counted of tasks follows what happens to them."""

import pytest

from ziggy_dask.engine.actions import FailureCause
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress, first_rank
from ziggy_dask.planning.batches import Batch, Part


def task(index, *upstream, **options):
    values = {"number": 10 + index, "node": "work", "upstream": frozenset(upstream)}
    return TaskProgress(index=index, **values | options)


def batch(number, *tasks, waits_for=()):
    return Batch(
        key=("work", number, 0),
        node="work",
        parts=tuple(Part(index, (0,)) for index in tasks),
        waits_for=waits_for,
        rank=number,
    )


@pytest.fixture
def two_units():
    """Two units of a task and one that follows it each."""
    return Progress([task(0), task(1), task(2, 0), task(3, 1)])


def test_a_unit_is_as_old_as_the_first_of_its_tasks(two_units):
    order = sorted(two_units, key=lambda one: one.order)
    assert [one.index for one in order] == [0, 2, 1, 3]
    assert [one.depth for one in two_units] == [0, 0, 1, 1]


def test_the_oldest_unit_comes_first_and_in_it_what_is_nearest_to_its_end(two_units):
    ranked = sorted(two_units, key=first_rank)
    assert [one.index for one in ranked] == [2, 0, 3, 1]


def test_alike_tasks_of_a_unit_begin_by_number():
    progress = Progress([task(0), task(1, 0), task(2, 0)])
    first, second = progress[1], progress[2]
    assert (first.ordinal, second.ordinal) == (0, 1)
    assert first_rank(first) < first_rank(second)


def test_what_follows_a_failed_task_can_not_go_on(two_units):
    assert two_units.able == 4
    two_units.failed(0, FailureCause.SUBTASKS)
    assert two_units.able == 2
    assert [two_units.is_doomed(i) for i in range(4)] == [False, False, True, False]
    assert two_units.has_failed


def test_a_task_that_was_published_lets_its_followers_begin(two_units):
    assert [two_units.has_inputs(i) for i in range(4)] == [True, True, False, False]
    two_units.published(0)
    assert [two_units.has_inputs(i) for i in range(4)] == [True, True, True, False]
    assert list(two_units.candidates) == [2, 1]
    assert two_units.is_stored([0])
    assert not two_units.is_stored([0, 1])


def test_a_batch_that_waits_is_ready_once_what_it_waits_for_is_submitted(two_units):
    before, after = batch(0, 0), batch(1, 2, waits_for=(("work", 0, 0),))
    two_units.laid_out([0, 2], [before, after])
    assert [key for _, key in two_units.ready()["work"]] == [before.key]
    assert two_units.waiters(before.key) == [after.key]
    two_units.submitted([before.key])
    assert [key for _, key in two_units.ready()["work"]] == [after.key]
    assert (two_units.in_flight, two_units.running("work")) == (1, 1)
    two_units.ended(before.key)
    assert (two_units.in_flight, two_units.subtasks_out) == (0, 1)


def test_who_is_cancelled_takes_along_what_waits_for_it_and_what_shares_its_batch():
    progress = Progress([task(0), task(1), task(2, 0)])
    shared, after = batch(0, 0, 1), batch(1, 2, waits_for=(("work", 0, 0),))
    progress.laid_out([0, 1, 2], [shared, after])
    progress.submitted([shared.key])
    assert progress.cancelled([0]) == [shared.key]
    assert not progress.is_laid_out(after.key)
    assert [one.outstanding for one in progress] == [0, 0, 0]
    assert (progress.in_flight, progress.subtasks_out) == (0, 0)


def test_a_task_waits_to_be_published_when_its_last_batch_has_ended(two_units):
    one = batch(0, 0)
    two_units.laid_out([0], [one])
    two_units.submitted([one.key])
    two_units.recorded(0, complete=[0])
    assert two_units.to_publish == []
    two_units.ended(one.key)
    assert two_units.to_publish == [0]
    two_units.published(0)
    assert two_units.to_publish == []


def test_that_subtasks_were_lost_together_is_not_forgotten(two_units):
    two_units.recorded(0, failed=[0])
    assert not two_units[0].lost_together
    two_units.recorded(0, failed=[1], lost_together=True)
    two_units.recorded(0, failed=[2])
    assert two_units[0].lost_together
    assert not two_units[1].lost_together


def test_a_task_that_is_planned_anew_has_done_nothing(two_units):
    one = batch(0, 0)
    two_units.laid_out([0], [one])
    two_units.submitted([one.key])
    two_units.recorded(0, complete=[0])
    assert two_units.reopened([0]) == [one.key]
    again = two_units[0]
    assert (again.standing, again.is_open, again.count) == (Standing.WAITING, True, 0)
    assert not again.complete
    assert two_units.to_publish == []
    two_units.settled(0, 2)
    assert next(iter(two_units.candidates)) == 0
    assert again.left == 2


def test_what_was_decided_on_is_not_looked_at_again(two_units):
    assert two_units.touched == [0, 1, 2, 3]
    two_units.looked()
    two_units.recorded(1, failed=[0])
    assert two_units.touched == [1]
