"""Which tasks a restart takes, and which it leaves out with a reason."""

import pytest

from tests.conftest import new_instance
from ziggy_dask.engine.restart import Restart, RestartMode, passed_over, plan_restart
from ziggy_dask.errors import DefinitionError
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
