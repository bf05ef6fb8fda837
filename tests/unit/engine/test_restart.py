"""Which tasks a restart takes, and which it leaves out with a reason."""

from dataclasses import replace

import pytest

from tests.conftest import new_instance
from ziggy_dask.engine.restart import (
    CodeChoice,
    Restart,
    RestartMode,
    passed_over,
    plan_restart,
)
from ziggy_dask.errors import DefinitionError, RecordsError
from ziggy_dask.planning import Feed, Span, TaskPlan, Unit, task_to_json
from ziggy_dask.records import create_database, instances, outcomes
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState


@pytest.fixture
def database(tmp_path):
    """Tasks that failed: with one failure, all complete (halted), all failed, a receipt."""
    made = create_database(f"sqlite:///{tmp_path}/ziggy.db")
    new_instance(made)
    new = [
        instances.NewTask(position=n, node="flip", unit=f"[{n}]", plan={}, total=2)
        for n in (0, 1, 2, -1)
    ]
    numbers = instances.create_tasks(made, 1, new, base_snapshot="A")
    for number, states in zip(numbers, ("CF", "CC", "FF"), strict=False):
        some = tuple(
            Outcome(
                subtask=n,
                state=SubtaskState.COMPLETE if one == "C" else SubtaskState.FAILED,
            )
            for n, one in enumerate(states)
        )
        outcomes.record(made, [(number, BatchResult(index=0, outcomes=some))])
    for number in numbers:
        instances.fail_task(made, number, None, "it failed")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("mode", "afresh", "failed", "as_they_are", "left_out"),
    [
        (None, [], [1, 2, 3], [4], []),
        (RestartMode.RESUBMIT, [], [1, 3], [], [2, 4]),
        (RestartMode.FROM_BEGINNING, [1, 2, 3], [], [], [4]),
        (RestartMode.RESUME_CURRENT_STEP, [], [], [1, 2, 4], [3]),
    ],
)
def test_a_mode_is_for_the_tasks_that_it_fits(
    database, mode, afresh, failed, as_they_are, left_out
):
    asked = Restart(tasks=(1, 2, 3, 4), mode=mode)
    (reset,) = plan_restart(database, asked)
    assert (reset.afresh, reset.failed) == (afresh, failed)
    assert reset.as_they_are == as_they_are
    assert [task.id for task, _ in passed_over(database, asked)] == left_out


@pytest.mark.parametrize(
    ("mode", "task", "reason"),
    [
        (RestartMode.RESUBMIT, 2, "all subtasks of task 2 are complete"),
        (RestartMode.RESUME_CURRENT_STEP, 3, "all subtasks of task 3 failed"),
        (RestartMode.FROM_BEGINNING, 4, "task 4 is a data receipt"),
    ],
)
def test_a_mode_that_fits_none_is_refused(database, mode, task, reason):
    with pytest.raises(DefinitionError, match=reason):
        plan_restart(database, Restart(tasks=(task,), mode=mode))


def test_what_nobody_asks_for_does_not_happen(database):
    asked = Restart(tasks=(1,))
    assert asked.code is CodeChoice.OLD
    (reset,) = plan_restart(database, asked)
    assert not reset.is_automatic
    assert reset.code is None
    assert (reset.fingerprint, reset.plans) == ("", {})
    assert (reset.changes, reset.changed) == ({}, [])


def test_a_restart_by_itself_is_told_from_one_that_is_asked_for(database):
    (reset,) = plan_restart(database, Restart(tasks=(1,), is_automatic=True))
    assert reset.is_automatic


@pytest.mark.parametrize(
    "asked",
    [
        Restart(tasks=(1, 2)),
        Restart(instance=1, mode=RestartMode.FROM_BEGINNING, code=CodeChoice.NEW),
        Restart(fingerprint="f00", changes={"Calibration": {"bias": 1.0}}),
    ],
)
def test_a_restart_that_waits_on_record_is_the_one_that_was_asked_for(asked):
    assert Restart.from_json(asked.to_json()) == asked


def test_a_restart_on_record_from_before_code_was_kept_runs_the_old_code():
    content = Restart(tasks=(1,)).to_json()
    del content["code"]
    assert Restart.from_json(content) == Restart(tasks=(1,), code=CodeChoice.OLD)


def test_an_instance_is_all_of_its_tasks_that_failed(database):
    (reset,) = plan_restart(database, Restart(instance=1))
    assert (reset.failed, reset.as_they_are) == ([1, 2, 3], [4])


def test_a_task_that_did_not_fail_is_passed_over(database):
    new = [instances.NewTask(position=3, node="flip", unit="[3]", plan={}, total=1)]
    (fine,) = instances.create_tasks(database, 1, new, base_snapshot="A")
    assert plan_restart(database, Restart(tasks=(fine,))) == []
    assert passed_over(database, Restart(tasks=(fine,))) == []


def test_a_kind_of_failure_that_nothing_has_is_refused(database):
    with pytest.raises(RecordsError, match="no failure is of the kind 'f00'"):
        plan_restart(database, Restart(fingerprint="f00"))


def new_task(database, position, plan=None, total=1):
    content = {} if plan is None else task_to_json(plan)
    new = instances.NewTask(
        position=position, node="flip", unit="[x]", plan=content, total=total
    )
    return instances.create_tasks(database, 1, [new], base_snapshot="A")[0]


def test_a_task_whose_subtasks_are_not_known_yet_can_be_resubmitted(database):
    number = new_task(database, 5, total=0)
    instances.fail_task(database, number, None, "its input can't be read")
    asked = Restart(tasks=(number,), mode=RestartMode.RESUBMIT)
    (reset,) = plan_restart(database, asked)
    assert reset.failed == [number]


@pytest.mark.parametrize("has_run", [True, False])
def test_what_read_the_old_product_is_made_again(database, has_run):
    unit = Unit(name="[x]", values=())
    first = TaskPlan(
        index=5, node="flip", unit=unit, feeds=(), targets=(), labels=None, chunk=1
    )
    feed = Feed(data_type="a", path="a", span=Span.WHOLE, labels=None, task=5)
    maker = new_task(database, 5, first)
    reader = new_task(database, 6, replace(first, index=6, feeds=(feed,)))
    instances.fail_task(database, maker, None, "it failed")
    if has_run:
        some = (Outcome(subtask=0, state=SubtaskState.COMPLETE),)
        outcomes.record(database, [(reader, BatchResult(index=6, outcomes=some))])
    asked = Restart(tasks=(maker,), mode=RestartMode.FROM_BEGINNING)
    (reset,) = plan_restart(database, asked)
    assert reset.afresh == ([maker, reader] if has_run else [maker])
