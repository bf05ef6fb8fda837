"""Each rule of the core by itself, without Dask, database or datastore."""

import pytest

from ziggy_dask.engine.actions import (
    Cancel,
    EndCause,
    EndInstance,
    Fail,
    FailureCause,
    LayOut,
    Leave,
    Publish,
    Retry,
    SetAside,
    Settle,
    ShowErrors,
    StopCause,
    Submit,
    Unblock,
)
from ziggy_dask.engine.decide import Asked, NodeRules, Rules, decide
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress, first_rank
from ziggy_dask.planning.batches import Batch, Part
from ziggy_dask.records.states import InstanceState


def task(index, *upstream, node="work", **options):
    values = {"number": 10 + index, "upstream": frozenset(upstream)} | options
    return TaskProgress(index=index, node=node, **values)


def rules(window=1000, **nodes):
    return Rules(
        nodes={"work": NodeRules(), "next": NodeRules()} | nodes, window=window
    )


def batches_of(progress, indices, waits=()):
    """Return a batch per subtask, of which each waits for the same of the task before."""
    made = []
    for index in indices:
        one = progress[index]
        for number in range(one.count):
            key = (one.node, index, number)
            upstream = [("work", i, number) for i in one.upstream if i in indices]
            made.append(
                Batch(
                    key=key,
                    node=one.node,
                    parts=(Part(index, (number,)),),
                    waits_for=tuple(upstream),
                    rank=first_rank(one) + number,
                )
            )
    return made


def handed_out(*tasks, said=None):
    """Return progress of tasks whose batches are all laid out and submitted."""
    progress = Progress(tasks)
    said = said or rules()
    while True:
        actions = decide(progress, said)
        progress.looked()
        if not actions:
            return progress
        for action in actions:
            if isinstance(action, LayOut):
                progress.laid_out(action.tasks, batches_of(progress, action.tasks))
            elif isinstance(action, Submit):
                progress.submitted(action.keys)
            else:
                raise AssertionError(action)


def end(progress, index, *, good=(), bad=(), blocked=(), **options):
    progress.recorded(index, complete=good, failed=bad, blocked=blocked, **options)
    for number in (*good, *bad, *blocked):
        progress.ended((progress[index].node, index, number))


def decided(progress, said=None, asked=None, now=0.0):
    actions = decide(progress, said or rules(), asked or Asked(), now)
    progress.looked()
    return actions


# -- beginning ---------------------------------------------------------------------------


def test_what_waits_is_laid_out_with_all_that_follows():
    progress = Progress([task(0), task(1, 0, node="next")])
    assert decided(progress) == [LayOut((0, 1))]


def test_the_oldest_unit_comes_first_and_goes_to_its_end():
    tasks = [task(0), task(1), task(2, 0, node="next"), task(3, 1, node="next")]
    assert decided(Progress(tasks)) == [LayOut((0, 2, 1, 3))]


def test_no_more_is_laid_out_than_the_window_has_room_for():
    tasks = [task(index, count=2) for index in range(5)]
    assert decided(Progress(tasks), rules(window=4)) == [LayOut((0, 1))]


@pytest.mark.parametrize(("ended", "next_ones"), [(1, []), (2, [LayOut((4, 5))])])
def test_more_is_laid_out_when_half_of_the_window_is_free(ended, next_ones):
    progress = Progress([task(index) for index in range(8)])
    progress.laid_out([0, 1, 2, 3], batches_of(progress, [0, 1, 2, 3]))
    progress.submitted([("work", index, 0) for index in range(4)])
    for index in range(ended):
        end(progress, index, good=[0])
        progress.published(index)
    progress.looked()
    assert decided(progress, rules(window=4)) == next_ones


def test_what_must_wait_for_the_store_is_not_laid_out_before():
    tasks = [task(0), task(1, 0, node="next", after=frozenset([0]))]
    assert decided(Progress(tasks)) == [LayOut((0,))]


def test_an_open_task_is_settled_once_its_inputs_are_stored():
    progress = handed_out(task(0), task(1, 0, node="next", is_open=True, count=0))
    end(progress, 0, good=[0])
    assert decided(progress) == [Publish((0,))]
    progress.published(0)
    assert decided(progress) == [Settle((1,))]
    progress.settled(1, 0)
    assert decided(progress) == [Publish((1,))]


def test_batches_are_submitted_lower_ranks_first():
    progress = Progress([task(0, count=2), task(1, 0, node="next", count=2)])
    (lay_out,) = decided(progress)
    progress.laid_out(lay_out.tasks, batches_of(progress, lay_out.tasks))
    (submit,) = decided(progress)
    assert set(submit.keys) == {
        ("work", 0, 0),
        ("work", 0, 1),
        ("next", 1, 0),
        ("next", 1, 1),
    }
    ranks = {key: progress.batch(key).rank for key in submit.keys}
    assert sorted(ranks, key=ranks.__getitem__) == [
        ("next", 1, 0),
        ("next", 1, 1),
        ("work", 0, 0),
        ("work", 0, 1),
    ]


@pytest.mark.parametrize(("limit", "at_once"), [(1, 1), (2, 2), (0, 6)])
def test_max_workers_holds_for_all_tasks_of_a_node(limit, at_once):
    said = rules(work=NodeRules(max_workers=limit))
    progress = handed_out(task(0, count=3), task(1, count=3), said=said)
    assert progress.in_flight == at_once


def test_a_free_slot_takes_the_next_subtask_of_any_task():
    said = rules(work=NodeRules(max_workers=2))
    progress = handed_out(task(0, count=3), task(1, count=1), said=said)
    end(progress, 0, good=[1])
    assert decided(progress, said) == [Submit((("work", 0, 2),))]
    progress.submitted([("work", 0, 2)])
    end(progress, 0, good=[2])
    assert decided(progress, said) == [Submit((("work", 1, 0),))]


def test_what_follows_a_limited_node_is_submitted_with_what_it_waits_for():
    said = rules(work=NodeRules(max_workers=1))
    progress = Progress([task(0, count=2), task(1, 0, node="next", count=2)])
    (lay_out,) = decided(progress, said)
    progress.laid_out(lay_out.tasks, batches_of(progress, lay_out.tasks))
    (submit,) = decided(progress, said)
    assert submit.keys == (("work", 0, 0), ("next", 1, 0))


# -- ending ------------------------------------------------------------------------------


def test_what_is_ready_is_published_in_one_commit():
    progress = handed_out(task(0), task(1), task(2))
    end(progress, 0, good=[0])
    end(progress, 2, good=[0])
    assert decided(progress) == [Publish((0, 2))]


def test_commits_leave_time_for_other_work_but_never_wait_for_nothing():
    progress = handed_out(task(0), task(1))
    progress.publish_after = 5.0
    end(progress, 0, good=[0])
    assert decided(progress, now=4.0) == []
    assert decided(progress, now=6.0) == [Publish((0,))]
    end(progress, 1, good=[0])
    assert decided(progress, now=4.0) == [Publish((0, 1))]


@pytest.mark.parametrize(
    ("allowed", "tolerated", "failed", "is_stored"),
    [
        (0, 0, 0, True),
        (0, 0, 1, False),
        (1, 0, 1, True),
        (1, 0, 2, False),
        (0, 2, 2, True),
    ],
)
def test_disposition_of_failed_subtasks(allowed, tolerated, failed, is_stored):
    progress = handed_out(task(0, count=3, tolerated=tolerated))
    numbers = range(3)
    end(progress, 0, good=numbers[failed:], bad=numbers[:failed])
    actions = decided(progress, rules(work=NodeRules(max_failed=allowed)))
    assert actions == [Publish((0,)) if is_stored else Fail(0, FailureCause.SUBTASKS)]


def test_a_failed_task_is_shown_while_others_go_on():
    progress = handed_out(task(0), task(1))
    end(progress, 0, bad=[0])
    assert decided(progress) == [ShowErrors(), Fail(0, FailureCause.SUBTASKS)]
    progress.failed(0, FailureCause.SUBTASKS)
    progress.shows_errors = True
    assert decided(progress) == []
    end(progress, 1, good=[0])
    assert decided(progress) == [Publish((1,))]
    progress.published(1)
    assert decided(progress) == [
        EndInstance(InstanceState.ERRORS_STALLED, EndCause.FAILED_TASKS)
    ]


def test_what_a_failure_blocks_waits_again():
    progress = handed_out(task(0), task(1, 0, node="next"), task(2))
    end(progress, 0, bad=[0])
    end(progress, 1, blocked=[0])
    assert decided(progress)[1:] == [Fail(0, FailureCause.SUBTASKS), SetAside((1,))]
    progress.failed(0, FailureCause.SUBTASKS)
    progress.set_aside(1)
    progress.shows_errors = True
    assert decided(progress) == []
    assert progress[1].standing is Standing.ASIDE


def test_what_was_blocked_runs_when_its_inputs_are_stored_without_the_failure():
    said = rules(work=NodeRules(max_failed=1))
    progress = handed_out(task(0), task(1, 0, node="next"), said=said)
    end(progress, 0, bad=[0])
    end(progress, 1, blocked=[0])
    assert SetAside((1,)) in decided(progress, said)
    progress.set_aside(1)
    assert decided(progress, said) == [Publish((0,))]
    progress.published(0)
    assert decided(progress, said) == [Unblock((1,))]
    progress.unblocked(1)
    assert decided(progress, said) == [LayOut((1,))]


def test_all_complete():
    progress = Progress([task(0, standing=Standing.COMPLETE)])
    assert decided(progress) == [
        EndInstance(InstanceState.COMPLETED, EndCause.COMPLETE)
    ]


def test_a_task_that_no_worker_can_take_fails_alone():
    progress = handed_out(task(0), task(1, node="next"))
    progress = Progress([task(0), task(1, node="next")])
    progress.obstructed(1, "too large")
    assert decided(progress)[1] == Fail(1, FailureCause.NOT_HANDED_OUT, "too large")


def test_a_task_whose_items_can_not_be_told_apart_fails_and_is_not_retried():
    progress = handed_out(task(0))
    end(progress, 0, good=[0])
    assert decided(progress) == [Publish((0,))]
    progress.obstructed(0, "two items of one name")
    (fail,) = decided(progress)
    assert fail == Fail(0, FailureCause.NOT_STORABLE, "two items of one name")
    progress.failed(0, fail.cause)
    assert decided(progress, rules(work=NodeRules(retries=5))) == [
        EndInstance(InstanceState.ERRORS_STALLED, EndCause.FAILED_TASKS)
    ]


def test_a_task_that_was_planned_with_other_items_begins_anew():
    progress = handed_out(
        task(0, count=2),
        task(1, 0, node="next", count=2),
        task(2, 1, node="next", count=2),
    )
    end(progress, 0, good=[0, 1])
    end(progress, 1, good=[0], blocked=[1])
    progress.published(0)
    cancelled = progress.reopened([1, 2])
    assert sorted(cancelled) == [("next", 2, 0), ("next", 2, 1)]
    assert not progress.is_laid_out(("next", 2, 0))
    assert progress.subtasks_out == progress.in_flight == 0
    assert decided(progress) == [Settle((1,))]
    progress.settled(1, 3)
    assert decided(progress) == [LayOut((1,))]
    progress.laid_out([1], batches_of(progress, [1]))
    (submit,) = decided(progress)
    progress.submitted(submit.keys)
    end(progress, 1, good=[0, 1, 2])
    assert decided(progress) == [Publish((1,))]
    progress.published(1)
    assert decided(progress) == [Settle((2,))]


def test_a_task_whose_inputs_can_not_be_read_fails():
    progress = Progress([task(0, is_open=True, count=0)])
    progress.obstructed(0, "gone")
    assert decided(progress) == [Fail(0, FailureCause.NOT_SETTLED, "gone")]


# -- retries -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "retries", "resubmits", "together", "again"),
    [
        (FailureCause.SUBTASKS, 0, 0, False, False),
        (FailureCause.SUBTASKS, 1, 0, False, True),
        (FailureCause.SUBTASKS, 1, 1, False, False),
        (FailureCause.SUBTASKS, 2, 1, False, True),
        (FailureCause.SUBTASKS, 0, 0, True, True),
        (FailureCause.SUBTASKS, 0, 1, True, False),
        (FailureCause.HALTED, 5, 0, True, False),
        (FailureCause.REFUSED, 5, 0, True, False),
        (FailureCause.NOT_HANDED_OUT, 5, 0, False, False),
        (None, 5, 0, False, False),
    ],
)
def test_what_runs_once_more_by_itself(cause, retries, resubmits, together, again):
    failed = task(
        0,
        standing=Standing.FAILED,
        cause=cause,
        failed={0},
        resubmits=resubmits,
        lost_together=together,
    )
    said = rules(work=NodeRules(retries=retries))
    is_last = EndInstance(InstanceState.ERRORS_STALLED, EndCause.FAILED_TASKS)
    assert decided(Progress([failed]), said) == [Retry((0,)) if again else is_last]


# -- halts, refusals, stops --------------------------------------------------------------


def halted(index):
    return Fail(index, FailureCause.HALTED, "halted by an operator")


@pytest.mark.parametrize("limit", [0, 1])
def test_a_halt_of_a_queued_task_leaves_the_others_of_its_node_alone(limit):
    said = rules(work=NodeRules(max_workers=limit))
    progress = handed_out(task(0, count=2), task(1, count=2), said=said)
    assert decided(progress, said, Asked(halts=frozenset([11]))) == [
        ShowErrors(),
        halted(1),
        Cancel((1,), (1,)),
    ]
    keys = progress.cancelled([1])
    progress.failed(1, FailureCause.HALTED)
    progress.shows_errors = True
    assert all(key[1] == 1 for key in keys)
    for number in (0, 1):
        assert decided(progress, said) == []
        end(progress, 0, good=[number])
        if limit and number == 0:
            assert decided(progress, said) == [Submit((("work", 0, 1),))]
            progress.submitted([("work", 0, 1)])
    assert decided(progress, said) == [Publish((0,))]


def test_a_halt_ends_what_runs_for_followers_too():
    progress = handed_out(task(0), task(1, 0, node="next"), task(2))
    actions = decided(progress, asked=Asked(halts=frozenset([10])))
    assert actions == [ShowErrors(), halted(0), Cancel((0,), (0, 1))]


def test_the_last_task_that_fails_ends_the_instance_without_showing_errors_before():
    progress = handed_out(task(0), task(1, 0, node="next"))
    actions = decided(progress, asked=Asked(halts=frozenset([10])))
    assert actions == [halted(0), Cancel((0,), (0, 1))]


def test_a_halt_comes_before_publishing():
    progress = handed_out(task(0), task(1))
    end(progress, 0, good=[0])
    actions = decided(progress, asked=Asked(halts=frozenset([10])))
    assert halted(0) in actions
    assert not any(isinstance(one, Publish) for one in actions)


def test_a_halt_of_what_has_ended_does_nothing():
    progress = Progress([task(0, standing=Standing.COMPLETE), task(1)])
    assert decided(progress, asked=Asked(halts=frozenset([10, 99]))) == [LayOut((1,))]


def test_tasks_of_an_environment_that_takes_no_jobs_fail():
    progress = handed_out(task(0, environment="lab"), task(1))
    asked = Asked(refusals={"lab": "it is closed"})
    assert decided(progress, asked=asked) == [
        ShowErrors(),
        Fail(0, FailureCause.REFUSED, "it is closed"),
        Cancel((0,), (0,)),
    ]


def test_what_has_ended_in_an_environment_that_takes_no_more_jobs_is_published():
    progress = handed_out(task(0, environment="lab"))
    end(progress, 0, good=[0])
    asked = Asked(refusals={"lab": "it is closed"})
    assert decided(progress, asked=asked) == [Publish((0,))]


@pytest.mark.parametrize("cause", list(StopCause))
def test_a_supervisor_that_is_to_stop_leaves_at_once(cause):
    progress = handed_out(task(0))
    end(progress, 0, bad=[0])
    assert decided(progress, asked=Asked(stop=cause)) == [Leave(cause)]


def test_a_cancelled_neighbour_in_the_same_batch_is_laid_out_again():
    progress = Progress([task(0), task(1)])
    batch = Batch(
        key=("work", 0, 0),
        node="work",
        parts=(Part(0, (0,)), Part(1, (0,))),
        waits_for=(),
    )
    progress.laid_out([0, 1], [batch])
    progress.submitted([batch.key])
    progress.looked()
    decided(progress, asked=Asked(halts=frozenset([10])))
    progress.failed(0, FailureCause.HALTED)
    assert progress.cancelled([0]) == [batch.key]
    progress.shows_errors = True
    assert decided(progress) == [Unblock((1,))]


def shared_batch(*indices):
    """Return progress of tasks that share a batch, which is handed out."""
    progress = Progress([task(index) for index in indices])
    parts = tuple(Part(index, (0,)) for index in indices)
    batch = Batch(key=("work", 0, 0), node="work", parts=parts, waits_for=())
    progress.laid_out(indices, [batch])
    progress.submitted([batch.key])
    progress.looked()
    return progress, batch


def test_tasks_of_a_shared_batch_end_as_they_do_themselves():
    progress, batch = shared_batch(0, 1, 2)
    progress.recorded(0, complete=[0])
    progress.recorded(1, failed=[0])
    progress.recorded(2, complete=[0])
    progress.ended(batch.key)
    assert decided(progress) == [ShowErrors(), Fail(1, FailureCause.SUBTASKS)]
    progress.failed(1, FailureCause.SUBTASKS)
    progress.shows_errors = True
    assert decided(progress) == [Publish((0, 2))]


def test_what_waits_for_a_cancelled_shared_batch_is_taken_out_too():
    tasks = [task(0), task(1), task(2, 0, node="next"), task(3, 1, node="next")]
    progress = Progress(tasks)
    shared = Batch(
        key=("work", 0, 0),
        node="work",
        parts=(Part(0, (0,)), Part(1, (0,))),
        waits_for=(),
    )
    after = [
        Batch(
            key=("next", index, 0),
            node="next",
            parts=(Part(index, (0,)),),
            waits_for=(shared.key,),
        )
        for index in (2, 3)
    ]
    progress.laid_out([0, 1, 2, 3], [shared, *after])
    progress.submitted([shared.key, after[0].key, after[1].key])
    progress.looked()
    *_, cancel = decided(progress, asked=Asked(halts=frozenset([10])))
    assert cancel == Cancel((0,), (0, 2))
    progress.failed(0, FailureCause.HALTED)
    keys = {shared.key, ("next", 2, 0), ("next", 3, 0)}
    assert set(progress.cancelled(cancel.tasks)) == keys
    progress.shows_errors = True
    assert decided(progress) == [Unblock((1,)), SetAside((2, 3))]


def test_a_task_does_not_fail_before_its_last_batch_has_ended():
    progress = handed_out(task(0))
    progress.recorded(0, failed=[0])
    assert decided(progress) == []
    progress.ended(("work", 0, 0))
    assert decided(progress) == [Fail(0, FailureCause.SUBTASKS)]


def test_an_instance_ends_by_name_when_tasks_are_left_that_can_never_begin():
    progress = Progress([task(0, 0)])  # it waits for itself, by a defect
    assert decided(progress) == [
        EndInstance(InstanceState.TRANSITION_FAILED, EndCause.STUCK)
    ]


def test_deciding_changes_nothing():
    progress = handed_out(task(0), task(1, 0, node="next"))
    end(progress, 0, good=[0])
    assert decide(progress, rules()) == decide(progress, rules())
