"""Every state of instances and tasks, and how one comes to be of another.

The names are those of the original. Moves are noted by the database itself. Steps that
the original needs for its own machinery are never taken here: tasks are made whole
(INITIALIZING), their inputs are read where they are (MARSHALING), Dask gets them in one
call (SUBMITTING), and what has ended well is published at once (WAITING_TO_STORE is left
to tasks with too many failures).

Restart modes, halts and what runs again are in `test_operations`; requests and priorities
in ``tests/integration/test_service.py``; crashes in ``tests/integration/test_kill.py``.
"""

import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest
from sqlalchemy import text

from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.definitions import Retry
from ziggy_dask.errors import DefinitionError
from ziggy_dask.records import TaskStep
from ziggy_dask.supervisor.events import TaskEnded

ALGORITHMS = """
    import time
    from pathlib import Path

    HERE = Path(__file__).parent

    def work(raw, context):
        deadline = time.monotonic() + 60
        is_held = context.unit["dataset"] == "set-2" and context.subtask == 0
        while is_held and (HERE / "hold").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if (HERE / f"broken-{context.unit['dataset']}-{context.labels[0]}").exists():
            raise ValueError("clouds")
        return raw


    def follow(out):
        return out
"""
TRIGGERS = """
    CREATE TABLE moves (id INTEGER PRIMARY KEY, what TEXT, number INT, state TEXT);
    CREATE TRIGGER task_moves AFTER UPDATE OF step, is_error ON tasks
    WHEN OLD.step <> NEW.step OR OLD.is_error <> NEW.is_error BEGIN
        INSERT INTO moves (what, number, state)
        VALUES ('task', NEW.id, iif(NEW.is_error, 'ERROR - ', '') || NEW.step);
    END;
    CREATE TRIGGER instance_moves AFTER UPDATE OF state ON instances
    WHEN OLD.state <> NEW.state BEGIN
        INSERT INTO moves (what, number, state) VALUES ('instance', NEW.id, NEW.state);
    END;
"""


def note_moves(cluster):
    """Let the database note all moves."""
    with closing(sqlite3.connect(cluster.home / "ziggy.db")) as connection:
        connection.executescript(TRIGGERS)


@pytest.fixture
def mission(cluster, code):
    """A cluster with a pipeline of two nodes on two data sets of two images."""
    root = code(ALGORITHMS)

    def define(**options):
        cluster.register(
            pipeline(
                root,
                data_type("raw", "L0"),
                data_type("out", "L1"),
                data_type("after", "L2"),
                node("work", "work", "raw", "out", **options),
                node("follow", "follow", "out", "after"),
            )
        )

    def break_(*items):
        for item in items:
            (root / f"broken-{item}").touch()

    def mend():
        for file in root.glob("broken-*"):
            file.unlink()

    note_moves(cluster)
    store(cluster, {f"set-{n}/L0": images(2, seed=n) for n in (1, 2)})
    define()
    cluster.define, cluster.break_, cluster.mend = define, break_, mend
    cluster.root = root
    return cluster


def moves(cluster, what, number=1):
    """Return the states that a task or an instance came to, in order."""
    query = text("SELECT state FROM moves WHERE what = :what AND number = :number")
    with cluster._site.database.reading() as connection:
        rows = connection.execute(query, {"what": what, "number": number})
        return list(rows.scalars())


def test_waiting_to_run_queued_executing_storing_complete(mission, client):
    mission.run("test", client=client)
    steps = ["QUEUED", "EXECUTING", "STORING", "COMPLETE"]
    for number in (1, 2, 3, 4):
        assert moves(mission, "task", number) == steps
    assert moves(mission, "instance") == ["COMPLETED"]


def test_processing_until_a_task_fails_then_errors_running_then_stalled(
    mission, client
):
    mission.break_("set-1-i0")
    hold = mission.root / "hold"
    hold.touch()

    def let_go(event):
        if isinstance(event, TaskEnded) and event.is_error:
            hold.unlink()

    instance = mission.run("test", client=client, listen=let_go)
    assert instance.state.value == "ERRORS_STALLED"
    assert moves(mission, "instance")[-2:] == ["ERRORS_RUNNING", "ERRORS_STALLED"]
    assert instance.record.finished is not None
    found = states(instance)
    assert found.pop("follow [set-1]") in ("QUEUED", "EXECUTING")  # as far as it got
    assert found == {
        "work [set-1]": "ERROR - WAITING_TO_STORE",
        "work [set-2]": "COMPLETE",
        "follow [set-2]": "COMPLETE",
    }


def test_errors_stalled_to_processing_to_completed_by_a_restart(mission, client):
    mission.break_("set-1-i0")
    mission.run("test", client=client)
    mission.mend()
    mission.restart(1, client=client)
    assert moves(mission, "instance")[-3:] == [
        "ERRORS_STALLED",
        "PROCESSING",
        "COMPLETED",
    ]
    found = moves(mission, "task")
    again = found.index("ERROR - WAITING_TO_STORE")
    assert found[again + 1] == "WAITING_TO_RUN"
    assert found[-2:] == ["STORING", "COMPLETE"]


def test_transition_failed_to_processing_to_completed_by_a_retry(cluster, code, client):
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("work", "work", "raw", "out"),
        )
    )
    note_moves(cluster)
    with pytest.raises(DefinitionError, match="no units of work"):
        cluster.run("test", client=client)
    (instance,) = cluster.instances.values()
    assert instance.state.value == "TRANSITION_FAILED"
    assert instance.record.finished is not None
    with pytest.raises(DefinitionError, match="run the pipeline anew with --set"):
        cluster.restart(instance=1, parameters={"S": {"x": 1}}, client=client)
    with pytest.raises(DefinitionError, match="no units of work"):
        cluster.restart(instance=1, client=client)
    store(cluster, {"set-1/L0": images(2)})
    (done,) = cluster.restart(instance=1, client=client)
    assert (done.id, done.state.value) == (1, "COMPLETED")
    assert moves(cluster, "instance") == [
        "TRANSITION_FAILED",
        "PROCESSING",
        "TRANSITION_FAILED",
        "PROCESSING",
        "COMPLETED",
    ]


@pytest.mark.parametrize(
    ("allowed", "times", "broken", "state", "resubmits"),
    [
        (0, 0, [], "COMPLETE", 0),
        (1, 0, ["set-1-i0"], "COMPLETE", 0),
        (0, 0, ["set-1-i0"], "ERROR - WAITING_TO_STORE", 0),
        (0, 1, ["set-1-i0"], "ERROR - WAITING_TO_STORE", 1),
        (1, 1, ["set-1-i0", "set-1-i1"], "ERROR - WAITING_TO_STORE", 1),
    ],
    ids=["persist", "persist what is allowed", "fail", "resubmit", "resubmit, fail"],
)
def test_disposition(mission, client, allowed, times, broken, state, resubmits):
    mission.define(max_failed_subtasks=allowed, retry=Retry(times=times))
    mission.break_(*broken)
    instance = mission.run("test", client=client)
    record = instance.tasks[0].record
    assert (record.state, record.resubmits) == (state, resubmits)
    assert record.failed == len(broken)


def test_counts_add_up_whatever_becomes_of_a_task(mission, client):
    mission.break_("set-1-i0", "set-2-i0", "set-2-i1")
    instance = mission.run("test", client=client)
    counts = [(t.record.complete, t.record.failed) for t in instance.tasks]
    assert counts[:2] == [(1, 1), (0, 2)]
    for task in instance.tasks:
        assert task.record.complete + task.record.failed <= task.record.total


def test_a_task_never_goes_back_but_by_a_restart(mission, client):
    mission.break_("set-1-i0")
    mission.run("test", client=client)
    mission.mend()
    mission.restart(instance=1, client=client)
    order = [step.value for step in TaskStep]
    for number in (1, 2, 3, 4):
        for one, other in pairwise(moves(mission, "task", number)):
            step, following = (s.removeprefix("ERROR - ") for s in (one, other))
            assert following == "WAITING_TO_RUN" or order.index(step) <= order.index(
                following
            )
