"""The end of a command: never by a signal."""

import subprocess
import sys

SCRIPT = """
import atexit, os, sys, threading, time

class EndsBadly:
    def __del__(self):
        os.abort()

left = EndsBadly()  # as what Icechunk's threads do when Python is taken down
atexit.register(print, "handler")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.argv = ["ziggy", *sys.argv[1:]]
from ziggy_dask.interface.main import main
main()
"""


def ended(*arguments):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True
    )


def test_a_command_ends_with_its_code_after_threads_and_handlers():
    done = ended("--version")
    assert done.returncode == 0, done.stderr
    *others, last = done.stdout.splitlines()
    assert "thread" in others
    assert last == "handler"


def test_a_wrong_command_ends_with_its_own_code():
    done = ended("nonsense")
    assert done.returncode == 2
    assert "no command 'nonsense'" in done.stderr
