"""Twelve ways in which a worker ends of its work, wherever workers are.

Subtasks 0 to 11 end their worker the first time that they run, each in its way; others just
run. All end well, and none runs again that was on record. With ``ZIGGY_ENDS=always`` they do so
each time, and it is said of each how its worker ended; that takes minutes.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from textwrap import dedent

from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import recorded
from ziggy_dask.interface.cluster import create_cluster

ALGORITHMS = """
    import _thread
    import contextlib
    import ctypes
    import os
    import resource
    import signal
    import time
    from pathlib import Path

    ENOUGH_S = 30  # for any worker to end, however busy the machine is


    def told(number):
        os.kill(os.getpid(), number)
        time.sleep(2)


    def end_group():
        os.killpg(0, signal.SIGTERM)
        time.sleep(ENOUGH_S)


    def hang_up():
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(place.name)) == os.getsid(0):
                    os.kill(int(place.name), signal.SIGHUP)
        time.sleep(ENOUGH_S)


    def use_up_time():
        resource.setrlimit(resource.RLIMIT_CPU, (1, 60))
        while True:
            pass


    def interrupt():
        _thread.interrupt_main()
        time.sleep(2)


    def close():
        from distributed import get_worker
        worker = get_worker()
        worker.loop.add_callback(worker.close)
        time.sleep(2)


    def retire():
        from distributed import get_client, get_worker
        with get_client() as client:
            client.retire_workers([get_worker().address])
        time.sleep(2)


    def take_memory():
        taken = []
        while True:
            taken.append(b"x" * 100_000_000)
            time.sleep(0.02)


    ENDS = {
        "kills": lambda: told(signal.SIGKILL),
        "crashes": lambda: ctypes.string_at(0),
        "aborts": os.abort,
        "exits": lambda: os._exit(3),
        "uses up its time": use_up_time,
        "ends its group": end_group,
        "ends its session": hang_up,
        "takes memory": take_memory,
        "interrupts": lambda: told(signal.SIGINT),
        "interrupts its thread": interrupt,
        "closes": close,
        "is retired": retire,
    }


    def begun_before(number):
        with open("PLACE/runs", "a+") as file:
            file.seek(0)
            before = file.read().split()
            file.write(f"{number}\\n")
        return str(number) in before


    def work(raw, context):
        number = int(context.labels[0][1:])
        is_again = begun_before(number)
        if number < len(ENDS) and (ALWAYS or not is_again):
            print("begins", list(ENDS)[number], flush=True)
            list(ENDS.values())[number]()
        time.sleep(0.1)
        return raw * 2
"""
ALWAYS = os.environ.get("ZIGGY_ENDS") == "always"
ENDS = {
    "kills": "was killed by signal 9 (SIGKILL)",
    "crashes": "was killed by signal 11 (SIGSEGV)",
    "aborts": "was killed by signal 6 (SIGABRT)",
    "exits": "exited with code 3",
    "uses up its time": "was killed by signal 24 (SIGXCPU)",
    "ends its group": "was killed by signal 15 (SIGTERM)",
    "ends its session": "was killed by signal 1 (SIGHUP)",
    "takes memory": "was killed by signal",
    "interrupts": "exited with code 1",
    "interrupts its thread": "exited with code 1",
    "closes": "",
    "is retired": "",
}
"""How each way is called in the record; the last two let the subtask end before.

The two before these do so if the machine is slow: a worker that is interrupted ends calmly.
"""
COUNT = 40
ZIGGY = [sys.executable, "-m", "ziggy_dask"]


def make(place, compute, **options):
    """Make a cluster with such lines in its file, and the pipeline."""
    file = place / "cluster.yaml"
    file.write_text(f"cluster: test\nhome: ./home\n{compute}")
    cluster = create_cluster(file)
    root = place / "code"
    root.mkdir()
    text = (
        dedent(ALGORITHMS).replace("PLACE", str(place)).replace("ALWAYS", str(ALWAYS))
    )
    (root / "algorithms.py").write_text(text)
    store(cluster, {"set-1/L0": images(COUNT)})
    allowed = {"max_failed_subtasks": len(ENDS)}
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("work", "work", "raw", "out", **allowed, **options),
        )
    )
    return cluster


def run(cluster, place, limit_s):
    """Run it; return how often subtasks began whose success was on record, then and at last."""
    before: dict[int, int] = {}
    with subprocess.Popen(
        [*ZIGGY, "--cluster", place / "cluster.yaml", "run", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until = time.monotonic() + limit_s
        while process.poll() is None:
            if time.monotonic() > until:
                process.kill()
                raise AssertionError("it hangs")
            done = {number for _, number in recorded(cluster)}
            counts = runs(place)
            before |= {one: counts[one] for one in done if one not in before}
            time.sleep(0.2)
        said = process.stdout.read()
    assert process.returncode == 0, said
    counts = runs(place)
    return before, {one: counts[one] for one in before}


def runs(place):
    """Return how often subtasks began."""
    file = place / "runs"
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


def check(cluster, place):
    """Check state, outcomes and logs."""
    (instance,) = cluster.instances.values()
    (task,) = instance.tasks
    assert instance.state.value == "COMPLETED"
    failed = {one.number: one for one in task.subtasks if one.state.value == "FAILED"}
    rest = {one.number for one in task.subtasks if one.state.value == "COMPLETE"}
    assert rest | failed.keys() == set(range(COUNT))
    begun = runs(place)
    assert all(begun[number] > 1 for number in range(len(ENDS) - 4)), begun
    if not ALWAYS:
        assert not failed, [f"{one.number}: {one.message}" for one in failed.values()]
        return
    assert set(range(len(ENDS) - 2)) <= failed.keys() <= set(range(len(ENDS)))
    for number, one in failed.items():
        end, words = list(ENDS.items())[number]
        print(end, "|", one.cause.value, "|", one.message, "|", begun[number])
        lost = "out of memory" if end == "takes memory" else "worker lost"
        assert one.cause.value == lost, end
        assert words in one.message, end
        (log,) = task.logs(number)
        assert f"begins {end}" in log.log, end
