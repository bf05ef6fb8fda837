"""A past instance is shown again as it was, from what was recorded while it ran."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.records.overview import TaskQuery, scoreboard, task_page

GATED = """
import time
from pathlib import Path

def take(kind):
    # Wait for a token, and take it.
    while True:
        for token in sorted(Path("PLACE").glob(f"{kind}-*")):
            try:
                token.rename(token.with_name(f"taken-{token.name}"))
            except FileNotFoundError:
                continue
            if "bad" in token.name:
                raise ValueError("too dark")
            return
        time.sleep(0.02)

def measure(image):
    take("measure")
    return image

def average(level):
    take("average")
    return level
"""


@pytest.fixture(
    params=["cluster", pytest.param("postgres_cluster", marks=pytest.mark.postgres)]
)
def gated(request, code, tmp_path):
    """A cluster with a pipeline each of whose subtasks takes a token to run."""
    cluster = request.getfixturevalue(request.param)
    kinds = [data_type("image", "in")]
    kinds += [data_type(name, name, external=False) for name in ("level", "mean")]
    root = code(GATED.replace("PLACE", str(tmp_path)))
    nodes = [
        node("measure", "measure", "image", "level"),
        node("average", "average", "level", "mean"),
    ]
    cluster.register(pipeline(root, *kinds, *nodes))
    store(cluster, {"set-1/in": images(3)})
    return cluster


def test_a_replay_shows_what_was_seen_while_it_ran(gated, client, tmp_path):
    database = gated._site.database
    seen = []

    def until(*counts):
        """Wait for numbers of complete and failed subtasks; keep what is to be seen."""
        pause = threading.Event()
        while True:
            scores = scoreboard(database, 1)
            if [(one.complete, one.failed) for one in scores] == list(counts):
                break
            pause.wait(0.02)
        page = task_page(database, TaskQuery(instance=1)).tasks
        tasks = [(one.id, one.total, one.complete, one.failed) for one in page]
        seen.append((datetime.now(UTC), scores, tasks))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(gated.run, "test", client=client)
        try:
            (tmp_path / "measure-1").touch()
            until((1, 0), (0, 0))
            (tmp_path / "measure-bad").touch()
            until((1, 1), (0, 0))
            (tmp_path / "average-1").touch()
            until((1, 1), (1, 0))
        finally:
            for n in range(2, 9):
                for kind in ("measure", "average"):
                    (tmp_path / f"{kind}-{n}").touch()
        running.result()
    (last,) = gated.restart(instance=1, client=client)
    until((3, 0), (3, 0))

    for time, scores, tasks in seen:
        assert last.at(time).nodes == scores
        then = task_page(database, TaskQuery(instance=1, at=time)).tasks
        assert [(t.id, t.total, t.complete, t.failed) for t in then] == tasks
    # Its end is what stands in the records, and its subtasks are all there.
    replayed = last.replay(20)
    assert len(replayed) == 20
    assert replayed[0].nodes == ()
    assert replayed[-1].nodes == scoreboard(database, 1) == seen[-1][1]
    outcomes = Counter(
        (task.record.node, one.state.value)
        for task in last.tasks
        for one in task.subtasks
    )
    assert {node.node: (node.complete, node.failed) for node in replayed[-1].nodes} == {
        name: (outcomes[name, "COMPLETE"], outcomes[name, "FAILED"])
        for name in ("measure", "average")
    }
    # What failed before it ran again is in the task stream, too.
    ran = last.timeline
    assert (ran.subtasks, sum(bar.failed for bar in ran.bars)) == (7, 1)
    assert ran.until(ran.length_s) == ran
    assert 0 < ran.until(seen[0][0].timestamp() - ran.start_s).subtasks < 7
    # Memory is that of the worker, as its subtasks say.
    peaks = [one.peak_memory_bytes for task in last.tasks for one in task.subtasks]
    assert max(ran.memory()) in peaks
    busy = last.at(datetime.fromtimestamp(ran.start_s, UTC) + timedelta(milliseconds=1))
    assert busy.memory_bytes > 0
