"""Output of a process of its own, on the level of file descriptors."""

import ast
import os
import subprocess
import sys

import psutil

from ziggy_dask.workers.descriptors import (
    KEPT_BYTES,
    left_behind,
    remove_ownerless,
)

PROGRAM = """
import ctypes, os, subprocess, sys, threading
from pathlib import Path
from ziggy_dask.workers import capture
from ziggy_dask.workers.descriptors import ProcessOutput

output = ProcessOutput(Path(sys.argv[1]))
capture._process_output = lambda: output
libc = ctypes.CDLL(None)
texts = []


def work():
    for number in range(2):
        with capture.captured(f"first {number}") as tail:
            print("printed", number)
            libc.puts(b"put")
            os.write(2, b"written\\n")
            subprocess.run(["echo", "echoed"], check=True)
            subprocess.Popen(["sleep", "7777"])
        texts.append(tail.text())
    with capture.captured("much") as tail:
        for number in range(20_000):
            libc.puts(b"line %06d" % number)
    texts.append(tail.text())


thread = threading.Thread(target=work)
thread.start()
thread.join()
print("outside")
print(repr(texts))
with capture.captured("last 7"):
    print("dying")
    libc.puts(b"in a buffer")
    libc.fflush(None)
    os._exit(3)
"""


def test_all_that_a_process_writes_is_kept_and_outlives_it(tmp_path):
    file = tmp_path / "output"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    outside, texts = done.stdout.splitlines()
    assert outside == "outside"
    first, second, much = ast.literal_eval(texts)
    ended = "WARNING ziggy: ended what outlived the subtask: sleep 7777\n"
    assert first == f"printed 0\nput\nwritten\nechoed\n{ended}"
    assert second == f"printed 1\nput\nwritten\nechoed\n{ended}"
    assert much.endswith("line 019998\nline 019999\n")
    assert much.startswith(f"[{20_000 * 12 - KEPT_BYTES} bytes left out]\n")
    assert left_behind(file) == ("last 7", "dying\nin a buffer\n")
    assert left_behind(tmp_path / "nothing") == ("", "")


KILLED = """
import subprocess, sys
from pathlib import Path
from ziggy_dask.workers.descriptors import ProcessOutput, output_path

output = ProcessOutput(output_path(Path(sys.argv[1]), "tls://nanny"))
output.begin("task 3, subtask 7")
sys.stdout = sys.__stdout__
child = subprocess.Popen(["sleep", "7777"])
output.end(is_told=False)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_what_nobody_could_remove_is_removed_when_nobody_has_it(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        child = psutil.Process(int(process.stdout.readline()))
        remove_ownerless(tmp_path)
        (file,) = tmp_path.iterdir()
        process.kill()
    remove_ownerless(tmp_path)
    assert list(tmp_path.iterdir()) == [file]
    child.kill()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        pass
    remove_ownerless(tmp_path)
    assert list(tmp_path.iterdir()) == []
    file.write_text("of an earlier version, which took no lock")
    os.mkfifo(f"{file}-pipe")
    remove_ownerless(tmp_path)
    assert list(tmp_path.iterdir()) == []


CLOSING = """
import os, socket, sys, time
from pathlib import Path
from ziggy_dask.workers import capture
from ziggy_dask.workers.descriptors import ProcessOutput

output = ProcessOutput(Path(sys.argv[1]))
capture._process_output = lambda: output
texts = []


def said(text):
    with capture.captured("subtask") as tail:
        print(text)
        yield
        print(text, "again")
    texts.append(tail.text())


for _ in said("closes"):
    os.close(1)
    os.close(2)
    while True:  # until both are open again
        try:
            os.fstat(1), os.fstat(2)
            break
        except OSError:
            time.sleep(0.01)
for _ in said("next"):
    pass
with capture.captured("connects") as tail:
    while True:
        os.close(2)
        connection = socket.create_server(("127.0.0.1", 0))
        if connection.fileno() == 2:
            break
        connection.close()  # it was opened again before
assert os.fstat(2).st_ino == os.fstat(connection.fileno()).st_ino
assert connection.getsockname()[0] == "127.0.0.1"
for _ in said("after"):
    assert connection.getsockname()[0] == "127.0.0.1"
print(repr(texts))
"""


def test_output_goes_on_after_an_algorithm_closed_it_and_no_connection_is_lost(
    tmp_path,
):
    done = subprocess.run(
        [sys.executable, "-c", CLOSING, str(tmp_path / "output")],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    texts = ast.literal_eval(done.stdout)
    assert texts == [f"{word}\n{word} again\n" for word in ("closes", "next", "after")]
