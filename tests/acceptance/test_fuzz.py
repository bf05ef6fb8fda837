"""A few mutated inputs of each kind; for many: python -m tests.fuzz 10000."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTY = """
import os, signal, sys, tempfile, time
from tests import fuzz

def take(path):
    number = int((path.parent / "progress").read_text())
    if number == 3:
        raise ValueError("a defect")
    if number == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 7:
        time.sleep(600)
    if number == 9:
        bytearray(4 * fuzz.MEMORY_BYTES)

fuzz.LIMIT_S = 1
kind = fuzz.Kind(samples=[b"sample"], take=take, suffix=".x")
with tempfile.TemporaryDirectory() as place:
    for one in fuzz._of_kind("kind", kind, "1", range(12), place):
        print(one.splitlines()[0], one.splitlines()[-1])
"""


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_mutated_inputs_are_taken_or_refused_in_words():
    found = run("-m", "tests.fuzz", "30", "ci")
    assert found == "0 finds in 30 inputs of each kind, seed ci\n"


def test_a_kind_that_there_is_not_is_not_searched_in_silence():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "1", "ci", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no kind is called '1'" in done.stderr


def test_tracebacks_crashes_hangs_and_hunger_for_memory_are_found():
    assert run("-c", FAULTY).splitlines() == [
        "kind 1:3: Traceback (most recent call last): ValueError: a defect",
        "kind 1:5: SIGSEGV kind 1:5: SIGSEGV",
        "kind 1:7: a hang kind 1:7: a hang",
        "kind 1:9: Traceback (most recent call last): MemoryError",
    ]
