"""Where output goes, and how processes end, on real workers: one subtask per process."""

import psutil
import pytest
from click.testing import CliRunner

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.main import ziggy

# All tests of this module share one mission.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("output")]

ALGORITHMS = """
    import concurrent.futures
    import contextlib
    import ctypes
    import logging
    import multiprocessing
    import os
    import signal
    import subprocess
    import sys
    import threading
    import time
    import warnings
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from . import helpers

    LIBC = ctypes.CDLL(None)


    def in_pool(function, value):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(function, [value]))


    def in_thread(function, value):
        thread = threading.Thread(target=function, args=(value,))
        thread.start()
        thread.join()


    def by_dask(text):
        import dask
        dask.compute(*[dask.delayed(print)(text) for _ in range(2)], scheduler="threads")


    def million(text):
        for number in range(1_000_000):
            LIBC.puts(b"line %d" % number)
        print(text)


    CHANNELS = {
        "print": print,
        "stderr": lambda text: print(text, file=sys.stderr),
        "buffer": lambda text: sys.stdout.buffer.write(text.encode() + b"\\n"),
        "first stdout": lambda text: print(text, file=sys.__stdout__),
        "puts": lambda text: LIBC.puts(text.encode()),
        "os.write": lambda text: os.write(2, text.encode() + b"\\n"),
        "program": lambda text: subprocess.run(["echo", text], check=True),
        "thread": lambda text: in_thread(print, text),
        "pool": lambda text: in_pool(print, text),
        "warning in a pool": lambda text: in_pool(warnings.warn, text),
        "library": lambda text: logging.getLogger("some.library").info(text),
        "root": lambda text: logging.getLogger().info(text),
        "helper": helpers.tell,
        "dask": by_dask,
        "surrogate": lambda text: print(text, "\\udcff"),
        "million": million,
    }


    def say(raw, context):
        number = int(context.labels[0][1:])
        name = list(CHANNELS)[number]
        CHANNELS[name](f"said by {name}")
        in_pool(context.logger.info, f"logged by {name}")
        return raw


    def forked():
        if not os.fork():
            raise RuntimeError("in the child")
        os.wait()


    def pooled(context):
        with multiprocessing.get_context(context).Pool(2) as pool:
            print("pool", pool.map(abs, [-1, -2]))


    def executed():
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            print("executor", list(pool.map(abs, [-1, -2])))


    def hang_up():
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(place.name)) == os.getsid(0):
                    os.kill(int(place.name), signal.SIGHUP)


    ENDS = {
        "exits": lambda: os._exit(3),
        "crashes": lambda: ctypes.string_at(0),
        "aborts": os.abort,
        "kills": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "interrupts": lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(5)),
        "ends its group": lambda: (os.killpg(0, signal.SIGTERM), time.sleep(5)),
        "ends its session": lambda: (hang_up(), time.sleep(5)),
        "leaves": lambda: subprocess.Popen(["sleep", "777.5"]),
        "forks": forked,
        "pool": lambda: pooled("fork"),
        "spawned pool": lambda: pooled("spawn"),
        "executor": executed,
        "good": lambda: None,
    }


    def end(raw, context):
        number = int(context.labels[0][1:])
        if number < len(ENDS):
            print("begins", list(ENDS)[number])
            list(ENDS.values())[number]()
        return raw
"""
HELPERS = """
    import logging

    log = logging.getLogger(__name__)


    def tell(text):
        log.info(text)
"""
CHANNELS = [
    *("print", "stderr", "buffer", "first stdout", "puts", "os.write", "program"),
    *("thread", "pool", "warning in a pool", "library", "root", "helper", "dask"),
    *("surrogate", "million"),
]
LETHAL = {
    "exits": "exited with code 3",
    "crashes": "was killed by signal 11 (SIGSEGV)",
    "aborts": "was killed by signal 6 (SIGABRT)",
    "kills": "was killed by signal 9 (SIGKILL)",
    "interrupts": "exited with code 1",
    "ends its group": "was killed by signal 15 (SIGTERM)",
    "ends its session": "was killed by signal 1 (SIGHUP)",
}
HARMLESS = {
    "leaves": "ended what outlived the subtask: sleep 777.5",
    "forks": "",
    "pool": "pool [1, 2]",
    "spawned pool": "pool [1, 2]",
    "executor": "executor [1, 2]",
    "good": "",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The two tasks of a run on local workers, of one thread each."""
    home = tmp_path_factory.mktemp("output")
    file = home / "cluster.yaml"
    file.write_text(
        "cluster: test\nhome: ./home\ncompute: {local: {workers: 2, threads: 1}}\n"
    )
    cluster = create_cluster(file)
    root = home / "code"
    root.mkdir()
    for name, text in (("algorithms.py", ALGORITHMS), ("helpers.py", HELPERS)):
        (root / name).write_text(
            "\n".join(line.removeprefix("    ") for line in text.splitlines())
        )
    store(cluster, {"set-1/L0": images(len(CHANNELS))})
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("said", "said"),
            data_type("ended", "ended"),
            node("say", "say", "raw", "said"),
            node("end", "end", "raw", "ended", max_failed_subtasks=len(LETHAL)),
        )
    )
    instance = cluster.run("test")
    return {task.record.node: task for task in instance.tasks}


@pytest.mark.parametrize("channel", CHANNELS)
def test_all_that_is_printed_is_in_the_log(ran, channel):
    (words,) = ran["say"].logs(CHANNELS.index(channel))
    lines = [line for line in words.log.splitlines() if "said by " in line]
    assert lines
    assert all(f"said by {channel}" in line for line in lines)
    assert f"logged by {channel}" in words.log
    assert len(words.log) < 70_000
    if channel == "helper":
        assert lines == ["INFO helpers: said by helper"]
    if channel == "million":
        assert words.log.startswith("[")
        assert "\nline 999999\n" in words.log


@pytest.mark.parametrize("end", LETHAL)
def test_a_dead_worker_says_how_it_ended_and_what_was_printed(ran, end):
    number = [*LETHAL, *HARMLESS].index(end)
    subtask = ran["end"].subtasks[number]
    assert subtask.state.value == "FAILED"
    assert subtask.cause.value == "worker lost"
    assert LETHAL[end] in subtask.message
    (words,) = ran["end"].logs(number)
    assert f"begins {end}" in words.log


@pytest.mark.parametrize("end", HARMLESS)
def test_what_ends_no_worker_ends_no_subtask(ran, end):
    number = [*LETHAL, *HARMLESS].index(end)
    subtask = ran["end"].subtasks[number]
    assert subtask.state.value == "COMPLETE", subtask.message
    (words,) = ran["end"].logs(number)
    assert HARMLESS[end] in words.log


def test_no_process_is_left(ran):
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", "777.5"]
    ]


def test_the_logs_of_workers_are_found(ran):
    file = ["--cluster", str(ran["say"]._site.cluster.path)]
    task = str(ran["say"].id)
    for words in (["--worker", "1"], [task, "--subtask", "0", "--worker"]):
        done = CliRunner().invoke(ziggy, [*file, "logs", *words])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("── worker ")
        assert "begins" in done.output
    done = CliRunner().invoke(ziggy, [*file, "logs", "--worker", "far:7"])
    assert "no log of worker 'far:7'" in str(done.exception)
