"""Jobs of batch systems on record."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import new_instance
from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.records import create_database
from ziggy_dask.records.history import node_history
from ziggy_dask.records.jobs import add_job, jobs, note_job
from ziggy_dask.records.lease import give_back_lease, take_lease

JOB: dict[str, Any] = {
    "instance_id": 1,
    "environment": "lab",
    "architecture": "node",
    "queue": "",
    "wall_s": 900.0,
    "cost_per_hour": 2.0,
}


@pytest.fixture
def database(tmp_path):
    """Records of an instance, and of a job that is about to be submitted for it."""
    database = create_database(f"sqlite:///{tmp_path}/ziggy.db")
    new_instance(database)
    add_job(database, **JOB)
    yield database
    database.close()


def status(state: JobState, **values) -> JobStatus:
    return JobStatus(state=state, comment=values.pop("comment", ""), **values)


def test_how_a_job_ended_is_kept(database):
    note_job(database, 1, status(JobState.QUEUED), number="7")
    note_job(database, 1, status(JobState.RUNNING))
    ending = {"cause": JobCause.TIME_LIMIT, "exit_code": 143}
    note_job(database, 1, status(JobState.FAILED, comment="TIMEOUT", **ending))
    (one,) = jobs(database)
    assert (one.number, one.state, one.comment) == ("7", JobState.FAILED, "TIMEOUT")
    assert (one.cause, one.exit_code) == (JobCause.TIME_LIMIT, 143)
    assert one.submitted <= one.started <= one.ended
    assert jobs(database, only_open=True) == []


def test_times_of_the_batch_system_take_the_place_of_those_seen(database):
    note_job(database, 1, status(JobState.RUNNING))
    (seen,) = jobs(database)
    now = datetime.now(UTC)
    began = seen.submitted + (now - seen.submitted) / 2
    note_job(database, 1, status(JobState.ENDED, started=began, ended=now))
    (one,) = jobs(database)
    assert (one.started, one.ended) == (began, now)
    assert one.cost == pytest.approx(2 * (now - began).total_seconds() / 3600)


def test_times_of_a_clock_that_is_wrong_stay_within_what_can_be(database):
    day = timedelta(days=1)
    now = datetime.now(UTC)
    told = status(JobState.ENDED, started=now - day, ended=now + day)
    note_job(database, 1, told)
    (one,) = jobs(database)
    assert one.started == one.submitted
    assert one.ended <= datetime.now(UTC)


def test_what_is_not_told_is_the_first_that_was_seen(database):
    note_job(database, 1, status(JobState.RUNNING))
    (first,) = jobs(database)
    note_job(database, 1, status(JobState.RUNNING, comment="suspended"))
    note_job(database, 1, status(JobState.ENDED))
    note_job(database, 1, status(JobState.ENDED, exit_code=0))
    (last,) = jobs(database)
    assert last.started == first.started
    assert last.exit_code == 0


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("act", "numbers"),
    [
        (
            lambda database: note_job(database, 1, status(JobState.QUEUED), number="7"),
            ["7"],
        ),
        (lambda database: node_history(database, "small", "work"), [""]),
    ],
    ids=["note", "history"],
)
def test_a_supervisor_waits_for_the_database_to_look_after_jobs(postgres, act, numbers):
    database = create_database(postgres.new_database())
    new_instance(database)
    add_job(database, **JOB)
    lease = take_lease(database)
    postgres.kill()
    back = threading.Timer(0.5, postgres.start)
    back.start()
    act(database)
    back.join()
    assert [one.number for one in jobs(database)] == numbers
    give_back_lease(database, lease)
    database.close()
