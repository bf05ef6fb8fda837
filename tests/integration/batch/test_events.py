"""Batch systems that are slow, full, wrong or away: on the stand-in for PBS, by hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import ziggy
from tests.integration.sample import new_cluster
from ziggy_dask.definitions import JobCause, JobState, Remote

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LINES = """environments:
  lab:
    batch: pbs
    scheduler_host: 127.0.0.1
    architectures:
      node: {cores: 1, memory: 1GB, cost: 6}
      large: {cores: 4, memory: 2GB, cost: 60}
    queues:
      low: {max_time: 1h}
"""
ALGORITHM = """
import time

def work(image):
    time.sleep(SECONDS)
    return image + 1.0

def again(more):
    return more

def fail(image):
    raise ValueError("a bad image")
"""


@pytest.fixture
def lab(pbs, tmp_path, code):
    """Make a cluster with one node on the stand-in, and data for it."""
    (pbs / "hooks").mkdir()

    def made(count: int, *, seconds: float, function: str = "work", after=()):
        cluster = new_cluster(tmp_path / "mission", LINES)
        wanted = {"memory_bytes": 200_000_000, "limit_s": 60.0}
        on = Remote(environment="lab", architecture="node")
        cluster.register(
            pipeline(
                code(ALGORITHM.replace("SECONDS", str(seconds))),
                data_type("image", "in"),
                data_type("more", "out", external=False),
                data_type("most", "last", external=False),
                node("add", function, "image", "more", remote=on, **wanted),
                *(after(wanted) if after else ()),
            )
        )
        store(cluster, {"set-1/in": images(count)})
        return cluster

    return made


def hook(pbs: Path, command: str, text: str) -> None:
    (pbs / "hooks" / command).write_text(text)


def run(cluster: z.Cluster) -> str:
    with ziggy(cluster, "run", "test") as supervisor:
        said, _ = supervisor.communicate(timeout=400)
    assert supervisor.returncode == 0, said
    after = cluster.datastore["set-1/out"]["pixels"].values
    before = cluster.datastore["set-1/in"]["pixels"].values
    np.testing.assert_array_equal(after, before + 1)
    return said


def messages(cluster: z.Cluster) -> str:
    return "\n".join(one.message for one in cluster.alerts)


def test_a_site_that_is_away_then_full_gets_as_many_jobs_as_it_takes(lab, pbs):
    """First no server, then one that takes two; one submission fails that made a job."""
    cluster = lab(8, seconds=1.5)
    hook(
        pbs,
        "qsub",
        f"""
        echo . >> {pbs}/tries; tries=$(wc -l < {pbs}/tries)
        if [ $tries = 1 ]; then
            echo "qsub: cannot connect to server pbs1 (errno=15010)" >&2; exit 1
        elif [ $tries = 2 ]; then
            mv {pbs}/hooks/qsub {pbs}/hooks/off; qsub "$@" >/dev/null
            mv {pbs}/hooks/off {pbs}/hooks/qsub
            echo "qsub: Connection timed out" >&2; exit 1
        elif [ $(ls -d {pbs}/[0-9]* | wc -l) -ge 2 ]; then
            echo "qsub: would exceed queue low's per-user limit" >&2; exit 38
        fi
        """,
    )
    run(cluster)
    told = messages(cluster)
    assert "did not take a job: qsub: cannot connect to server" in told
    assert "although its submission failed" in told
    assert "takes no more than 2 jobs now: qsub: would exceed queue low's" in told
    assert "max_jobs: 2" in told
    ran = {one.number for one in cluster.jobs() if one.started}
    assert ran == {"1", "2"}


def test_workers_get_work_whatever_the_listing_says_and_no_job_is_taken_for_ended(
    lab, pbs
):
    cluster = lab(4, seconds=2.0)
    hook(pbs, "qstat", "echo '<html>503|a|b</html>'; exit 99")
    with ziggy(cluster, "run", "test") as supervisor:
        said, _ = supervisor.communicate(timeout=400)
    assert supervisor.returncode == 0, said
    # How the jobs ended can't be told: that stays on record, and is made good later.
    assert {one.state for one in cluster.jobs()} == {JobState.CANCELLING}
    assert "may still be queued or running" in messages(cluster)
    assert "<html>503" in messages(cluster)
    (pbs / "hooks" / "qstat").unlink()
    cluster.doctor(fix=True)
    assert all(one.state.is_final for one in cluster.jobs())
    submitted = len(list(pbs.glob("[0-9]*")))
    assert submitted == len(cluster.jobs()) <= 4


def test_jobs_that_cannot_be_cancelled_stay_on_record_until_they_are(lab, pbs):
    cluster = lab(4, seconds=0.5)
    hook(pbs, "qdel", "echo 'qdel: cannot connect to server' >&2; exit 1")
    hook(pbs, "mom", "[ $(basename $1) = 1 ] && exec bash $1/script; sleep 300")
    run(cluster)
    left = {one.number for one in cluster.jobs() if not one.state.is_final}
    assert left & {"2", "3", "4"}
    told = messages(cluster)
    assert "qdel: cannot connect to server" in told
    assert "ziggy doctor --fix" in told
    found = "\n".join(one.what for one in cluster.doctor())
    assert all(f"job {number} in 'lab' is cancelling" in found for number in left)
    (pbs / "hooks" / "qdel").unlink()
    cluster.doctor(fix=True)
    ended = {one.state for one in cluster.jobs() if one.number in left}
    assert ended <= {JobState.CANCELLED, JobState.ENDED}


def test_no_jobs_are_submitted_for_what_lacks_its_input(lab, pbs):
    def after(wanted):
        on = Remote(environment="lab", architecture="large")
        return [node("again", "again", "more", "most", remote=on, **wanted)]

    cluster = lab(4, seconds=0.1, function="fail", after=after)
    with ziggy(cluster, "run", "test") as supervisor:
        said, _ = supervisor.communicate(timeout=400)
    assert supervisor.returncode == 1, said
    assert {one.architecture for one in cluster.jobs()} == {"node"}


def test_a_worker_that_cannot_start_says_so_in_the_words_of_its_log(lab, pbs):
    cluster = lab(2, seconds=0.1)
    hook(pbs, "mom", "echo 'bash: python9: command not found'; exit 127")
    with ziggy(cluster, "run", "test") as supervisor:
        said, _ = supervisor.communicate(timeout=400)
    assert supervisor.returncode == 1, said
    assert "python9: command not found" in messages(cluster)
    assert JobCause.NOT_STARTED in {one.cause for one in cluster.jobs()}
