"""Clocks count work: neither a weekend after a failure, nor a dead supervisor's night."""

import time

import pytest

from tests.conftest import new_instance
from ziggy_dask.records import (
    InstanceState,
    TaskStep,
    clocks,
    create_database,
    instances,
    outcomes,
)
from ziggy_dask.records.restarts import Reset, reset_tasks
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState

HOUR_S = 3600.0
FRIDAY_S = 1_795_000_000.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        made = create_database(f"sqlite:///{tmp_path}/ziggy.db")
    else:
        made = create_database(request.getfixturevalue("postgres").new_database())
    yield made
    made.close()


@pytest.fixture
def now(monkeypatch):
    """The time, which only moves when it is told to."""
    moment = [FRIDAY_S]
    monkeypatch.setattr(time, "time", lambda: moment[0])

    def after(hours):
        moment[0] += hours * HOUR_S

    return after


@pytest.fixture
def task(database, now):
    """An instance with one task of two subtasks."""
    new_instance(database)
    new = [instances.NewTask(position=0, node="flip", unit="[a]", plan={}, total=2)]
    return instances.create_tasks(database, 1, new, base_snapshot="A")[0]


def hours(database, task):
    """Return what the clocks of the instance and of the task show."""
    shown = (
        instances.instance(database, 1).seconds,
        instances.task(database, task).seconds,
    )
    return tuple(round(one / HOUR_S, 6) for one in shown)


def move(database, task, to, *start):
    instances.move_tasks(database, [task], to, start)


def test_a_weekend_after_a_failure_does_not_count(database, task, now):
    now(1)  # waiting for the supervisor counts for the instance alone
    move(database, task, TaskStep.QUEUED, TaskStep.WAITING_TO_RUN)
    now(2)
    move(database, task, TaskStep.EXECUTING, TaskStep.QUEUED)
    now(1)
    instances.fail_task(database, task, None, "clouds")
    instances.set_instance_state(database, 1, InstanceState.ERRORS_STALLED)
    assert hours(database, task) == (4, 3)
    now(60)
    assert hours(database, task) == (4, 3)
    reset_tasks(database, Reset(instance=1, failed=[task]))
    instances.set_instance_state(database, 1, InstanceState.PROCESSING)
    now(1)
    move(database, task, TaskStep.QUEUED, TaskStep.WAITING_TO_RUN)
    now(1)
    assert hours(database, task) == (6, 4)
    assert instances.begin_storing(database, [task]) == [task]
    outcomes.publish(database, "B", {task: {}})
    instances.set_instance_state(database, 1, InstanceState.COMPLETED)
    now(60)
    assert hours(database, task) == (6, 4)


def test_the_time_after_a_supervisor_died_does_not_count(database, task, now):
    move(database, task, TaskStep.QUEUED, TaskStep.WAITING_TO_RUN)
    now(1)
    ended = Outcome(
        subtask=0,
        state=SubtaskState.COMPLETE,
        started_s=time.time(),
        wall_s=2 * HOUR_S,
    )
    now(2)
    outcomes.record(database, [(task, BatchResult(index=0, outcomes=(ended,)))])
    now(60)
    clocks.stop_left_running(database, 1)
    assert hours(database, task) == (3, 3)
    now(1)
    assert hours(database, task) == (3, 3)
    instances.set_instance_state(database, 1, InstanceState.PROCESSING)
    move(database, task, TaskStep.WAITING_TO_RUN, TaskStep.EXECUTING)
    now(1)
    assert hours(database, task) == (4, 3)


def test_what_is_halted_is_not_stored_and_what_is_stored_is_not_halted(database, task):
    assert instances.ask_to_halt(database, [task]) == 1
    assert instances.begin_storing(database, [task]) == []
    instances.fail_task(database, task, None, "halted", "halted")
    reset_tasks(database, Reset(instance=1, as_they_are=[task]))
    assert instances.task(database, task).cause == ""
    assert instances.begin_storing(database, [task]) == [task]
    assert instances.ask_to_halt(database, [task], is_supervised=True) == 0
    assert instances.ask_to_halt(database, [task]) == 1
