"""Real jobs that are killed at their wall time lose next to no work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "lost_work.py"


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_less_than_a_hundredth_of_the_work_is_lost_at_wall_times():
    """636 s of subtasks for 8 cores, of which the first jobs of 60 s can do 480 at most."""
    size = ["--subtasks", "60", "--jobs", "2", "--cores", "4"]
    command = [sys.executable, BENCHMARK, *size]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = re.search(r"COMPLETED: 60 subtasks in (\d+) jobs", ended.stdout)
    assert said, ended.stdout
    assert int(said[1]) > 2, "no job came to its end"
    assert float(re.search(r"lost: ([\d.]+)%", ended.stdout)[1]) < 1
