"""Watching directories: news come, and nothing that fails does harm."""

import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing

import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.supervisor import service
from ziggy_dask.supervisor.file_watcher import Watch


def hears_of(watch, directory, at_most_s=60):
    """Tell whether files that are put into a directory make news."""
    deadline = time.monotonic() + at_most_s
    number = 0
    while not watch.news.wait(0.1):
        assert time.monotonic() < deadline, "no news came"
        (directory / f"{number}.txt").touch()
        number += 1
    watch.news.clear()
    return True


def test_news_come_of_all_directories_that_are_there(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    with closing(Watch()) as watch:
        watch.follow([one, other])
        assert hears_of(watch, one)
        other.mkdir()
        watch.follow([one, other])
        assert hears_of(watch, other)
    assert not [t for t in threading.enumerate() if t.name == "ziggy-watch"]


def test_nothing_to_watch_is_no_news(tmp_path):
    with closing(Watch()) as watch:
        watch.follow([tmp_path / "none"])
        assert not watch.news.is_set()


def test_a_machine_that_can_not_watch_says_so_and_goes_on(tmp_path):
    script = f"""
        import logging, os, pathlib, resource, threading
        from ziggy_dask.supervisor.file_watcher import Watch

        logging.basicConfig()
        watch = Watch()
        most = max(map(int, os.listdir("/proc/self/fd")))
        while os.open("/dev/null", os.O_RDONLY) <= most:
            pass
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + 2, limit))
        watch.follow([pathlib.Path({str(tmp_path)!r})])
        for thread in threading.enumerate():
            if thread.name == "ziggy-watch":
                thread.join()
        watch.close()
        print("goes on")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "goes on\n", done.stderr
    assert "ready files are only looked for by the clock" in done.stderr


@pytest.mark.integration
def test_ready_files_are_found_long_before_the_clock_says_so(
    cluster, code, tmp_path, monkeypatch
):
    watched = tmp_path / "watched"
    watched.mkdir()
    cluster.register(
        pipeline(
            code("def copy(raw):\n    return raw\n"),
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("copy", "copy", "raw", "out"),
            events=(z.EventHandler(name="downlink", directory=str(watched)),),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    monkeypatch.setattr(service, "LOOK_S", 1e9)
    server = threading.Thread(target=cluster.serve)
    server.start()
    other = z.open(cluster._site.cluster.path)
    try:
        deadline = time.monotonic() + 60
        while not other.instances:
            assert time.monotonic() < deadline
            assert server.is_alive()
            (watched / "READY.x.1").touch()  # until the watch has begun
            server.join(0.5)
        assert other.follow(1).state.value == "COMPLETED"
    finally:
        cluster.stop()
        server.join(60)
    assert not server.is_alive()
