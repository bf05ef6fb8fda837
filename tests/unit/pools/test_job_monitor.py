"""What is made of the answers of a batch system, here of one whose programs are scripts."""

from __future__ import annotations

import json
import os
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.conftest import new_instance
from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.pools import fates
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.pools.job_monitor import JobMonitor
from ziggy_dask.records.jobs import JobRecord, add_job, jobs, note_job
from ziggy_dask.records.tables import JobRow

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

    def submitting(self) -> JobRecord:
        """Put a job on record whose submission timed out."""
        made = self.submit(0)
        unclear = JobStatus(state=JobState.SUBMITTING, comment="timed out")
        note_job(self.site.database, made.id, unclear)
        with self.site.database.writing() as connection:
            connection.execute(update(JobRow).values(number=""))
        return made

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


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, call, *arguments):
        future = Future()
        future.set_result(call(*arguments))
        return future


@pytest.fixture
def monitor(lab, monkeypatch) -> JobMonitor:
    """Asks at each look, and waits for nothing."""
    monkeypatch.setattr("ziggy_dask.pools.polling.ASK_S", 0.0)
    monkeypatch.setattr(fates, "GONE_RUNNING_S", 0.0)
    return JobMonitor(lab.site, Refusals(lab.site), Inline())


def test_one_command_tells_of_all_jobs_and_not_too_often(lab):
    for number in range(20):
        lab.submit(number)
    lab.says([job(number, 2) for number in range(20)])
    monitor = JobMonitor(lab.site, Refusals(lab.site), Inline())
    assert {one.state for one in monitor.look()} == {JobState.RUNNING}
    monitor.look()
    assert len(lab.calls("condor_q")) == 1
    assert lab.calls("condor_history") == []


def test_how_a_job_ended_that_left_the_queue_is_told(lab, monitor):
    one = lab.submit(7)
    monitor.useful.add(one.name)
    lab.says([job(7, 2)])
    monitor.look()
    lab.says([], [job(7, 4, ExitBySignal=True, ExitSignal=9)])
    assert monitor.look() == []
    (ended,) = lab.jobs
    assert (ended.cause, ended.exit_code) == (JobCause.KILLED, 137)
    said = "job 7.0 in 'lab' ended: killed (completed), exit code 137"
    assert lab.warnings == [f"{said}; what ran on it runs again"]
    assert monitor.retiring == {one.name}


def test_how_a_job_ended_may_be_told_later(lab, monitor):
    one = lab.submit(7)
    monitor.useful.add(one.name)
    lab.says([job(7, 2)])
    monitor.look()
    lab.says([])
    assert monitor.look() == []
    assert (lab.jobs[0].state, lab.warnings) == (JobState.ENDED, [])
    removed = job(7, 3, RemoveReason="via condor_rm (by user me)")
    lab.says([], [removed])
    monitor.look()
    assert lab.jobs[0].cause is JobCause.CANCELLED
    assert "cancelled (via condor_rm (by user me))" in lab.warnings[0]
    asked = len(lab.calls("condor_q"))
    monitor.look()
    assert len(lab.calls("condor_q")) == asked, "all is told"


def test_a_job_that_is_held_is_removed(lab, monitor):
    one = lab.submit(7)
    monitor.useful.add(one.name)
    lab.says([job(7, 5, HoldReason="too long", HoldReasonCode=46)])
    assert [one.state for one in monitor.look()] == [JobState.CANCELLING]
    assert lab.calls("condor_rm") == ["condor_rm 7.0"]
    assert "ended: time limit (too long)" in lab.warnings[0]
    lab.says([], [job(7, 3, RemoveReason="via condor_rm (by user me)")])
    assert monitor.look() == []
    (ended,) = lab.jobs
    assert (ended.state, ended.cause) == (JobState.FAILED, JobCause.TIME_LIMIT)
    assert ended.comment == "too long"


@pytest.mark.parametrize(
    "garbage", [None, "error: try later", '{"a": 1}', "[{}]", "[1"]
)
def test_what_cannot_be_an_answer_changes_nothing(lab, monitor, garbage):
    one = lab.submit(7)
    lab.says([job(7, 2)])
    monitor.look()
    (lab.directory / "condor_q.json").unlink()
    if garbage is not None:
        (lab.directory / "condor_q.json").write_text(garbage)
    for _ in range(3):
        assert [each.state for each in monitor.look()] == [JobState.RUNNING]
    assert monitor.retiring == set()
    assert monitor.words_of("lab")
    assert monitor.ends(monitor.look()).keys() == {one.name}


def test_a_batch_system_that_is_silent_for_long_is_told_once_and_when_it_is_back(
    lab, monitor, monkeypatch
):
    lab.submit(7)
    (lab.directory / "condor_q.json").write_text("<html>503</html>")
    monkeypatch.setattr("ziggy_dask.pools.job_monitor.SILENT_S", 1e-9)
    for _ in range(3):
        monitor.look()
    (told,) = lab.warnings
    assert "has given no good answer" in told
    assert "<html>503</html>" in told
    lab.says([job(7, 2)])
    monitor.look()
    assert "answers again" in lab.warnings[-1] or "answers again" in lab.warnings[0]


def test_a_worker_that_is_here_runs_whatever_the_listing_says(lab, monitor):
    one = lab.submit(7)
    (lab.directory / "condor_q.json").unlink()
    (here,) = monitor.look([one.name])
    assert here.state is JobState.RUNNING
    assert monitor.ends([here])[one.name] > here.submitted.timestamp()
    lab.says([])
    for _ in range(3):
        assert [each.state for each in monitor.look([one.name])] == [JobState.RUNNING]


def test_a_job_that_is_too_new_to_be_listed_waits(lab, monitor):
    lab.submit(7)
    assert [one.state for one in monitor.look()] == [JobState.QUEUED]


def test_three_jobs_that_do_nothing_close_an_environment(lab, monitor):
    for number in (7, 8, 9):
        lab.submit(number)
    lab.says([], [job(number, 4, ExitCode=3) for number in (7, 8, 9)])
    monitor.look()
    reason = "did anything: worker did not start (completed), exit code 3"
    assert reason in lab.site.refusals["lab"]
    assert reason in lab.warnings[0]


def test_the_log_of_a_job_says_why_its_worker_did_not_start(lab, monitor):
    one = lab.submit(7)
    logs = lab.site.cluster.home / "logs" / "jobs"
    logs.mkdir(parents=True)
    (logs / f"{one.name}-7.err").write_text("hello\npython9: command not found\n")
    lab.says([], [job(7, 4, ExitCode=127)])
    monitor.look()
    (ended,) = lab.jobs
    assert ended.cause is JobCause.NOT_STARTED
    assert ended.comment == "completed: python9: command not found"


def test_a_job_that_is_not_needed_is_cancelled_and_its_ending_told(lab, monitor):
    one = lab.submit(7)
    lab.says([job(7, 2)])
    (one,) = monitor.look()
    monitor.end([one])
    assert [each.state for each in lab.jobs] == [JobState.CANCELLING]
    lab.says([], [job(7, 3, ExitCode=0, JobCurrentStartDate=1795617822)])
    assert monitor.settle() == []
    (ended,) = lab.jobs
    assert (ended.state, ended.comment) == (JobState.CANCELLED, "no longer needed")
    assert (ended.cause, ended.exit_code) == (JobCause.NONE, 0)
    assert lab.calls("condor_rm") == ["condor_rm 7.0"]
    assert lab.warnings == []


def test_a_job_that_does_not_end_when_told_is_told_again_and_stays_on_record(
    lab, monitor
):
    lab.submit(7)
    lab.says([job(7, 2)])
    (lab.directory / "condor_rm.json").unlink()  # it fails from now on
    monitor.end(monitor.look())
    (left,) = monitor.settle(0.0)
    assert left.state is JobState.CANCELLING
    assert "condor_rm ended with exit code" in monitor.words_of("lab")
    later = JobMonitor(lab.site, Refusals(lab.site), Inline())
    (lab.directory / "condor_rm.json").touch()
    later.end(later.look())
    lab.says([], [job(7, 3)])
    assert later.settle() == []
    assert lab.jobs[0].state is JobState.CANCELLED


def test_a_job_whose_submission_seemed_to_fail_is_found_by_its_name(lab, monitor):
    made = lab.submitting()
    lab.says([job(7, 1, JobBatchName=made.name)])
    monitor.look()
    (adopted,) = lab.jobs
    assert (adopted.number, adopted.state) == ("7.0", JobState.QUEUED)
    assert "is there as job 7.0" in lab.warnings[0]


def test_a_job_whose_submission_failed_half_way_knows_its_number_itself(lab):
    made = lab.submitting()
    (lab.directory / "condor_q.json").unlink()
    monitor = JobMonitor(
        lab.site, Refusals(lab.site), Inline(), number_of={made.name: "7.0"}.get
    )
    monitor.look([made.name])
    (adopted,) = monitor.look([made.name])
    assert (adopted.number, adopted.state) == ("7.0", JobState.RUNNING)


def test_a_job_that_was_given_up_and_is_there_is_taken_on_record_again(
    lab, monitor, monkeypatch
):
    """A submission that seemed to fail may make a job minutes later."""
    monkeypatch.setattr(fates, "UNSEEN_S", 0.0)
    made = lab.submitting()
    assert monitor.look() == []
    assert lab.jobs[0].state is JobState.FAILED
    lab.says([job(9, 1, JobBatchName="ziggy-of-another"), job(8, 1, JobBatchName="x")])
    assert monitor.look() == []
    note_job(lab.site.database, made.id, JobStatus(state=JobState.FAILED, comment="x"))
    lab.submit(3)
    lab.says([job(3, 1), job(7, 1, JobBatchName=made.name)])
    monitor.look()
    again = lab.jobs[0]
    assert (again.number, again.state, again.ended) == ("7.0", JobState.QUEUED, None)
    assert "is there as job 7.0, although it was given up" in lab.warnings[-1]


def test_a_worker_whose_submission_was_given_up_is_no_stranger(lab, monkeypatch):
    """Its batch system tells no names, but the worker itself knows its number."""
    monkeypatch.setattr(fates, "UNNAMED_S", 0.0)
    made = lab.submitting()
    (lab.directory / "condor_q.json").unlink()
    monitor = JobMonitor(
        lab.site, Refusals(lab.site), Inline(), number_of={made.name: "7.0"}.get
    )
    assert monitor.look() == []
    monitor.look([made.name])
    (again,) = monitor.look([made.name])
    assert (again.number, again.state) == ("7.0", JobState.RUNNING)


def test_a_worker_that_outlives_its_job_is_sent_away_and_its_job_cancelled(
    lab, monitor, monkeypatch
):
    one = lab.submit(7)
    lab.says([], [job(7, 4, ExitCode=0)])
    assert monitor.look([one.name]) == []
    monitor.retiring.clear()
    monitor.look([one.name])
    assert monitor.retiring == set()
    monkeypatch.setattr("ziggy_dask.pools.job_monitor.LINGERS_S", 0.0)
    monitor.look([one.name])
    assert monitor.retiring == {one.name}
    assert "had ended, and its worker is here" in lab.warnings[-1]
    assert lab.calls("condor_rm")[-1] == "condor_rm 7.0"


def test_a_job_that_never_begins_is_cancelled_and_counts_as_of_no_use(lab, monitor):
    for number in (7, 8, 9):
        lab.submit(number)
    lab.says(
        [
            job(n, 5, HoldReason="no such directory", HoldReasonCode=14)
            for n in (7, 8, 9)
        ]
    )
    assert {one.state for one in monitor.look()} == {JobState.CANCELLING}
    assert {one.cause for one in lab.jobs} == {JobCause.NOT_STARTED}
    reason = "ended before it did anything: worker did not start (no such directory)"
    assert reason in lab.site.refusals["lab"]
    monitor.look()
    assert len(lab.warnings) == 1


def test_a_job_that_was_never_made_is_forgotten_when_the_listing_lacks_its_name(
    lab, monitor, monkeypatch
):
    lab.submitting()
    assert [one.state for one in monitor.look()] == [JobState.SUBMITTING]
    monkeypatch.setattr(fates, "UNSEEN_S", 0.0)
    assert monitor.look() == []
    assert lab.jobs[0].comment == "not submitted: timed out"
