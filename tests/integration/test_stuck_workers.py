"""Workers that get stuck, in many ways: the work ends elsewhere, and all ends when told.

Those that end are in `test_worker_ends`.
"""

import os
import signal
import subprocess
import sys
import time
from textwrap import dedent

import pytest
from distributed.core import Status
from distributed.nanny import WorkerProcess

from tests.conftest import images, store, work_pipeline
from ziggy_dask.compute import local_workers, open_client
from ziggy_dask.errors import ClusterError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.pools.autoscaler import opened_compute
from ziggy_dask.records.alerts import alerts

# All tests of this module share one mission.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stuck")]

ALGORITHMS = """
    import ctypes, os, re, signal, threading, time
    from pathlib import Path

    HERE = Path(__file__).parent


    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)


    def deadlock():
        from distributed import get_worker
        lock = threading.Lock()
        lock.acquire()
        get_worker().loop.add_callback(lock.acquire)
        lock.acquire()


    def fifo_in_the_loop():
        from distributed import get_worker
        os.mkfifo(HERE / "fifo")
        get_worker().loop.add_callback(lambda: open(HERE / "fifo").read())
        time.sleep(3600)


    def lock_of_the_interpreter():
        ctypes.PyDLL(None).sleep(3600)  # keeps the lock, and uses no processor


    def busy_with_the_lock():
        re.match(r"(a|aa)+b", "a" * 200)  # backtracks for ages, with the lock


    def exits():
        os._exit(3)


    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3600)


    def work(raw, context):
        once = HERE / "once"
        if context.labels == ["i1"] and once.exists():
            kind = once.read_text()
            once.unlink()
            globals()[kind]()
        return raw * 2
"""

KINDS = [
    "stop",
    "deadlock",
    "fifo_in_the_loop",
    "lock_of_the_interpreter",
    "busy_with_the_lock",
    "terminated",
]


@pytest.fixture(scope="module")
def mission(tmp_path_factory):
    """A cluster whose workers stay open for all tests, with a client of theirs."""
    place = tmp_path_factory.mktemp("mission")
    file = place / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\ncompute: {local: {workers: 2}}\n")
    cluster = create_cluster(file)
    cluster.root = place / "code"
    cluster.root.mkdir()
    (cluster.root / "algorithms.py").write_text(dedent(ALGORITHMS))
    cluster.register(work_pipeline(cluster.root))
    store(cluster, {"set-1/L0": images(6, seed=1)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_workers, "SILENT_S", 6.0)
        patch.setattr(local_workers, "BUSY_S", 20.0)
        patch.setattr(local_workers, "_LOOK_S", 0.5)
        with opened_compute(cluster._site) as client:
            yield cluster, client


@pytest.mark.parametrize("kind", KINDS)
def test_work_ends_elsewhere_when_a_worker_gets_stuck(kind, mission):
    cluster, client = mission
    client.wait_for_workers(
        2, timeout=120
    )  # as many as there were, whatever ended them
    (cluster.root / "once").write_text(kind)
    done = cluster.run("test", client=client)
    assert done.state.value == "COMPLETED"
    assert not (cluster.root / "once").exists()
    assert {task.record.failed for task in done.tasks} == {0}


def test_a_nanny_that_starts_no_process_is_replaced(mission, monkeypatch):
    _, client = mission
    wait_for_nannies(client)
    monkeypatch.setattr(local_workers, "_RESTARTING_S", 3.0)
    workers = client.cluster.workers
    nanny = workers[0]
    nanny.status = Status.init  # in which it leaves a process that ended as it is
    os.kill(nanny.pid, signal.SIGKILL)
    until = time.monotonic() + 120
    while (
        workers.get(0) in (None, nanny) or workers[0].pid is None
    ) and time.monotonic() < until:
        time.sleep(0.1)
    assert workers[0] is not nanny
    client.wait_for_workers(2, timeout=120)


def test_workers_that_were_lost_are_told_of(mission):
    cluster, _ = mission
    said = [one.message for one in alerts(cluster._site.database)]
    assert any("said nothing for" in one for one in said)
    assert any("was ended by SIGKILL" in one for one in said)


def test_a_worker_that_ends_before_its_nanny_knows_that_it_joined_is_told_of(
    mission, monkeypatch
):
    """Under load a nanny is late, and the worker has begun to work."""
    cluster, client = mission
    wait_for_nannies(client)
    before = {one.id for one in alerts(cluster._site.database)}
    monkeypatch.setattr(WorkerProcess, "_init_msg_interval", 6.0)
    for nanny in client.cluster.workers.values():
        os.kill(nanny.pid, signal.SIGKILL)
    (cluster.root / "once").write_text("exits")
    assert cluster.run("test", client=client).state.value == "COMPLETED"
    wait_until(
        lambda: any(
            "ended with exit code 3" in one.message
            for one in alerts(cluster._site.database)
            if one.id not in before
        )
    )
    wait_for_nannies(client)


def wait_for_nannies(client):
    """Wait until both workers have joined, and their nannies know it."""
    client.wait_for_workers(2, timeout=120)
    running = [Status.running] * 2
    wait_until(lambda: [n.status for n in client.cluster.workers.values()] == running)


def wait_until(told):
    until = time.monotonic() + 120
    while not told():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A file; while it is there, no worker process gets beyond its first steps."""
    file = tmp_path / "broken"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('spawn_main' in word for word in sys.orig_argv):\n"
        f"    if os.path.exists({str(file)!r}): os._exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return file


REASON = "a worker's process ended with exit code 7"


def test_workers_that_can_not_be_started_any_more_are_told_of_once(
    mission, broken, monkeypatch
):
    cluster, client = mission
    wait_for_nannies(client)
    monkeypatch.setattr(local_workers, "_PAUSE_S", 1.0)
    site = cluster._site
    before = {one.id for one in alerts(site.database)}
    broken.touch()
    for nanny in client.cluster.workers.values():
        os.kill(nanny.pid, signal.SIGKILL)
    store(cluster, {"set-1/L0": images(2)})
    done = cluster.run("test", client=client)
    assert done.state.value == "ERRORS_STALLED"
    assert REASON in done.tasks[0].record.message
    new = [one for one in alerts(site.database) if one.id not in before]
    infrastructure = [one for one in new if one.severity.value == "INFRASTRUCTURE"]
    (told,) = (one for one in infrastructure if REASON in one.message)
    broken.unlink()
    until = time.monotonic() + 300
    while told.cause in {one.cause for one in alerts(site.database)}:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert cluster.run("test", client=client).state.value == "COMPLETED"


def test_a_worker_that_is_killed_while_it_starts_is_started_again(
    tmp_path, cluster, monkeypatch
):
    """Of all workers the first steps of one end, once."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if any('spawn_main' in word for word in sys.orig_argv):\n"
        f"    try: os.mkdir({str(tmp_path / 'killed')!r})\n"
        "    except FileExistsError: pass\n"
        "    else: os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with open_client(cluster._site.cluster.compute, tmp_path / "scratch") as client:
        client.wait_for_workers(2, timeout=120)
    assert (tmp_path / "killed").exists()


def test_workers_that_can_not_be_started_at_first_are_one_message(
    tmp_path, cluster, broken
):
    broken.touch()
    with (
        pytest.raises(ClusterError, match=f"local' can't be started: {REASON}"),
        open_client(cluster._site.cluster.compute, tmp_path / "scratch"),
    ):
        pass


SCRIPT = """
import ziggy_dask as z

print("the script begins", flush=True)
instance = z.open("cluster.yaml").run("test")
print(instance.state.value)
"""


def test_a_script_needs_no_guard(tmp_path, cluster, code):
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {"set-1/L0": images(2)})
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["the script begins", "COMPLETED"], done.stderr
    assert "Traceback" not in done.stderr
