"""What is made of the answers of a batch system, here of one whose programs are scripts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import new_instance
from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.pools.job_monitor import Asking
from ziggy_dask.records.jobs import JobRecord, add_job, jobs, note_job

CLUSTER = """
cluster: test
home: ./home
compute: {local: {workers: 1}}
environments:
  lab:
    batch: htcondor
    architectures: {node: {cores: 1, memory: 1GB}}
"""
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> calls
cat "$(basename "$0").json"
"""


class Lab:
    """A cluster with one environment, and what its batch system says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "cluster.yaml").write_text(CLUSTER)
        self.cluster = create_cluster(directory / "cluster.yaml")
        self.site = self.cluster._site
        new_instance(self.site.database)
        for name in ("condor_q", "condor_history", "condor_rm"):
            (directory / "bin").mkdir(exist_ok=True)
            (directory / "bin" / name).write_text(PROGRAM)
            (directory / "bin" / name).chmod(0o755)
        self.says([])
        (directory / "condor_rm.json").touch()

    def says(self, queue: list[dict], history: list[dict] = ()) -> None:
        """Have the batch system say something of jobs."""
        (self.directory / "condor_q.json").write_text(json.dumps(queue))
        (self.directory / "condor_history.json").write_text(json.dumps(list(history)))

    def calls(self, program: str) -> list[str]:
        """Return what a program was called with."""
        file = self.directory / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [one for one in lines if one.startswith(f"{program} ")]

    def submit(self, number: int) -> JobRecord:
        """Put a job on record."""
        made = add_job(
            self.site.database,
            instance_id=1,
            environment="lab",
            architecture="node",
            queue="",
            wall_s=900.0,
            cost_per_hour=1.0,
        )
        queued = JobStatus(state=JobState.QUEUED, comment="")
        note_job(self.site.database, made.id, queued, f"{number}.0")
        return replace(made, number=f"{number}.0", state=JobState.QUEUED)

    @property
    def jobs(self) -> list[JobRecord]:
        return jobs(self.site.database)

    @property
    def warnings(self) -> list[str]:
        return [one.message for one in self.cluster.alerts]


def job(number: int, status: int, **values) -> dict:
    return {"ClusterId": number, "ProcId": 0, "JobStatus": status, **values}


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Lab(tmp_path)


@pytest.fixture
def asking(lab, monkeypatch) -> Asking:
    """Asks at each look."""
    monkeypatch.setattr("ziggy_dask.pools.job_monitor._ASK_S", 0.0)
    return Asking(lab.site, Refusals(lab.site))


def test_one_command_tells_of_all_jobs_and_not_too_often(lab):
    for number in range(20):
        lab.submit(number)
    lab.says([job(number, 2) for number in range(20)])
    asking = Asking(lab.site, Refusals(lab.site))
    assert {one.state for one in asking.look()} == {JobState.RUNNING}
    asking.look()
    assert len(lab.calls("condor_q")) == 1
    assert lab.calls("condor_history") == []


def test_how_a_job_ended_that_left_the_queue_is_told(lab, asking):
    one = lab.submit(7)
    asking.useful.add(one.name)
    lab.says([job(7, 2)])
    asking.look()
    lab.says([], [job(7, 4, ExitBySignal=True, ExitSignal=9)])
    assert asking.look() == []
    (ended,) = lab.jobs
    assert (ended.cause, ended.exit_code) == (JobCause.KILLED, 137)
    said = "job 7.0 in 'lab' ended: killed (completed), exit code 137"
    assert lab.warnings == [f"{said}; what ran on it runs again"]


def test_how_a_job_ended_may_be_told_later(lab, asking):
    one = lab.submit(7)
    asking.useful.add(one.name)
    lab.says([job(7, 2)])
    asking.look()
    lab.says([])
    assert asking.look() == []
    assert (lab.jobs[0].state, lab.warnings) == (JobState.ENDED, [])
    removed = job(7, 3, RemoveReason="via condor_rm (by user me)")
    lab.says([], [removed])
    asking.look()
    assert lab.jobs[0].cause is JobCause.CANCELLED
    assert "cancelled (via condor_rm (by user me))" in lab.warnings[0]
    asked = len(lab.calls("condor_q"))
    asking.look()
    assert len(lab.calls("condor_q")) == asked, "all is told"


def test_a_job_that_is_held_is_removed(lab, asking):
    one = lab.submit(7)
    asking.useful.add(one.name)
    lab.says([job(7, 5, HoldReason="too long", HoldReasonCode=46)])
    assert asking.look() == []
    assert lab.jobs[0].cause is JobCause.TIME_LIMIT
    assert lab.calls("condor_rm") == ["condor_rm 7.0"]
    assert "ended: time limit (too long)" in lab.warnings[0]


def test_a_batch_server_that_does_not_answer_changes_nothing(lab, asking):
    lab.submit(7)
    (lab.directory / "condor_q.json").unlink()
    assert [one.state for one in asking.look()] == [JobState.QUEUED]
    (lab.directory / "condor_q.json").write_text("error: try later")
    assert [one.state for one in asking.look()] == [JobState.QUEUED]


def test_a_job_that_is_too_new_to_be_listed_waits(lab, asking):
    lab.submit(7)
    assert [one.state for one in asking.look()] == [JobState.QUEUED]


def test_three_jobs_that_do_nothing_close_an_environment(lab, asking):
    for number in (7, 8, 9):
        lab.submit(number)
    lab.says([], [job(number, 4, ExitCode=3) for number in (7, 8, 9)])
    asking.look()
    reason = "job 9.0 ended before it did anything: completed, exit code 3"
    assert reason in lab.site.refusals["lab"]
    assert reason in lab.warnings[0]


def test_a_job_that_is_not_needed_is_cancelled_and_its_ending_told(lab, asking):
    one = lab.submit(7)
    lab.says([job(7, 2)])
    (one,) = asking.look()
    asking.end([one])
    lab.says([], [job(7, 3, ExitCode=0, JobCurrentStartDate=1795617822)])
    asking.settle()
    (ended,) = lab.jobs
    assert (ended.state, ended.comment) == (JobState.CANCELLED, "no longer needed")
    assert (ended.cause, ended.exit_code) == (JobCause.NONE, 0)
    assert lab.calls("condor_rm") == ["condor_rm 7.0"]
    assert lab.warnings == []
