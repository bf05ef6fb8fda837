"""A real SLURM with events at random moments: nothing is lost, nothing recorded runs twice.

``ZIGGY_EVENT_SEEDS=50 ZIGGY_EVENT_SUBTASKS=300 pytest -m slurm -k random`` is the long search; by
default there is one short run. Each run says its seed, its events, and the share of worked time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import ziggy
from tests.integration.sample import new_cluster
from ziggy_dask.definitions import Remote
from ziggy_dask.records import instances, outcomes
from ziggy_dask.records.jobs import worked_seconds

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

SEEDS = range(int(os.environ.get("ZIGGY_EVENT_SEEDS", "1")))
SUBTASKS = int(os.environ.get("ZIGGY_EVENT_SUBTASKS", "24"))
LINES = """environments:
  lab:
    batch: slurm
    scheduler_host: 127.0.0.1
    architectures:
      small: {cores: 2, memory: 1GB, cost: 1, directives: ["--constraint=small"]}
    queues:
      normal: {max_time: 1h}
    max_jobs: 2
"""
ALGORITHM = """
import time

def work(image, context):
    with open("STARTS", "a") as log:
        print(context.subtask, time.time(), file=log, flush=True)
    time.sleep(0.3 + (context.subtask * 7919 % 13) / 6)
    return image + 1.0
"""
SQUEUE = """#!/bin/bash
[ -e {switch} ] && {{ echo '<html>503</html>'; exit 0; }}
exec {squeue} "$@"
"""


class Site:
    """What happens to SLURM and to the jobs of a run."""

    def __init__(self, directory: Path, generator: random.Random) -> None:
        self.switch = directory / "garbage"
        self.programs = directory / "bin"
        self.programs.mkdir()
        found = subprocess.check_output(["which", "squeue"], text=True).strip()
        wrapper = self.programs / "squeue"
        wrapper.write_text(SQUEUE.format(switch=self.switch, squeue=found))
        wrapper.chmod(0o755)
        self._random = generator
        self.happened: list[str] = []

    def happen(self, ended: threading.Event) -> None:
        """Let something happen every few seconds until the run has ended."""
        events = [self._cancel, self._requeue, self._freeze, self._kill, self._garble]
        events.append(self._stall)
        while not ended.wait(self._random.uniform(4, 9)):
            event = self._random.choice(events)
            self.happened.append(event.__name__.strip("_"))
            event(ended)

    def _job(self) -> str:
        listed = subprocess.run(
            ["squeue", "-h", "-t", "R", "-o", "%A"], capture_output=True, text=True
        ).stdout.split()
        return self._random.choice(listed) if listed else ""

    def _cancel(self, ended: threading.Event) -> None:
        if job := self._job():
            subprocess.run(["scancel", job], check=False)

    def _requeue(self, ended: threading.Event) -> None:
        if job := self._job():
            subprocess.run(["scontrol", "requeue", job], check=False)

    def _freeze(self, ended: threading.Event) -> None:
        """Stop all processes of a job, then have SLURM requeue it: a node that hangs."""
        job = self._job()
        processes = _processes_of(job) if job else []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        if job:
            subprocess.run(["scontrol", "requeue", job], check=False)
        ended.wait(5)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _kill(self, ended: threading.Event) -> None:
        job = self._job()
        for process in _processes_of(job) if job else []:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def _garble(self, ended: threading.Event) -> None:
        self.switch.touch()
        ended.wait(8)
        self.switch.unlink()

    def _stall(self, ended: threading.Event) -> None:
        """Stop the controller for a while."""
        number = int(Path("/run/slurm/slurmctld.pid").read_text())
        os.kill(number, signal.SIGSTOP)
        ended.wait(8)
        os.kill(number, signal.SIGCONT)


def _processes_of(job: str) -> list[psutil.Process]:
    """Return the processes of a job: those of its worker, by its name in their words."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if (process.info["environ"] or {}).get(
            "SLURM_JOB_ID"
        ) == job and "dask" in words:
            found.append(process)
    return found


def listed() -> str:
    return subprocess.check_output(["squeue", "-h"], text=True)


def make(directory: Path, code) -> z.Cluster:
    cluster = new_cluster(directory / "mission", LINES)
    text = ALGORITHM.replace("STARTS", str(directory / "starts"))
    on = Remote(environment="lab")
    definition = pipeline(
        code(text),
        data_type("image", "in"),
        data_type("more", "out", external=False),
        node(
            *("add", "work", "image", "more"),
            memory_bytes=200_000_000,
            limit_s=60.0,
            remote=on,
        ),
    )
    cluster.register(definition)
    store(cluster, {"set-1/in": images(SUBTASKS)})
    return cluster


@pytest.mark.parametrize("seed", SEEDS)
def test_random_events_lose_nothing_and_run_nothing_twice(
    slurm, tmp_path, code, monkeypatch, seed
):
    cluster = make(tmp_path, code)
    site = Site(tmp_path, random.Random(seed))
    monkeypatch.setenv("PATH", f"{site.programs}{os.pathsep}{os.environ['PATH']}")
    ended = threading.Event()
    disturber = threading.Thread(target=site.happen, args=(ended,))
    with ziggy(cluster, "run", "test") as supervisor:
        disturber.start()
        try:
            said, _ = supervisor.communicate(timeout=900)
        finally:
            ended.set()
            disturber.join()
    told = "\n".join(one.message for one in cluster.alerts)
    assert supervisor.returncode == 0, f"{site.happened}\n{said}\n{told}"
    after = cluster.datastore["set-1/out"]["pixels"].values
    before = cluster.datastore["set-1/in"]["pixels"].values
    np.testing.assert_array_equal(after, before + 1)
    check_starts(cluster, tmp_path / "starts")
    cluster.doctor(fix=True)
    deadline = time.monotonic() + 60
    while listed() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert listed() == ""
    jobs = cluster.jobs()
    worked = sum(worked_seconds(cluster._site.database).values())
    paid = sum(one.seconds for one in jobs)
    print(f"seed {seed}: {site.happened}; worked {worked:.0f} s of {paid:.0f} s")


def check_starts(cluster: z.Cluster, starts: Path) -> None:
    """Check that no subtask began once more after its success was on record."""
    began = defaultdict(list)
    for line in starts.read_text().splitlines():
        number, second = line.split()
        began[int(number)].append(float(second))
    database = cluster._site.database
    (task,) = instances.tasks(database, 1)
    for one in outcomes.subtasks(database, task.id):
        end = one.started.timestamp() + one.wall_s
        assert max(began[one.number]) <= end + 1.0, f"subtask {one.number} ran again"


def test_a_requeued_job_has_a_worker_of_a_new_name_and_loses_the_old_one(
    slurm, tmp_path, code
):
    cluster = make(tmp_path, code)
    with ziggy(cluster, "run", "test") as supervisor:
        deadline = time.monotonic() + 240
        while not (tmp_path / "starts").exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (job, *_) = subprocess.check_output(
            ["squeue", "-h", "-t", "R", "-o", "%A"], text=True
        ).split()
        for process in _processes_of(job):
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        subprocess.run(["scontrol", "requeue", job], check=True)
        said, _ = supervisor.communicate(timeout=400)
    assert supervisor.returncode == 0, said
    told = "\n".join(one.message for one in cluster.alerts)
    assert f"job {job} in 'lab' was requeued" in told
    check_starts(cluster, tmp_path / "starts")
    assert listed() == ""
