"""Tasks that take longer, or more memory, than their node before are told of; others are not."""

import pytest

from tests.conftest import images, store, work_pipeline
from ziggy_dask.definitions import Alerts
from ziggy_dask.engine.outliers import unusual
from ziggy_dask.records.usage import Usage, usage_of_nodes, usage_of_tasks

ALGORITHMS = """
    import threading
    from pathlib import Path

    HERE = Path(__file__).parent


    def work(raw, context):
        if (HERE / "slow").exists() and context.unit["dataset"] == "set-1":
            threading.Event().wait(1.5)
        return raw
"""


def took(wall_s, memory=100e6, count=100, high=1.0):
    return Usage(
        count=count,
        wall_s=wall_s,
        high_wall_s=wall_s * high,
        memory_bytes=memory,
        high_memory_bytes=memory * high,
    )


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (took(40), took(10), "took 40 s each, in earlier instances 10 s"),
        (took(10, 900e6), took(10, 300e6), "needed 858.31 MiB each, in earlier"),
        (took(29), took(10), ""),
        (took(0.09), took(0.001), ""),
        (took(40), took(10, count=9), ""),
        (took(40), took(10, high=5), ""),
        (took(10, 250e6), took(10, 100e6), ""),
        (took(1), took(10), ""),
        (took(40, count=1), took(10), "took 40 s each"),
    ],
)
def test_only_what_is_well_above_the_past_is_unusual(now, before, words):
    said = unusual(now, before, Alerts())
    assert words in said
    assert bool(said) == bool(words)


def test_nothing_is_unusual_where_nobody_wants_to_know():
    never = Alerts(time_factor=0.0, memory_factor=0.0)
    assert unusual(took(1000, 1e12), took(1), never) == ""
    assert "took" in unusual(took(25), took(10), Alerts(time_factor=2.0))


def test_an_operator_is_told_of_a_slow_task_once_and_of_no_other(cluster, code, client):
    root = code(ALGORITHMS)
    cluster.register(work_pipeline(root))
    store(cluster, {"set-1/L0": images(6), "set-2/L0": images(6)})
    cluster.run("test", client=client)
    cluster.run("test", client=client)
    assert cluster.alerts == []
    (root / "slow").touch()
    instance = cluster.run("test", client=client)
    (told,) = cluster.alerts
    task = next(t for t in instance.tasks if t.record.unit == "[set-1]")
    assert (told.severity.value, told.task) == ("WARNING", task.record.id)
    assert "work [set-1]: its subtasks took" in told.message


def test_the_database_adds_up_what_subtasks_took(cluster, code, client):
    root = code(ALGORITHMS)
    cluster.register(work_pipeline(root))
    store(cluster, {"set-1/L0": images(40), "set-2/L0": images(3)})
    cluster.run("test", client=client)
    database = cluster._site.database
    for number in (1, 2):
        found = usage_of_tasks(database, [number])[number]
        some = cluster.task(number).subtasks
        times = sorted(one.wall_s for one in some)
        memories = sorted(one.peak_memory_bytes for one in some)
        half, most = (len(some) - 1) // 2, -(-len(some) * 19 // 20) - 1
        assert (found.count, found.wall_s) == (len(some), times[half])
        assert found.high_wall_s == times[most]
        assert found.memory_bytes == memories[half]
        assert found.high_memory_bytes == memories[most]
    assert usage_of_nodes(database, "test", 1) == {}
    assert usage_of_nodes(database, "test", 2)["work"].count == 43
