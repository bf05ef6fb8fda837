"""The supervisor as a process in the background, asked and killed by others."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store, work_pipeline
from tests.servers import free_port
from ziggy_dask.interface.daemon import start_supervisor
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.supervisor import TaskEnded

pytestmark = pytest.mark.integration

ALGORITHMS = """
    import time
    from pathlib import Path

    HERE = Path(__file__).parent


    def work(raw, context):
        with (HERE / "runs.txt").open("a") as file:
            file.write(f"{context.instance} {context.unit['dataset']} {context.labels}\\n")
        print("working on", context.labels)
        deadline = time.monotonic() + 60
        while (HERE / "wait").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if (HERE / "broken").exists() and context.labels == ["i1"]:
            raise ValueError("clouds")
        return raw * 2
"""


@pytest.fixture
def mission(cluster, code):
    """A cluster with a pipeline of one node; what is left of supervisors is ended."""
    root = code(ALGORITHMS)
    cluster.register(work_pipeline(root))
    store(cluster, {"set-1/L0": images(3, seed=1), "set-2/L0": images(3, seed=2)})
    cluster.root = root
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    yield cluster
    left = [
        one
        for one in psutil.Process().children(recursive=True)
        if one.pid not in before
    ]
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=10)


@pytest.fixture
def served(mission):
    """The cluster with a supervisor in the background; its number as an attribute."""
    mission.pid, _ = start_supervisor(mission._site.cluster.path)
    yield mission
    mission.end_supervisor()


def ziggy(cluster, *arguments):
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "ziggy_dask"]
    place = ["--cluster", str(cluster._site.cluster.path)]
    return subprocess.run(
        [*command, *place, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wait_until(condition, at_most_s=60):
    """Wait until something holds that another process brings about."""
    deadline = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def ran(cluster):
    file = cluster.root / "runs.txt"
    return sorted(file.read_text().splitlines()) if file.exists() else []


def test_runs_are_handed_over_to_the_supervisor(served):
    done = ziggy(served, "run", "test", "--name", "from a shell")
    assert done.returncode == 0, done.stderr
    assert "COMPLETED" in done.stdout
    instance = served.run("test", name="from Python", where=["dataset=set-1"])
    assert (instance.id, instance.state.value) == (2, "COMPLETED")
    assert [task.record.unit for task in instance.tasks] == ["[set-1]"]
    assert len(ran(served)) == 9
    assert f"process {served.pid} on" in ziggy(served, "cluster", "status").stdout


def test_a_detached_run_says_its_number_and_goes_on(served):
    (served.root / "wait").touch()
    done = ziggy(served, "run", "test", "--detach")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert served.instance(1).state.value == "PROCESSING"
    other = served.run("test", wait=False, where=["dataset=set-2"])
    wait_until(lambda: [t.record.state for t in other.tasks] == ["QUEUED"])
    assert served.instance(1).state.value == "PROCESSING"
    told = []

    def listen(event):
        told.append(event)
        (served.root / "wait").unlink(missing_ok=True)  # once all has been seen running

    states = {served.follow(n, listen=listen).state.value for n in (1, other.id)}
    assert states == {"COMPLETED"}
    tasks = {task.id for n in (1, other.id) for task in served.instance(n).tasks}
    assert {one.task for one in told if isinstance(one, TaskEnded)} == tasks


@pytest.mark.parametrize("whose", [["1"], ["--instance", "1"]])
def test_logs_are_followed_until_a_task_or_an_instance_has_ended(served, whose):
    (served.root / "wait").touch()
    instance = served.run("test", wait=False, where=["dataset=set-1"])
    wait_until(lambda: ran(served))
    command = [sys.executable, "-m", "ziggy_dask", "--cluster"]
    place = str(served._site.cluster.path)
    follower = subprocess.Popen(
        [*command, place, "logs", "--follow", *whose],
        stdout=subprocess.PIPE,
        text=True,
    )
    (served.root / "wait").unlink()
    output, _ = follower.communicate(timeout=60)
    assert instance.state.value == "COMPLETED" or served.follow(instance.id)
    for number in range(3):
        assert (
            f"── task 1, subtask {number} (i{number})\nworking on ['i{number}']\n"
            in output
        )


def test_what_makes_no_sense_is_refused_alike_with_a_supervisor_and_without(mission):
    senseless = {
        ("restart", "99"): (4, "99"),
        ("restart", "--cause", "12345678"): (4, "no failure is of the kind '12345678'"),
        ("run", "tests"): (3, "did you mean 'test'"),
    }
    alone = {one: ziggy(mission, *one) for one in senseless}
    pid, _ = start_supervisor(mission._site.cluster.path)
    served = {one: ziggy(mission, *one) for one in senseless}
    for one, (code, message) in senseless.items():
        assert (alone[one].returncode, served[one].returncode) == (code, code), one
        assert message in served[one].stderr
        assert served[one].stderr == alone[one].stderr
    second = ziggy(mission, "cluster", "start")
    assert second.returncode == 5
    assert f"process {pid} on" in second.stderr
    mission.end_supervisor()


def test_failures_are_restarted_and_runs_halted_through_it(served):
    (served.root / "broken").touch()
    assert ziggy(served, "run", "test").returncode == 1
    (served.root / "broken").unlink()
    done = ziggy(served, "restart", "--instance", 1)
    assert (done.returncode, served.instance(1).state.value) == (0, "COMPLETED")
    assert len(ran(served)) == 8
    (served.root / "wait").touch()
    instance = served.run("test", wait=False)
    wait_until(lambda: len(ran(served)) > 8)
    assert ziggy(served, "halt", "--instance", instance.id).returncode == 0
    assert served.follow(instance.id).state.value == "ERRORS_STALLED"
    assert {t.record.message for t in instance.tasks} == {"halted by an operator"}
    (served.root / "wait").unlink()


def test_one_that_is_told_to_stop_leaves_nothing_running_and_the_next_goes_on(mission):
    pid, _ = start_supervisor(mission._site.cluster.path)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    (mission.root / "wait").touch()
    instance = mission.run("test", wait=False)
    wait_until(lambda: ran(mission))
    done = ziggy(mission, "cluster", "stop")
    assert done.returncode == 0, done.stderr
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert instance.state.value == "PROCESSING"
    assert ziggy(mission, "cluster", "stop").stdout == "no supervisor runs\n"
    (mission.root / "wait").unlink()
    assert ziggy(mission, "cluster", "start").returncode == 0
    assert mission.follow(instance.id).state.value == "COMPLETED"
    mission.end_supervisor()


def test_one_that_stands_by_takes_over_from_one_that_is_killed(mission):
    (mission.root / "wait").touch()
    first, _ = start_supervisor(mission._site.cluster.path)
    second, log = start_supervisor(mission._site.cluster.path, standby=True)
    instance = mission.run("test", wait=False)
    wait_until(lambda: ran(mission))
    wait_until(lambda: f"in charge: process {first} on" in log.read_text())
    assert mission.supervisor.pid == first
    os.kill(first, signal.SIGKILL)
    (mission.root / "wait").unlink()
    wait_until(lambda: (now := mission.supervisor) and now.pid == second)
    assert mission.follow(instance.id).state.value == "COMPLETED"
    mission.end_supervisor()


def test_without_one_nothing_can_be_detached(mission):
    with pytest.raises(z.ClusterError, match="start one with: ziggy cluster start"):
        mission.run("test", wait=False)
    assert mission.instances == {}


def test_one_that_can_not_start_says_why(mission):
    (mission.home / "scratch").touch()
    with pytest.raises(z.ClusterError, match="the workers' directory can't be made"):
        start_supervisor(mission._site.cluster.path)
    assert mission.supervisor is None


@pytest.fixture
def watched(cluster, code, tmp_path):
    """A cluster with a pipeline that ready files start, and a function that delivers."""
    watch = tmp_path / "watch"
    watch.mkdir()
    cluster.register(
        pipeline(
            code(
                "def copy(raw, context):\n    return [context.event_labels, raw][1]\n"
            ),
            data_type(
                "raw",
                "L0",
                kind=z.ProductKind.FILE,
                files="(r[0-9]+)\\.txt",
                reader="bytes",
                external=False,
            ),
            data_type(
                "out",
                "L1",
                kind=z.ProductKind.FILE,
                files="(r[0-9]+)\\.txt",
                external=False,
            ),
            z.Node(name="receipt", step=z.DataReceiptStep()),
            node("copy", "copy", "raw", "out"),
            events=(z.EventHandler(name="downlink", directory=str(watch)),),
        )
    )
    receipt = cluster._site.cluster.receipt

    def deliver(name, number):
        place = receipt / name / f"set-{number}" / "L0"
        place.mkdir(parents=True)
        (place / f"r{number}.txt").write_text(name)
        manifest = generate_manifest(receipt / name, number, ChecksumType.SHA256)
        (receipt / name / f"{name}-manifest.xml").write_text(manifest_to_xml(manifest))

    cluster.deliver, cluster.watch = deliver, watch
    yield cluster
    cluster.end_supervisor()


def test_ready_files_start_pipelines_on_their_own_deliveries(watched):
    for number, name in enumerate(("gazelle", "zebra", "lion"), start=1):
        watched.deliver(name, number)
    (watched.watch / "gazelle.READY.mammal.1").touch()
    (watched.watch / "lion.READY.cats.2").touch()
    start_supervisor(watched._site.cluster.path)
    wait_until(lambda: watched.instances)
    assert watched.follow(1).state.value == "COMPLETED"
    instance = watched.instance(1)
    assert [task.record.unit for task in instance.tasks] == ["[gazelle]", "[set-1]"]
    (event,) = watched.events
    assert (event.handler, event.name, event.labels, event.instance) == (
        "downlink",
        "mammal",
        ("gazelle",),
        1,
    )
    left = [watched.watch / "lion.READY.cats.2"]
    wait_until(lambda: list(watched.watch.iterdir()) == left)
    (watched.watch / "zebra.READY.cats.2").touch()
    wait_until(lambda: len(watched.instances) == 2)
    assert watched.follow(2).state.value == "COMPLETED"
    units = [task.record.unit for task in watched.instance(2).tasks]
    assert units[:2] == ["[lion]", "[zebra]"]
    wait_until(lambda: not list(watched.watch.iterdir()))


def test_ready_files_that_make_no_sense_are_told_of_and_others_are_heeded(watched):
    (watched.watch / "READY.x.2").touch()
    start_supervisor(watched._site.cluster.path)
    wait_until(lambda: watched.alerts)
    (told,) = watched.alerts
    assert (told.severity.value, told.source) == ("WARNING", "events")
    assert "'READY.x.2' has no label, so its count must be 1" in told.message
    assert watched.instances == {}
    watched.deliver("gazelle", 1)
    (watched.watch / "gazelle.READY.mammal.1").touch()
    wait_until(lambda: watched.instances)
    assert watched.follow(1).state.value == "COMPLETED"
    wait_until(lambda: list(watched.watch.iterdir()) == [watched.watch / "READY.x.2"])
    assert sum("'READY.x.2'" in alert.message for alert in watched.alerts) == 1


def test_an_operator_can_fire_an_event(watched):
    watched.deliver("gazelle", 1)
    watched.deliver("zebra", 2)
    done = ziggy(watched, "event", "fire", "downlink", "--label", "zebra")
    assert done.returncode == 0, done.stderr
    assert watched.instance(1).tasks[0].record.unit == "[zebra]"
    listed = ziggy(watched, "events")
    assert "downlink" in listed.stdout
    assert "zebra" in listed.stdout
    refused = ziggy(watched, "event", "fire", "down")
    assert refused.returncode == 3
    assert "did you mean 'downlink'" in refused.stderr


def test_an_instance_that_can_not_go_on_ends_and_says_why(served):
    served.register(work_pipeline(served.root, memory_bytes=2**50))
    done = ziggy(served, "run", "test")
    assert done.returncode != 0
    why = "node 'work' needs 1.00 PiB of memory per subtask; the largest worker has "
    instance = served.instance(1)
    assert instance.state.value == "ERRORS_STALLED"
    assert all(why in task.record.message for task in instance.tasks)
    before = sum(why in alert.message for alert in served.alerts)
    assert before == len(instance.tasks) > 0
    done = ziggy(served, "restart", "--instance", 1)
    assert done.returncode != 0
    assert served.instance(1).state.value == "ERRORS_STALLED"
    told = [alert for alert in served.alerts if why in alert.message]
    assert sum(alert.count for alert in told) == 2 * before


@pytest.fixture
def scheduler():
    """A Dask scheduler with a worker, in processes of their own; address and end."""
    address = f"tcp://127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", f"distributed.cli.dask_{what}", *options),
                "--dashboard-address=127.0.0.1:0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for what, *options in (
            ("scheduler", f"--host={address}"),
            ("worker", address, "--no-nanny"),
        )
    ]

    def end():
        for one in running:
            one.kill()
            one.wait()

    yield address, end
    end()


def test_one_that_loses_its_scheduler_ends_and_leaves_all_to_the_next(
    mission, scheduler
):
    address, end_scheduler = scheduler
    file = mission._site.cluster.path
    usual = file.read_text()
    file.write_text(f"cluster: test\nhome: ./home\ncompute: {{address: '{address}'}}\n")
    (mission.root / "wait").touch()
    _, log = start_supervisor(file)
    started = ziggy(mission, "run", "test", "--detach")
    assert started.returncode == 0, started.stderr
    wait_until(lambda: ran(mission))
    end_scheduler()
    (mission.root / "wait").unlink()
    wait_until(lambda: "ziggy: the compute environment " in log.read_text())
    assert "what is recorded is kept" in log.read_text()
    assert mission.supervisor is None
    assert mission.instance(1).state.value == "PROCESSING"
    file.write_text(usual)
    start_supervisor(file)
    assert mission.follow(1).state.value == "COMPLETED"
    mission.end_supervisor()
