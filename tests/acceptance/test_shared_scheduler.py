"""What runs leave on a scheduler that others use too: nothing but code."""

import signal
import subprocess
import sys

import dask.array as da
import pytest
from distributed import Client, LocalCluster

import ziggy_dask as z
from tests.conftest import data_type, images, pipeline, store, work_pipeline
from tests.servers import free_port
from ziggy_dask.engine import connection
from ziggy_dask.engine import run as engine_run
from ziggy_dask.engine.events import Planned, Progressed
from ziggy_dask.errors import ComputeLostError
from ziggy_dask.workers import begin_run, end_run

ALGORITHMS = """
    def lazy(raw):
        return raw * 2


    def fail(raw):
        raise ValueError("no")
"""


@pytest.fixture
def shared():
    """A client of a scheduler of its own."""
    with (
        LocalCluster(
            n_workers=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as running,
        Client(running, set_as_default=False) as client,
    ):
        yield client


def kept(dask_scheduler):
    """Return the names of our plugins and handlers, and the number of our topics."""
    names = [*dask_scheduler.plugins, *dask_scheduler.handlers]
    ours = [one for one in names if "ziggy" in one and "ziggy-code" not in one]
    return ours, sum(one.startswith("ziggy-") for one in dask_scheduler.get_events())


@pytest.mark.parametrize("function", ["lazy", "fail"])
def test_a_run_heeds_its_own_keys_alone_and_takes_its_plugin_away(
    cluster, code, shared, function
):
    store(cluster, {"set-1/L0": images(4)})
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("made", "L1"),
            z.Node(
                name="make",
                step=z.DaskFunctionStep(function=f"algorithms:{function}"),
                inputs=(z.Input(data_type="raw"),),
                outputs=("made",),
            ),
        )
    )
    theirs = shared.compute(da.ones((4, 4), chunks=2).sum())
    cluster.run("test", client=shared)
    assert theirs.result() == 16
    assert shared.run_on_scheduler(kept) == ([], 0)


def test_runs_side_by_side_do_not_take_it_from_each_other(shared):
    shared.run_on_scheduler(begin_run, "a" * 32)
    shared.run_on_scheduler(begin_run, "b" * 32)
    shared.run_on_scheduler(end_run, "a" * 32)
    ours, _ = shared.run_on_scheduler(kept)
    assert ours == ["ziggy-agreement", "ziggy_agree", "ziggy_remember"]
    shared.run_on_scheduler(end_run, "b" * 32)
    assert shared.run_on_scheduler(kept) == ([], 0)


@pytest.fixture
def apart():
    """A client of a scheduler that is a process, with one worker; and that process."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    second = ["-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    with (
        subprocess.Popen(
            [sys.executable, *first, f"--host={address}"], **quiet
        ) as scheduler,
        subprocess.Popen(
            [sys.executable, *second, "--no-dashboard", "--nthreads=1"], **quiet
        ) as worker,
    ):
        try:
            with Client(address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
                try:
                    yield client, scheduler
                finally:
                    scheduler.send_signal(signal.SIGCONT)
        finally:
            for process in (worker, scheduler):
                process.kill()


@pytest.mark.parametrize("event", [Planned, Progressed])
def test_a_scheduler_that_hangs_holds_nothing_up(
    cluster, code, apart, monkeypatch, logged, event
):
    client, scheduler = apart
    store(cluster, {"set-1/L0": images(1)})
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))

    def listen(heard):
        if isinstance(heard, event):
            monkeypatch.setattr(connection, "LIMIT_S", 2.0)
            scheduler.send_signal(signal.SIGSTOP)

    if event is Planned:
        with pytest.raises(ComputeLostError, match="has not answered for 2 s"):
            cluster.run("test", client=client, listen=listen)
    else:
        instance = cluster.run("test", client=client, listen=listen)
        assert instance.state.value == "COMPLETED"
        assert "instance 1: the scheduler keeps what it has of it" in logged.text


def test_a_scheduler_that_hangs_while_a_subtask_runs_is_noticed(
    cluster, code, apart, monkeypatch
):
    """Nothing comes back, and nobody asks it for anything else."""
    client, scheduler = apart
    monkeypatch.setattr(engine_run, "_HEAR_S", 1.0)
    store(cluster, {"set-1/L0": images(1)})
    text = f"""
    import os
    import signal

    def work(raw):
        os.kill({scheduler.pid}, signal.SIGSTOP)
        return raw
    """
    cluster.register(work_pipeline(code(text)))

    def listen(heard):
        if isinstance(heard, Planned):
            monkeypatch.setattr(connection, "LIMIT_S", 5.0)

    with pytest.raises(ComputeLostError, match="has not answered for 5 s"):
        cluster.run("test", client=client, listen=listen)
