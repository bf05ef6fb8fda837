"""What a start of workers on this machine would wait for."""

import os
import subprocess
import sys

import pytest

from ziggy_dask.compute import open_client
from ziggy_dask.definitions import LocalCompute
from ziggy_dask.errors import ClusterError


def test_a_lock_that_is_no_file_is_refused_by_name(tmp_path):
    lock = tmp_path / "dask-scratch-space" / "global.lock"
    lock.parent.mkdir()
    os.mkfifo(lock)
    with (
        pytest.raises(ClusterError, match=f"{lock}: is not a regular file; remove it"),
        open_client(LocalCompute(workers=1), tmp_path),
    ):
        pass


LIMITED = """
import resource, sys
from pathlib import Path
from ziggy_dask.compute import open_client
from ziggy_dask.definitions import LocalCompute
from ziggy_dask.errors import ClusterError

resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000, resource.RLIM_INFINITY))
try:
    with open_client(LocalCompute(workers=1), Path(sys.argv[1])):
        pass
except ClusterError as error:
    print(error)
"""


def test_too_few_addresses_are_told_before_something_ends_without_words(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    (said,) = done.stdout.splitlines()
    assert "may reserve 2.5 GB of addresses (ulimit -v), but need 3 GB" in said
    assert done.stderr == ""


FEW_FILES = """
import resource, sys
from pathlib import Path
from ziggy_dask.compute import open_client
from ziggy_dask.definitions import LocalCompute
from ziggy_dask.errors import ClusterError

soft, hard = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    with open_client(LocalCompute(workers=3), Path(sys.argv[1])) as client:
        client.wait_for_workers(3)
except ClusterError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "words"),
    [
        (32, 4096, ""),
        (32, 111, "may have 111 open files (ulimit -n), but needs 112 for 3 workers"),
    ],
)
def test_too_few_open_files_are_more_or_are_told(soft, hard, words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, str(tmp_path), str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout
    assert bool(words) == bool(done.stdout)
    assert done.stderr == ""
