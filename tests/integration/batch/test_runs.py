"""Whole runs from the command line, in jobs of Grid Engine and of the stand-in for PBS."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import ziggy
from tests.integration.sample import check_same, new_cluster, run_sample
from ziggy_dask.definitions import JobCause, JobState, Remote
from ziggy_dask.records import instances, outcomes
from ziggy_dask.records.jobs import JobRecord
from ziggy_dask.workers import SubtaskState

pytestmark = pytest.mark.timeout(600)

COUNT = 100
NODE = "    memory: 200MB\n    time: {limit: 1min}\n    remote: {environment: lab}\n"
ENVIRONMENTS = """environments:
  lab:
    batch: BATCH
    scheduler_host: 127.0.0.1
    directives: [DIRECTIVES]
    architectures:
      node: {cores: 2, memory: 1GB, cost: 6}
    queues:
      QUEUE: {max_time: 1h}
    max_jobs: 2
"""
ALGORITHM = """
import time

def work(image):
    time.sleep(0.6)
    return image + 1.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A batch system on this machine."""

    lines: str
    """What a cluster file says of it."""
    cause: JobCause
    """Why a job ended that was deleted, as far as it knows."""
    code: int
    """And the exit code of that job."""


@pytest.fixture(
    params=[
        pytest.param("sge", marks=pytest.mark.sge),
        pytest.param("pbs", marks=pytest.mark.integration),
    ]
)
def place(request) -> Place:
    request.getfixturevalue(request.param)
    lines = ENVIRONMENTS.replace("BATCH", request.param)
    if request.param == "sge":
        lines = lines.replace("DIRECTIVES", '"-pe smp 2"').replace("QUEUE", "all.q")
        return Place(lines=lines, cause=JobCause.KILLED, code=137)
    lines = lines.replace("DIRECTIVES", "").replace("QUEUE", "low")
    return Place(lines=lines, cause=JobCause.CANCELLED, code=143)


def listed() -> str:
    return subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout


def test_the_sample_runs_there_as_it_does_at_home(place, sample_at_home, tmp_path):
    there = run_sample(tmp_path / "there", place.lines, node=NODE)
    check_same(there, sample_at_home)
    found = there.jobs()
    assert found
    assert {one.state for one in found} <= {JobState.ENDED, JobState.CANCELLED}
    began = [one for one in found if one.started]
    assert began
    assert all(one.exit_code is not None for one in began)
    assert listed() == ""


def test_a_job_that_is_deleted_is_replaced(place, tmp_path, code):
    cluster = new_cluster(tmp_path / "mission", place.lines)
    remote = Remote(environment="lab")
    wanted = {"memory_bytes": 200_000_000, "limit_s": 60.0, "remote": remote}
    definition = pipeline(
        code(ALGORITHM),
        data_type("image", "in"),
        data_type("more", "out", external=False),
        node("add", "work", "image", "more", **wanted),
    )
    cluster.register(definition)
    before = images(COUNT)
    store(cluster, {"set-1/in": before})
    with ziggy(cluster, "run", "test") as supervisor:
        deleted = first_at_work(cluster, supervisor)
        subprocess.run(["qdel", deleted.number], check=True)
        said, _ = supervisor.communicate(timeout=240)
    assert supervisor.returncode == 0, said
    after = cluster.datastore["set-1/out"]["pixels"].values
    np.testing.assert_array_equal(after, before["pixels"].values + 1)
    found = {one.number: one for one in cluster.jobs()}
    ended = found.pop(deleted.number)
    assert (ended.cause, ended.exit_code) == (place.cause, place.code)
    assert ended.ended < max(one.ended for one in found.values())
    later = [one for one in found.values() if one.submitted > deleted.submitted]
    assert [one for one in later if one.started], "it was not replaced"
    messages = [one.message for one in cluster.alerts]
    assert [one for one in messages if f"job {deleted.number} in 'lab' ended" in one]
    assert listed() == ""


@pytest.mark.integration
def test_jobs_of_two_environments_reach_the_scheduler_each_by_its_address(
    pbs, tmp_path, code
):
    lab = ENVIRONMENTS.replace("BATCH", "pbs").replace("DIRECTIVES", "")
    lab = lab.replace("QUEUE", "low")
    annex = lab.partition("\n")[2].replace("lab:", "annex:")
    annex = annex.replace("127.0.0.1", "127.0.0.2")
    lines = f"compute: {{local: {{workers: 1}}, host: 0.0.0.0}}\n{lab}{annex}"
    cluster = new_cluster(tmp_path / "mission", lines)
    wanted = {"memory_bytes": 200_000_000, "limit_s": 60.0}
    first, second = (
        wanted | {"remote": Remote(environment=name)} for name in ("lab", "annex")
    )
    definition = pipeline(
        code(ALGORITHM),
        data_type("image", "in"),
        data_type("more", "out", external=False),
        data_type("most", "last", external=False),
        node("add", "work", "image", "more", **first),
        node("again", "work", "image", "most", **second),
    )
    cluster.register(definition)
    before = images(4)
    store(cluster, {"set-1/in": before})
    cluster.run("test")
    for path in ("set-1/out", "set-1/last"):
        after = cluster.datastore[path]["pixels"].values
        np.testing.assert_array_equal(after, before["pixels"].values + 1)
    addresses = {
        one.environment: re.search(
            r"tls://([\d.]+):", (pbs / one.number.split(".")[0] / "script").read_text()
        )[1]
        for one in cluster.jobs()
        if one.number  # others were given up before they were submitted
    }
    assert addresses == {"lab": "127.0.0.1", "annex": "127.0.0.2"}


@pytest.mark.integration
def test_jobs_that_could_not_be_asked_about_are_not_submitted(tmp_path, code):
    lines = ENVIRONMENTS.replace("BATCH", "moab").replace("DIRECTIVES", "")
    cluster = new_cluster(tmp_path / "mission", lines.replace("QUEUE", "low"))
    wanted = {"memory_bytes": 200_000_000, "limit_s": 60.0}
    definition = pipeline(
        code(ALGORITHM),
        data_type("image", "in"),
        data_type("more", "out", external=False),
        node(
            "add", "work", "image", "more", remote=Remote(environment="lab"), **wanted
        ),
    )
    cluster.register(definition)
    store(cluster, {"set-1/in": images(2)})
    instance = cluster.run("test")
    (task,) = instance.tasks
    assert "jobs of moab can't be run by this version" in task.record.message
    assert [one.number for one in cluster.jobs()] == [""]


def first_at_work(cluster: z.Cluster, supervisor: subprocess.Popen) -> JobRecord:
    """Wait until a job has done a subtask, and return it."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and supervisor.poll() is None:
        done = {one.worker for one in recorded_subtasks(cluster)}
        for one in cluster.jobs():
            if one.name in done and one.state is JobState.RUNNING:
                return one
        time.sleep(0.2)
    supervisor.kill()
    raise AssertionError(f"no job does anything: {supervisor.communicate()[0]}")


def recorded_subtasks(cluster: z.Cluster) -> list[outcomes.SubtaskRecord]:
    database = cluster._site.database
    return [
        one
        for instance in instances.instances(database)
        for task in instances.tasks(database, instance.id)
        for one in outcomes.subtasks(database, task.id, SubtaskState.COMPLETE)
    ]
