"""Files and arrays larger than memory go in, through a program, and out again."""

import subprocess
import sys
from pathlib import Path

import pytest

LARGE = Path(__file__).with_name("large.py")


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["file", "netcdf", "zarr"])
def test_memory_does_not_grow_with_what_passes_through(tmp_path, kind):
    done = subprocess.run(
        [sys.executable, LARGE, kind, tmp_path, "512"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split() for line in done.stdout.splitlines())
    assert told["same"] == "yes"
    assert int(told["more_mib"]) < 400  # about 250, however much passes through
