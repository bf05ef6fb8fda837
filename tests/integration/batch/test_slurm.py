"""Pipelines on a real SLURM, with jobs that are killed, too short, or refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.definitions import JobCause, Remote
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records.jobs import JobRecord, jobs

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

PROGRAM = [str(Path(sys.executable).parent / "ziggy"), "--cluster"]
FILE = """
cluster: batch
home: ./home
compute: {local: {workers: 1}}
environments:
  lab:
    batch: slurm
    scheduler_host: 127.0.0.1
    directives: [DIRECTIVES]
    architectures:
      small: {cores: 2, memory: 1GB, cost: 1, directives: ["--constraint=small"]}
      large: {cores: 4, memory: 4GB, cost: 5, directives: ["--constraint=large"]}
    queues:
      QUEUE: {max_time: 1h}
"""
ALGORITHM = """
import time

def work(image):
    time.sleep(SECONDS)
    return image + 1.0
"""


@pytest.fixture
def make(slurm, tmp_path, code):
    """Make a cluster on SLURM, and a pipeline whose nodes run there."""

    def made(nodes, items=8, seconds=0.2, queue="normal", directives=""):
        file = tmp_path / "cluster.yaml"
        content = FILE.replace("QUEUE", queue).replace("DIRECTIVES", directives)
        file.write_text(content)
        cluster = create_cluster(file)
        root = code(ALGORITHM.replace("SECONDS", str(seconds)))
        types = [data_type("image", "in")]
        used = []
        for name, options in nodes.items():
            types.append(data_type(name, name, external=False))
            given = {"limit_s": 60.0, "remote": Remote(environment="lab")} | options
            used.append(node(name, "work", "image", name, **given))
        cluster.register(pipeline(root, *types, *used))
        store(cluster, {"set-1/in": images(items)})
        return cluster

    return made


def queue() -> str:
    command = ["squeue", "--noheader", "--format=%i %T"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def records_of(cluster: z.Cluster) -> list[JobRecord]:
    return jobs(cluster._site.database)


def ran_on(cluster: z.Cluster) -> dict[str, set[str]]:
    """Return the names of the workers that ran each node's subtasks."""
    engine = create_engine(cluster._site.database.url)
    asked = (
        "SELECT node, subtasks.worker FROM subtasks JOIN tasks ON tasks.id = task_id"
    )
    with engine.connect() as connection:
        rows = connection.execute(text(asked)).all()
    engine.dispose()
    found: dict[str, set[str]] = {}
    for name, worker in rows:
        found.setdefault(name, set()).add(worker)
    return found


def test_nodes_with_large_memory_run_on_large_nodes(make):
    nodes = {
        "little": {"memory_bytes": 200_000_000},
        "much": {"memory_bytes": 2_000_000_000},
    }
    cluster = make(nodes)
    instance = cluster.run("test")
    assert set(states(instance).values()) == {"COMPLETE"}
    architectures = {one.name: one.architecture for one in records_of(cluster)}
    places = {
        name: {architectures[worker] for worker in workers}
        for name, workers in ran_on(cluster).items()
    }
    assert places["much"] == {"large"}
    assert "small" in places["little"]
    assert queue() == ""


def test_few_subtasks_stay_at_home(make):
    remote = Remote(environment="lab", min_subtasks=9)
    cluster = make({"little": {"memory_bytes": 200_000_000, "remote": remote}})
    instance = cluster.run("test")
    assert set(states(instance).values()) == {"COMPLETE"}
    assert cluster.jobs() == []
    assert ran_on(cluster) == {"little": {"0"}}


@pytest.mark.parametrize(
    ("command", "items", "cause"),
    [
        (["scancel"], 12, JobCause.CANCELLED),
        # SLURM looks at time limits twice a minute.
        (["scontrol", "update", "EndTime=now+2", "JobId"], 60, JobCause.TIME_LIMIT),
    ],
    ids=["cancelled", "time-limit"],
)
def test_what_ran_on_a_job_that_ended_runs_again_on_another(
    make, command, items, cause
):
    cluster = make({"little": {"memory_bytes": 200_000_000}}, items=items, seconds=3)
    ended = threading.Event()
    killer = threading.Thread(target=to_first_job, args=(command, ended))
    killer.start()
    try:
        instance = cluster.run("test")
    finally:
        ended.set()
        killer.join()
    assert set(states(instance).values()) == {"COMPLETE"}
    (lost,) = [one for one in cluster.jobs() if one.cause is not JobCause.NONE]
    assert lost.cause is cause
    assert lost.exit_code is not None
    assert queue() == ""


def to_first_job(command: list[str], ended: threading.Event) -> None:
    """Do something to the first job that runs, from outside."""
    while not ended.wait(0.5):
        running = running_jobs()
        if running:
            *words, last = command
            assigned = f"{last}={running[0]}" if words else running[0]
            said = [*words, assigned] if words else [last, assigned]
            subprocess.run(said, check=True)
            return


def running_jobs() -> list[str]:
    return [line.split()[0] for line in queue().splitlines() if "RUN" in line]


def wait_until(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not told():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.2)


@pytest.mark.parametrize("how", ["halt", "interrupt", "kill"])
def test_no_job_outlives_what_asked_for_it(make, how):
    cluster = make({"little": {"memory_bytes": 200_000_000}}, items=40, seconds=5)
    file = str(cluster._site.cluster.path)
    with subprocess.Popen(
        [*PROGRAM, file, "run", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as supervisor:
        wait_until(lambda: bool(running_jobs()) or supervisor.poll() is not None)
        assert supervisor.poll() is None, supervisor.communicate()[0]
        if how == "halt":
            subprocess.run([*PROGRAM, file, "halt", "--all"], check=True)
        supervisor.send_signal(
            {"halt": 0, "interrupt": signal.SIGINT, "kill": signal.SIGKILL}[how]
        )
        supervisor.communicate(timeout=240)
    if how == "kill":
        assert running_jobs() != []
        subprocess.run([*PROGRAM, file, "doctor", "--fix"], check=False)
        wait_until(lambda: queue() == "")  # killed processes take a moment to end
    assert queue() == ""
    assert all(one.ended for one in cluster.jobs())


def test_five_hundred_subtasks_run_from_the_command_line(make):
    cluster = make({"little": {"memory_bytes": 200_000_000}}, items=500, seconds=0)
    file = cluster._site.cluster.path
    subprocess.run([*PROGRAM, file, "run", "test"], check=True, capture_output=True)
    said = subprocess.run(
        [*PROGRAM, file, "jobs", "1", "--json"], check=True, capture_output=True
    ).stdout
    assert {one["environment"] for one in json.loads(said)} == {"lab"}
    ran = {one for workers in ran_on(cluster).values() for one in workers}
    assert ran <= {one.name for one in cluster.jobs()}
    assert queue() == ""


def test_a_queue_that_refuses_jobs_fails_their_tasks_and_says_why(make):
    cluster = make({"little": {"memory_bytes": 200_000_000}}, queue="nosuch")
    instance = cluster.run("test")
    (task,) = instance.tasks
    assert "environment 'lab' takes no jobs" in task.record.message
    assert "invalid partition" in task.record.message.lower()
    severities = [one.severity.value for one in cluster.alerts]
    assert "INFRASTRUCTURE" in severities
    assert queue() == ""
