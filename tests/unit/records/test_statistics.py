"""Statistics made in the database equal those that numpy makes of all the rows."""

from itertools import pairwise

import numpy as np
import pytest
from sqlalchemy import insert, select

import ziggy_dask as z
from ziggy_dask.records import create_database, instances, library
from ziggy_dask.records.statistics import SLOWEST, memory_counts, statistics
from ziggy_dask.records.tables import PartRow, SubtaskRow
from ziggy_dask.records.timeline import timeline

START_S = 1.7e9


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ziggy.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    database = create_database(url)
    yield database
    database.close()


def instance_with(database, tasks: dict[str, int]) -> tuple[int, list[int]]:
    """Make an instance with a task per node, of so many subtasks."""
    library.register(database, [z.Pipeline(name="made")])
    new = instances.NewInstance(
        name="",
        pipeline_id=library.pipeline(database, "made").id,
        code_version="",
        options={},
        parameters={},
        software={},
        base_snapshot="",
    )
    number = instances.create_instance(database, new)
    made = [
        instances.NewTask(position=n, node=name, unit="[x]", plan={}, total=count)
        for n, (name, count) in enumerate(tasks.items())
    ]
    return number, instances.create_tasks(database, number, made, base_snapshot="A")


def add_subtasks(database, task: int, wall_s, *, failed=frozenset(), threads=2) -> None:
    """Record subtasks, one after another on so many threads of two workers."""
    with database.writing() as connection:
        part = connection.execute(
            insert(PartRow).values(task_id=task).returning(PartRow.id)
        ).scalar_one()
        rows = [
            {
                "task_id": task,
                "number": n,
                "part_id": part,
                "state": "FAILED" if n in failed else "COMPLETE",
                "cause": "exception" if n in failed else "",
                "message": "",
                "outputs": [],
                "host": "h",
                "worker": str(n % 2),
                "started_s": START_S + n // threads,
                "wall_s": float(wall),
                "cpu_s": float(wall) / 2,
                "peak_memory_bytes": 1000 + n,
            }
            for n, wall in enumerate(wall_s)
        ]
        connection.execute(insert(SubtaskRow), rows)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 1000])
def test_numbers_equal_those_of_numpy(database, count):
    number, (first, second) = instance_with(database, {"one": count, "two": 5})
    wall = 1000 + np.random.default_rng(count).lognormal(size=count) / 1000
    add_subtasks(database, first, wall)
    add_subtasks(database, second, [9.0, 1.0, 5.0, 2.0, 3.0], failed={0})
    one, two = statistics(database, number)
    assert (one.node, two.node) == ("one", "two")
    times = one.times
    assert times.count == count
    assert times.total == pytest.approx(wall.sum(), rel=1e-12)
    assert (times.smallest, times.largest) == (wall.min(), wall.max())
    assert times.mean == pytest.approx(wall.mean(), rel=1e-12)
    deviation = wall.std(ddof=1) if count > 1 else 0.0
    assert times.deviation == pytest.approx(deviation, rel=1e-6)
    for percent, value in times.percentiles.items():
        assert value == pytest.approx(np.percentile(wall, percent), rel=1e-12)
    slowest = np.argsort(-wall)[:SLOWEST]
    assert [s.number for s in one.slowest] == slowest.tolist()
    assert one.memory_max_bytes == 1000 + count - 1
    assert two.times.largest == 5.0, "what failed does not count"


def test_a_node_without_complete_subtasks_has_no_times(database):
    number, (task,) = instance_with(database, {"one": 3})
    (before,) = statistics(database, number)
    assert (before.status, before.times, before.slowest) == ("WAITING", None, ())
    add_subtasks(database, task, [1.0, 2.0, 3.0], failed={0, 1, 2})
    (after,) = statistics(database, number)
    assert (after.times, after.subtasks) == (None, 3)


def test_few_subtasks_have_a_bar_each_and_none_overlap(database):
    number, (task,) = instance_with(database, {"one": 40})
    add_subtasks(database, task, np.full(40, 1.5), failed={7})
    drawn = timeline(database, number)
    assert len(drawn.bars) == drawn.subtasks == 40
    assert sum(bar.failed for bar in drawn.bars) == 1
    assert drawn.length_s == pytest.approx(20.5)
    for place in drawn.rows:
        own = [bar for bar in drawn.bars if (bar.worker, bar.row) == place]
        assert all(a.end_s <= b.start_s for a, b in pairwise(own))


def test_many_subtasks_share_bars_and_all_are_counted(database):
    number, (task,) = instance_with(database, {"one": 5000})
    add_subtasks(database, task, np.full(5000, 0.9))
    drawn = timeline(database, number)
    assert len(drawn.bars) < 1000
    assert sum(bar.count for bar in drawn.bars) == 5000
    assert max(bar.end_s for bar in drawn.bars) == pytest.approx(drawn.length_s)


def test_an_instance_without_subtasks_has_an_empty_timeline(database):
    number, _ = instance_with(database, {"one": 1})
    assert timeline(database, number).bars == ()


def test_memory_is_counted_by_node_as_numpy_counts_it(database):
    number, tasks = instance_with(database, {"second": 40, "first": 10})
    for task, count in zip(tasks, (40, 10), strict=True):
        add_subtasks(database, task, np.ones(count), failed={3})
    with database.reading() as connection:
        rows = connection.execute(select(SubtaskRow.__table__)).all()
    found = memory_counts(database, number, 70)
    assert list(found) == ["second", "first"]
    for task, node in zip(tasks, found, strict=True):
        peaks = [
            one.peak_memory_bytes // 70
            for one in rows
            if one.task_id == task and one.state == "COMPLETE"
        ]
        values, counts = np.unique(peaks, return_counts=True)
        assert found[node] == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_workers_of_a_timeline_add_up_to_its_subtasks(database):
    number, tasks = instance_with(database, {"all": 60})
    add_subtasks(database, tasks[0], np.full(60, 2.0), failed={3, 4})
    for ran in (timeline(database, number), timeline(database, number, most=10)):
        workers = ran.workers
        assert len(workers) == 2
        assert sum(one.subtasks for one in workers) == 60
        assert sum(one.failed for one in workers) == 2
        assert sum(one.busy_s for one in workers) == pytest.approx(120)
        assert max(one.last_s for one in workers) == pytest.approx(ran.length_s)
    # Up to a moment, what goes on then counts in part, and has not failed yet.
    ran = timeline(database, number)
    for moment in (0.5, 2.5, ran.length_s / 2, ran.length_s):
        then = ran.until(moment)
        begun = [bar for bar in ran.bars if bar.start_s <= moment]
        over = [bar for bar in begun if bar.end_s <= moment]
        busy = sum(min(bar.end_s, moment) - bar.start_s for bar in begun)
        assert sum(one.busy_s for one in then.workers) == pytest.approx(busy)
        assert then.subtasks == len(begun)
        assert sum(bar.failed for bar in then.bars) == sum(bar.failed for bar in over)
