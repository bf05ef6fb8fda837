"""Certificates of a run: made, kept private, and removed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ziggy_dask.compute.security import certificates
from ziggy_dask.errors import ClusterError


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_the_files(tmp_path):
    home = tmp_path / "scratch" / "certificates"
    with certificates(home):
        (directory,) = home.iterdir()
        assert (mode(home), mode(directory)) == (0o700, 0o700)
        names = {path.name: mode(path) for path in directory.iterdir()}
        assert names == {"certificate.pem": 0o600, "key.pem": 0o600}


def test_they_are_removed_at_the_end(tmp_path):
    home = tmp_path / "certificates"
    with certificates(home):
        pass
    assert not home.exists()


def test_the_next_start_removes_what_a_crash_left(tmp_path):
    home = tmp_path / "certificates"
    (home / "old").mkdir(parents=True)
    (home / "old" / "key.pem").touch()
    with certificates(home):
        assert not (home / "old").exists()


def test_every_run_has_a_key_of_its_own(tmp_path):
    with (
        certificates(tmp_path / "a") as first,
        certificates(tmp_path / "b") as second,
    ):
        keys = [Path(one.tls_worker_key).read_text() for one in (first, second)]
    assert keys[0] != keys[1]


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match="certificates for workers can't be written"),
        certificates(tmp_path / "file" / "certificates"),
    ):
        pass
