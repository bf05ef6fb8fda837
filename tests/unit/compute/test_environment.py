"""What a start of workers on this machine would wait for."""

import os

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
