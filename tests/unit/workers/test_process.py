"""Programs that can't be run as they should are not left running."""

import os

import psutil
import pytest

from ziggy_dask.workers.process import Limits, run_process

LIMITS = Limits(wall_s=60, grace_s=1, disk_bytes=0, log_bytes=1000)


def test_a_program_whose_log_can_not_be_written_does_not_run(tmp_path):
    (tmp_path / "log").mkdir()
    command = ["/bin/sh", "-c", "touch began; exec sleep 60"]
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(IsADirectoryError):
        run_process(
            command, tmp_path, os.environ, log=tmp_path / "log", limits=LIMITS, halt=-1
        )
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not (tmp_path / "began").exists()


def test_a_program_that_is_not_there_leaves_no_file_open(tmp_path):
    before = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        run_process(
            ["/no/such"], tmp_path, {}, log=tmp_path / "log", limits=LIMITS, halt=-1
        )
    assert psutil.Process().num_fds() == before
