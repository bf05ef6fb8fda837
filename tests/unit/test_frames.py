"""Looking at frames: as the interpreter does, and without the garbage collector."""

import gc
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

import ziggy_dask  # noqa: F401  # which makes it safe
from ziggy_dask import frames


@contextmanager
def threads(count):
    """Let some threads wait, whose frames nobody has looked at yet."""
    ended = threading.Event()
    ready = threading.Barrier(count + 1)

    def wait():
        ready.wait()
        ended.wait()

    started = [threading.Thread(target=wait) for _ in range(count)]
    tracer = threading.gettrace()
    threading.settrace(None)  # a tracer looks at every frame
    for thread in started:
        thread.start()
    ready.wait()
    threading.settrace(tracer)
    try:
        yield [thread.ident for thread in started]
    finally:
        ended.set()
        for thread in started:
            thread.join()


@contextmanager
def collecting_at_every_allocation():
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def collections_in(look):
    """Return how many collections began while somebody looked at new frames."""
    with threads(20) as known, collecting_at_every_allocation():
        begun = gc.get_stats()[0]["collections"]
        found = look()
        ended = gc.get_stats()[0]["collections"]
    assert set(known) <= set(found)
    return ended - begun


def test_no_collection_begins_while_frames_are_looked_at():
    assert collections_in(frames.current_frames) <= 2  # those of the measurement itself
    assert gc.isenabled()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later Pythons never do")
def test_the_interpreter_by_itself_would_let_them_begin():
    assert collections_in(frames._unsafe) > 2
    assert sys._current_frames is frames.current_frames


@pytest.mark.parametrize("version", [(3, 11, 7), (3, 12, 0), (3, 13, 1)])
def test_only_pythons_that_need_it_are_changed(version, monkeypatch):
    monkeypatch.setattr(sys, "_current_frames", frames._unsafe)
    expected = frames.current_frames if version < (3, 12) else frames._unsafe
    assert frames.make_safe(version) is expected
    assert frames.make_safe(version) is expected


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        assert threading.get_ident() in frames.current_frames()
        assert not gc.isenabled()
    finally:
        gc.enable()


WORKER = """
import gc, sys, tempfile, threading, time
import ziggy_dask
import icechunk, zarr
icechunk.set_logs_filter("error")
from distributed.gc import enable_gc_diagnosis
enable_gc_diagnosis()
gc.set_threshold(20, 1, 1)
repo = icechunk.Repository.create(icechunk.local_filesystem_storage(tempfile.mkdtemp()))
session = repo.writable_session("main")
group = zarr.open_group(session.store, mode="a")
group.create_array("x", shape=(64, 64), chunks=(8, 8), dtype="f8")[:] = 1.0
session.commit("x")

def read():
    while True:
        reading = repo.readonly_session("main")
        zarr.open_group(reading.store, mode="r")["x"][:]

for _ in range(2):
    threading.Thread(target=read, daemon=True).start()
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    sys._current_frames()  # as Dask's profiler does in every worker
    time.sleep(0.002)
print("alive", flush=True)
__import__("os")._exit(0)
"""


@pytest.mark.integration
def test_a_process_that_profiles_and_reads_stays_alive():
    """A few seconds of what deadlocked on Python 3.11 in one minute, with luck less."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, "20"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "alive\n"
