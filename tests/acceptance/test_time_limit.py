"""Python functions that take too long are ended, and nothing else is."""

import threading
from contextlib import suppress

import pytest

from tests.conftest import images, store, work_pipeline
from ziggy_dask.definitions import Retry
from ziggy_dask.records.attempts import earlier_subtasks
from ziggy_dask.workers.limit import Limited, TimeLimit

ALGORITHMS = """
    from pathlib import Path

    HERE = Path(__file__).parent


    def work(raw, context):
        while context.labels == ["i1"] and not (HERE / "fixed").exists():
            try:
                sum(range(1000))
            except Exception:
                pass
        return raw
"""


def test_a_function_that_takes_too_long_is_ended_alone(cluster, code, client):
    root = code(ALGORITHMS)
    cluster.register(work_pipeline(root, limit_s=5.0))
    store(cluster, {"set-1/L0": images(4)})
    instance = cluster.run("test", client=client)
    (group,) = cluster.failures(instance.id)
    assert (group.cause.value, group.count) == ("time limit", 1)
    assert group.message == "it took longer than 5 s; see 'time: limit' of the node"
    task = instance.tasks[0]
    assert (task.record.complete, task.record.failed) == (3, 1)
    assert "in work" in task.logs(1)[0].traceback
    (root / "fixed").touch()
    (again,) = cluster.restart(instance=instance.id, client=client)
    assert again.state.value == "COMPLETED"


TRIES = """
    import time
    from pathlib import Path

    HERE = Path(__file__).parent


    def work(raw):
        with (HERE / "tries").open("a") as log:
            print(".", file=log)
        number = len((HERE / "tries").read_text().split())
        if number == 1:
            raise ValueError("once")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            sum(range(1000))
        return raw
"""


def test_time_grows_after_a_time_limit_and_after_nothing_else(cluster, code, client):
    """5 s of work under a limit of 3 s: an exception leaves it, a time limit trebles it."""
    root = code(TRIES)
    cluster.register(work_pipeline(root, limit_s=3.0, retry=Retry(times=2, time=3)))
    store(cluster, {"set-1/L0": images(1)})
    instance = cluster.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    earlier = earlier_subtasks(cluster._site.database, instance.tasks[0].record.id)
    assert [one.cause.value for one in earlier] == ["exception", "time limit"]
    assert len((root / "tries").read_text().split()) == 3


def test_a_limit_comes_in_its_block_or_not_at_all():
    passed = 0
    for number in range(500):
        with suppress(TimeLimit), Limited(number * 1e-6 + 1e-9):
            sum(range(200))
        passed += sum(range(200)) == 19900
    assert passed == 500
    with pytest.raises(TimeLimit):
        without_end()


def without_end():
    with Limited(0.01):
        while True:
            pass


def test_a_block_that_ends_in_time_leaves_no_timer():
    before = set(threading.enumerate())
    with Limited(60):
        mine = set(threading.enumerate()) - before
        (timer,) = [one for one in mine if isinstance(one, threading.Timer)]
    timer.join(timeout=30)
    assert not timer.is_alive()


def test_what_the_block_raises_passes():
    with pytest.raises(ValueError, match="own"), Limited(60):
        raise ValueError("own")
