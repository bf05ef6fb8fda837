"""Processes that algorithms start."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import concurrent.futures, multiprocessing, sys
from pathlib import Path
from ziggy_dask.definitions import load_function
from ziggy_dask.workers.children import allow_children

print("the script runs")
root = Path(sys.argv[1])
allow_children(root.parent)
own = load_function(root, "algorithms:own", "1")
with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
    print(pool.map_async(own, [1, 2]).get(100))
"""
ALGORITHMS = """
import helpers


def own(number):
    return helpers.ONE + number
"""


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_functions_of_pipelines_reach_children(context, tmp_path):
    root = tmp_path / "code"
    root.mkdir()
    (root / "algorithms.py").write_text(ALGORITHMS)
    (root / "helpers.py").write_text("ONE = 1\n")
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    # A pool ends its processes by SIGTERM, of which coverage has a handler of its own.
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, str(script), str(root), context],
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.splitlines() == ["the script runs", "[2, 3]"], done.stderr
