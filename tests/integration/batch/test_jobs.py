"""Job scripts that really run: each starts a worker, which does what it is given.

PBS is a stand-in, in ``pbs_standin``: its ``qsub`` runs the script as a process. Grid
Engine is Debian's.
"""

import asyncio
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import ziggy_dask as z
from ziggy_dask.compute.script import JobSpec, job_of
from ziggy_dask.compute.security import certificates


@pytest.fixture
def secured(tmp_path):
    """A scheduler without workers that wants certificates, and a client of it."""
    with (
        certificates(tmp_path / "keys") as security,
        LocalCluster(
            n_workers=0,
            host="127.0.0.1",
            protocol="tls",
            security=security,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, security=security, set_as_default=False) as client,
    ):
        yield client, security


def environment(**changes) -> z.Environment:
    values = {
        "name": "there",
        "batch": z.BatchSystem.PBS,
        "account": "s1234",
        "prologue": ("export FROM_PROLOGUE=yes",),
        "architectures": (
            z.Architecture(
                name="rome",
                cores=2,
                memory_bytes=2_000_000_000,
                directives=("-l select=1:model=rom_ait",),
            ),
        ),
    }
    return z.Environment(**values | changes)


def spec(client: Client, tmp_path: Path, **changes) -> JobSpec:
    place = changes.pop("environment", environment())
    values = {
        "environment": place,
        "architecture": place.architectures[0],
        "scheduler": client.scheduler.address,
        "name": "ziggy-1-0",
        "queue": "low",
        "wall_s": 3600.0,
        "resources": (("memory", 2e9), ("environment/there", 1.0)),
        "log_directory": str(tmp_path / "logs"),
        "local_directory": str(tmp_path / "scratch"),
    }
    return JobSpec(**values | changes)


def until(is_so, what: str) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def listed() -> str:
    return subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout


@pytest.mark.integration
def test_a_job_of_pbs_is_a_worker_until_it_is_cancelled(pbs, secured, tmp_path):
    client, security = secured
    job = job_of(spec(client, tmp_path), security)
    asyncio.run(job.start())
    client.wait_for_workers(1, timeout=120)
    (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
    assert (worker["name"], worker["nthreads"]) == ("ziggy-1-0", 2)
    assert worker["resources"] == {"memory": 2e9, "environment/there": 1.0}
    assert worker["memory_limit"] == pytest.approx(2e9, rel=0.01)
    asked = {"memory": 1.5e9, "environment/there": 1}
    found = client.submit(os.getenv, "FROM_PROLOGUE", resources=asked)
    assert found.result(timeout=120) == "yes"
    assert job.job_id in listed()
    assert "low" in listed()
    subprocess.run(["qdel", job.job_id], check=True)
    until(lambda: not client.scheduler_info()["workers"], "the worker went on")
    assert listed() == ""


@pytest.mark.sge
def test_a_job_of_grid_engine_is_a_worker_until_it_is_cancelled(
    sge, secured, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    client, security = secured
    node = z.Architecture(
        name="node", cores=2, memory_bytes=2_000_000_000, directives=("-pe smp 2",)
    )
    place = environment(batch=z.BatchSystem.SGE, account="", architectures=(node,))
    asked = spec(client, tmp_path, environment=place, queue="all.q")
    job = job_of(asked, security)
    asyncio.run(job.start())
    client.wait_for_workers(1, timeout=120)
    (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
    assert worker["resources"] == {"memory": 2e9, "environment/there": 1.0}
    assert client.submit(os.getenv, "JOB_ID").result(timeout=120) == job.job_id
    assert client.submit(os.getenv, "NSLOTS").result(timeout=120) == "2"
    assert job.job_id in listed()
    subprocess.run(["qdel", job.job_id], check=True)
    until(lambda: not client.scheduler_info()["workers"], "the worker went on")
    until(lambda: listed() == "", "the job stayed in the queue")
    refused = job_of(replace(asked, queue="none.q"), security)
    with pytest.raises(RuntimeError, match="unknown queue"):
        asyncio.run(refused.start())


@pytest.mark.integration
def test_what_a_worker_does_not_have_waits(pbs, secured, tmp_path):
    client, security = secured
    job = job_of(spec(client, tmp_path), security)
    asyncio.run(job.start())
    client.wait_for_workers(1, timeout=120)
    large = client.submit(sum, [1], resources={"memory": 3e9})
    elsewhere = client.submit(sum, [2], resources={"environment/other": 1})
    small = client.submit(sum, [3], resources={"memory": 1e9})
    assert small.result(timeout=120) == 3
    assert (large.status, elsewhere.status) == ("pending", "pending")


@pytest.mark.integration
def test_a_job_without_the_certificates_is_no_worker(pbs, secured, tmp_path):
    client, _ = secured
    place = environment(options=z.Options.of({"death_timeout": 5}))
    job = job_of(spec(client, tmp_path, environment=place))
    asyncio.run(job.start())
    until(lambda: listed() == "", "the job went on")
    assert not client.scheduler_info()["workers"]
    assert (pbs / "1" / "exit").read_text() != "0\n"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"queue": "refused"}, "Unknown queue"),
        ({"environment": environment(directives=("--what",))}, "illegal option"),
    ],
    ids=["queue", "directive"],
)
def test_a_job_that_is_refused_says_why(pbs, secured, tmp_path, change, words):
    client, security = secured
    job = job_of(spec(client, tmp_path, **change), security)
    with pytest.raises(RuntimeError, match=words):
        asyncio.run(job.start())
