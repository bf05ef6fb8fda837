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
    """Jobs of 60 s, subtasks of 1 to 20 s: more of them than the first jobs can do."""
    command = [sys.executable, BENCHMARK, "--subtasks", "72", "--jobs", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = re.search(r"COMPLETED: 72 subtasks in (\d+) jobs", ended.stdout)
    assert said, ended.stdout
    assert int(said[1]) > 3, "no job came to its end"
    assert float(re.search(r"lost: ([\d.]+)%", ended.stdout)[1]) < 1
