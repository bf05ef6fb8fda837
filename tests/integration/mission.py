"""A run of 2,002 subtasks in three nodes, which is disturbed, and must end as if it was not."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import recorded, run_counts
from ziggy_dask.datastore import walk
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records.catalogue import current_places
from ziggy_dask.supervisor import examine

COUNT = 500
"""Items per data set; 2 sets and 2 nodes make 2,000 subtasks, and a third one 2 more."""
MARK = "ZIGGY_KILL_MARK"
"""Environment variable that all processes of a run have."""


def seeds(few: Sequence[int]) -> Sequence[int]:
    """Return the seeds that ``ZIGGY_KILL_SEEDS`` asks for, by default a few."""
    first, _, last = os.environ.get("ZIGGY_KILL_SEEDS", "").partition("-")
    return range(int(first), int(last or first) + 1) if first else few


class Mission:
    """A cluster in a file system of its own, and all that runs of it."""

    def __init__(
        self, root: Path, place: Path, seed: int, *, is_mounted: bool, database: str
    ) -> None:
        self.root, self.home, self.is_mounted = root, place / "home", is_mounted
        self.records = f"database: {database}\n" if database else ""
        self.dice = random.Random(seed)
        self.count = 0
        self.temporary = root / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.clock = root / "clock"
        self.set_clock(0)
        library = root / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
        self.mark = secrets.token_hex(8)
        self.compute: list[psutil.Popen] = []
        self.supervisor: psutil.Popen | None = None
        self.file = root / "cluster.yaml"
        self.define("{local: {workers: 2}}")
        self.cluster = create_cluster(self.file)
        self.database = self.home / "ziggy.db"
        self.environment = os.environ | {
            MARK: self.mark,
            "LD_PRELOAD": str(library),
            "ZIGGY_CLOCK_FILE": str(self.clock),
            "TMPDIR": str(self.temporary),
        }

    def prepare(self, algorithms: Path, count: int) -> None:
        """Store two data sets of so many items, and register a pipeline of three nodes."""
        self.count = count
        products = {f"set-{n}/L0": images(count, seed=n) for n in (1, 2)}
        store(self.cluster, products)
        self.cluster.register(
            pipeline(
                algorithms,
                data_type("raw", "L0"),
                data_type("scaled", "L1"),
                data_type("shifted", "L2"),
                data_type("mean", "L3", subtask=""),
                node("scale", "scale", "raw", "scaled"),
                node("shift", "shift", "scaled", "shifted", typical_s=0.01),
                node("mean", "mean", "shifted", "mean", single_subtask=True),
            )
        )

    def set_clock(self, seconds: int) -> None:
        """Move the time of day of all processes of the run."""
        with self.clock.open("r+b" if self.clock.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def define(self, compute: str) -> None:
        """Write the cluster file."""
        self.file.write_text(
            f"cluster: test\nhome: {self.home}\ncompute: {compute}\n{self.records}"
        )

    def start(self, *command: str) -> psutil.Popen:
        """Start a process of the run."""
        return psutil.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.root,
            # Shells start background jobs with interrupts ignored, which is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def family(self) -> list[psutil.Process]:
        """Return all processes of the run, also those that left their parents."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARK) == self.mark
            except psutil.Error:
                continue
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def start_compute(self) -> None:
        """Start a scheduler and two nannies with a worker each."""
        scheduler = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        told = self.root / f"scheduler-{secrets.token_hex(4)}.json"
        file = ["--scheduler-file", str(told)]
        self.compute = [self.start("dask", "scheduler", *scheduler, *file)]
        wait_until(told.exists)
        worker = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        self.compute += [
            self.start("dask", "worker", *file, *worker, "--death-timeout", "60")
            for _ in range(2)
        ]
        address = json.loads(told.read_text())["address"]
        self.define(f"{{address: '{address}'}}")

    def end_compute(self) -> None:
        """End what `start_compute` has started."""
        for process in reversed(self.compute):
            if process.poll() is None:
                process.terminate()
        for process in self.compute:
            process.communicate(timeout=120)

    def ziggy(self, *arguments: str) -> psutil.Popen:
        """Start a command that supervises."""
        self.supervisor = self.start(
            "ziggy_dask", "--cluster", str(self.file), *arguments
        )
        return self.supervisor

    @property
    def runs(self) -> Counter:
        """How often each subtask ran, as the algorithms themselves noted it."""
        return run_counts(self.root / "code" / "runs.txt")

    def wait_for_runs(self, count: int) -> None:
        """Wait until so many subtasks ran, or the supervisor has ended."""
        wait_until(
            lambda: self.runs.total() >= count or self.supervisor.poll() is not None
        )

    def recorded(self) -> dict[tuple[int, int], int]:
        """Return how often subtasks ran whose success is on record: never again."""
        done = recorded(self.cluster)
        runs = self.runs  # read last: what is on record has run by then
        return {one: runs[one] for one in done}

    def next_command(self) -> tuple[str, ...] | None:
        """Return what an operator would type now; None: all is done."""
        states = [one.state for one in self.cluster.instances.values()]
        if not states:
            return ("run", "test")
        if states[0].value == "COMPLETED":
            return None
        if states[0].is_final:
            return ("restart", "--instance", "1")
        return ("run", "--continue")


def wait_until(condition, at_most_s=240):
    deadline = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def check_result(mission: Mission, before: dict[tuple[int, int], int]) -> None:
    """Check that all is as if nothing had happened."""
    counts = mission.runs
    again = {one: counts[one] for one, count in before.items() if counts[one] != count}
    assert again == {}, "recorded subtasks ran again"
    assert len(counts) == 4 * mission.count + 2
    (instance,) = mission.cluster.instances.values()
    assert instance.state.value == "COMPLETED"
    assert [one.what for one in examine(mission.cluster._site)] == []
    check_catalogue(mission.cluster._site)
    commits = [
        task
        for commit in mission.cluster._site.repository.history()
        for task in commit.metadata.get("inputs", {})
    ]
    assert sorted(commits) == [str(number) for number in range(1, 7)]
    for number in (1, 2):
        raw = images(mission.count, seed=number)
        shifted = raw * 2 + 1
        stored = mission.cluster.datastore[f"set-{number}/L2"]
        np.testing.assert_array_equal(stored["pixels"], shifted["pixels"])
        stored = mission.cluster.datastore[f"set-{number}/L3"]
        expected = shifted.mean("item")
        np.testing.assert_array_equal(stored["pixels"], expected["pixels"])
    left = [" ".join(one.cmdline()) for one in mission.family()]
    assert left == [], "processes are left over"


def check_catalogue(site) -> None:
    """Compare the catalogue with the tree of the newest snapshot."""
    tip = site.repository.tip()
    number, places = current_places(site.database, tip)
    assert number == len(list(site.repository.ancestry()))
    assert {(one.path, one.kind, one.dimension) for one in places} == {
        (path, one.kind, one.dimension)
        for path, one in walk(site.repository.reading(tip))
    }
    held = [path for path, one in walk(site.repository.reading(tip)) if one.kind]
    assert sorted(site.repository.paths()) == sorted(held)


def wait_for_end(mission: Mission) -> str:
    """Wait for the end of the supervisor; return what it said."""
    output, _ = mission.supervisor.communicate(timeout=240)
    assert "Traceback" not in output, output
    return output
