"""Counts and states that the original Ziggy 0.11 shows, and one of its quirks less."""

import pytest

from ziggy_dask.records import (
    Counts,
    InstanceState,
    TaskStep,
    count_tasks,
    instance_state,
)

WAITING = (TaskStep.WAITING_TO_RUN, False)
RUNNING = (TaskStep.EXECUTING, False)
DONE = (TaskStep.COMPLETE, False)
FAILED = (TaskStep.EXECUTING, True)


@pytest.mark.parametrize(
    ("tasks", "counts", "can_go_on", "state"),
    [
        ([WAITING, WAITING], (2, 2, 0, 0), True, "PROCESSING"),
        ([RUNNING, RUNNING], (2, 0, 0, 0), True, "PROCESSING"),
        ([DONE, DONE], (2, 0, 2, 0), False, "COMPLETED"),
        ([FAILED, RUNNING], (2, 0, 0, 1), True, "ERRORS_RUNNING"),
        ([FAILED, DONE], (2, 0, 1, 1), False, "ERRORS_STALLED"),
        ([FAILED, DONE, WAITING], (3, 1, 1, 1), False, "ERRORS_STALLED"),
        ([DONE, WAITING], (2, 1, 1, 0), True, "PROCESSING"),
    ],
)
def test_an_instance_stands_as_its_tasks_do(tasks, counts, can_go_on, state):
    counted = count_tasks(tasks)
    total, waiting, complete, failed = counts
    assert (counted.total, counted.waiting, counted.complete, counted.failed) == (
        total,
        waiting,
        complete,
        failed,
    )
    assert instance_state(counted, can_go_on=can_go_on) is InstanceState(state)


def test_the_error_flag_wins_over_the_step():
    assert count_tasks([(TaskStep.COMPLETE, True)]) == Counts(failed=1)


def test_steps_follow_each_other_as_in_the_original():
    steps = [TaskStep.MARSHALING]
    while steps[-1] is not TaskStep.COMPLETE:
        steps.append(steps[-1].following())
    assert [step.value for step in steps[1:-1]] == [
        "SUBMITTING",
        "QUEUED",
        "EXECUTING",
        "WAITING_TO_STORE",
        "STORING",
    ]
    with pytest.raises(ValueError, match="no step follows COMPLETE"):
        TaskStep.COMPLETE.following()
