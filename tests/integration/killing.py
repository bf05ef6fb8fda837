"""A command in a process of its own, and what is left when it is killed."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from tests.conftest import images
from ziggy_dask.records import instances, outcomes
from ziggy_dask.workers import SubtaskState

COUNT = 100
"""Items per data set."""

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


def kill_at(cluster, supervisor, runs, moment) -> set[tuple[int, int]]:
    """Kill a process once so many subtasks ran; return what was on record before."""
    deadline = time.monotonic() + 120
    while sum(run_counts(runs).values()) < moment and supervisor.poll() is None:
        assert time.monotonic() < deadline, "the run does not get on"
    before = recorded(cluster)
    children = psutil.Process(supervisor.pid).children(recursive=True)
    supervisor.kill()
    supervisor.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
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
