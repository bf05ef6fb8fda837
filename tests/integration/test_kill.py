"""``kill -9`` at random moments: what is recorded is kept, and never runs again.

More seeds by hand: ``ZIGGY_KILL_SEEDS=50 pytest -m integration tests/integration``.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.records import instances, outcomes
from ziggy_dask.workers import SubtaskState

pytestmark = pytest.mark.integration

SEEDS = range(int(os.environ.get("ZIGGY_KILL_SEEDS", "4")))
COUNT = 100
"""Items per data set; 2 sets and 2 nodes make 400 subtasks, and 2 more."""

ALGORITHMS = """
    import os
    import time
    from pathlib import Path

    RUNS = Path(__file__).parent / "runs.txt"


    def ran(context):
        line = f"{context.task} {context.subtask}\\n".encode()
        file = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)
        time.sleep(0.004)


    def scale(raw, context):
        ran(context)
        return raw * 2


    def shift(scaled, context):
        ran(context)
        return scaled + 1


    def mean(shifted, context):
        ran(context)
        return shifted.mean("item")
"""

COMMAND = [
    sys.executable,
    "-c",
    "from ziggy_dask.interface.main import main; main()",
]


@pytest.fixture
def prepared(cluster, code):
    for number in (1, 2):
        store(cluster, {f"set-{number}/L0": images(COUNT, seed=number)})
    root = code(ALGORITHMS)
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("scaled", "L1"),
            data_type("shifted", "L2"),
            data_type("mean", "L3", subtask=""),
            node("scale", "scale", "raw", "scaled"),
            node("shift", "shift", "scaled", "shifted", typical_s=0.01),
            node("mean", "mean", "shifted", "mean", single_subtask=True),
        )
    )
    return cluster, root / "runs.txt"


def ziggy(cluster, *arguments) -> subprocess.Popen:
    file = str(cluster._site.cluster.path)
    return subprocess.Popen(
        [*COMMAND, "--cluster", file, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Shells start background jobs with interrupts ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_counts(runs: Path) -> Counter:
    """Return how often each subtask ran, as the algorithms themselves noted it."""
    lines = runs.read_text().splitlines() if runs.exists() else []
    return Counter(tuple(map(int, line.split())) for line in lines)


def recorded(cluster) -> set[tuple[int, int]]:
    """Return the subtasks whose success is on record."""
    database = cluster._site.database
    return {
        (one.task, one.number)
        for instance in instances.instances(database)
        for task in instances.tasks(database, instance.id)
        for one in outcomes.subtasks(database, task.id, SubtaskState.COMPLETE)
    }


def kill_at(cluster, supervisor, runs, moment, choose) -> set[tuple[int, int]]:
    """Kill a process once so many subtasks ran; return what was on record before."""
    deadline = time.monotonic() + 120
    while sum(run_counts(runs).values()) < moment and supervisor.poll() is None:
        assert time.monotonic() < deadline, "the run does not get on"
    before = recorded(cluster)
    try:
        processes = psutil.Process(supervisor.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return before
    workers = [p for p in processes if "spawn_main" in " ".join(p.cmdline())]
    victim = choose(supervisor, workers)
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    if victim == supervisor.pid:
        supervisor.wait()
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert alive == [], "workers outlive their supervisor"
    return before


def check_result(cluster, runs, before, counts_then) -> None:
    counts = run_counts(runs)
    again = {one: counts[one] for one in before if counts[one] != counts_then[one]}
    assert again == {}, "recorded subtasks ran again"
    (instance,) = cluster.instances.values()
    assert instance.state.value == "COMPLETED"
    for number in (1, 2):
        raw = images(COUNT, seed=number)["pixels"].values
        shifted = cluster.datastore[f"set-{number}/L2"]["pixels"].values
        mean = cluster.datastore[f"set-{number}/L3"]["pixels"].values
        np.testing.assert_array_equal(shifted, raw * 2 + 1)
        np.testing.assert_allclose(mean, (raw * 2 + 1).mean(0))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_supervisor_loses_and_repeats_nothing(prepared, seed):
    cluster, runs = prepared
    moment = random.Random(seed).randint(0, 4 * COUNT)
    process = ziggy(cluster, "run", "test")
    kill_at(cluster, process, runs, moment, lambda supervisor, _: supervisor.pid)
    before, counts = recorded(cluster), run_counts(runs)
    started = bool(cluster.instances)
    if not started or not next(iter(cluster.instances.values())).state.is_final:
        follow = ziggy(cluster, "run", *(["--continue"] if started else ["test"]))
        output, _ = follow.communicate(timeout=180)
        assert follow.returncode == 0, output
    check_result(cluster, runs, before, counts)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_worker_loses_and_repeats_nothing(prepared, seed):
    cluster, runs = prepared
    dice = random.Random(1000 + seed)
    moment = dice.randint(1, 4 * COUNT - 40)

    def a_worker(supervisor, workers):
        return dice.choice(workers).pid if workers else None

    process = ziggy(cluster, "run", "test")
    before = kill_at(cluster, process, runs, moment, a_worker)
    # What ran when the records were read may have run before they were.
    counts = run_counts(runs)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    check_result(cluster, runs, before, counts)


def test_a_second_supervisor_is_refused_while_the_first_one_lives(prepared):
    cluster, runs = prepared
    first = ziggy(cluster, "run", "test")
    deadline = time.monotonic() + 60
    while not run_counts(runs):
        assert time.monotonic() < deadline
        assert first.poll() is None
    second = ziggy(cluster, "run", "test")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 5
    assert f"another supervisor is in charge: process {first.pid} on " in output
    assert "Traceback" not in output
    output, _ = first.communicate(timeout=180)
    assert first.returncode == 0, output


def test_an_interrupted_run_says_how_to_go_on(prepared):
    cluster, runs = prepared
    process = ziggy(cluster, "run", "test")
    deadline = time.monotonic() + 60
    while sum(run_counts(runs).values()) < 50:
        assert time.monotonic() < deadline
        assert process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: ziggy run --continue" in output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    before, counts = recorded(cluster), run_counts(runs)
    follow = ziggy(cluster, "run", "--continue")
    output, _ = follow.communicate(timeout=180)
    assert follow.returncode == 0, output
    check_result(cluster, runs, before, counts)
