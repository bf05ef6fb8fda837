"""The log of a worker process that runs several subtasks at a time."""

import ast
import os
import re
import subprocess
import sys

PROGRAM = """
import ctypes, os, sys, threading
from types import SimpleNamespace
from ziggy_dask.workers import capture, worker_log

os.environ[worker_log.VARIABLE] = sys.argv[1]
result = os.dup(1)
libc = ctypes.CDLL(None)
worker_log.dask_setup(SimpleNamespace(name="there/0"))
texts, turn = {}, threading.Barrier(2)


def work(number):
    turn.wait()
    with capture.captured("", f"task 3, subtask {number}") as tail:
        print("printed", number)
        libc.puts(b"put by %d" % number)
    texts[number] = tail.text()


threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("outside")
os.write(result, repr(texts).encode())
os.abort()
"""
STAMP = r"── \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC, "


def test_what_nobody_can_tell_apart_is_in_the_log_with_the_times(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    texts = ast.literal_eval(done.stdout)
    assert texts == {0: "printed 0\n", 1: "printed 1\n"}
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == "worker-there_0.log"
    text = log.read_text()
    assert re.match(f"{STAMP}process \\d+ of worker there/0 begins\n", text)
    for number in range(2):
        begin = re.search(f"{STAMP}task 3, subtask {number} begins\n", text)
        end = re.search(f"{STAMP}task 3, subtask {number} ends\n", text)
        assert begin.end() <= text.index(f"put by {number}\n") < end.start()
    assert text.endswith("outside\n")


PLAIN = """
import os, sys
from types import SimpleNamespace
from ziggy_dask.workers import worker_log

os.environ[worker_log.VARIABLE] = sys.argv[1]
worker_log.dask_setup(SimpleNamespace(name="0"))
print("printed")
"""


def test_a_log_that_is_no_file_is_told_and_not_waited_for(tmp_path):
    log = tmp_path / "worker-0.log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    for _ in range(2):  # with somebody who reads the pipe, and without
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        assert done.stdout == "printed\n"
        assert done.stderr.startswith(f"{log}: can't be written, so it goes here: ")
        if reader is not None:
            os.close(reader)
            reader = None
