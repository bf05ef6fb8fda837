"""Deliveries one after another, while all that happens in operations happens."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_nothing_is_lost_and_nothing_made_twice():
    done = subprocess.run(
        [sys.executable, SOAK, "24", "--pause", "0.2", "--seed", "11"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing made twice" in done.stdout
    for what in ("kill supervisor", "kill worker", "back up", "poison", "reads"):
        assert what in done.stdout
