"""A scheduler that runs already, whose workers are another user's and see no file of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.sample import check_same, run_sample
from tests.integration.strangers import AS_NOBODY, NOBODY
from tests.servers import free_port
from ziggy_dask.compute.security import certificates

pytestmark = [pytest.mark.integration, pytest.mark.cloud]


class DaskServer:
    """A scheduler and two workers, as another user starts them, with certificates."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ziggy-dask-"))
        self.address = f"tls://127.0.0.1:{free_port()}"
        with certificates(self.directory / "made") as security:
            for name in ("cert", "key"):
                made = getattr(security, f"tls_client_{name}")
                shutil.copy(made, self.directory / name)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        port = self.address.rpartition(":")[2]
        self.processes = [
            self._start("scheduler", f"--port={port}", "--host=tls://127.0.0.1"),
            *(self._start("worker", self.address, "--no-nanny") for _ in range(2)),
        ]

    def _start(self, what: str, *options: str) -> subprocess.Popen:
        program = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        files = ["--tls-ca-file=cert", "--tls-cert=cert", "--tls-key=key"]
        with (self.directory / "log").open("a") as log:
            return subprocess.Popen(
                [*AS_NOBODY, *program, *files, "--dashboard-address=127.0.0.1:0"],
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )

    def security(self, directory: Path) -> str:
        """Return lines of a cluster file, with copies of the certificate for this user."""
        for name in ("cert", "key"):
            shutil.copy(self.directory / name, directory / name)
        return (
            f"compute:\n  address: {self.address}\n  security:\n"
            f"    ca_file: {directory}/cert\n    certificate: {directory}/cert\n"
            f"    key: {directory}/key\n"
        )

    def close(self) -> None:
        for one in reversed(self.processes):
            one.terminate()
            one.wait()
        shutil.rmtree(self.directory)


@pytest.fixture
def server(s3):
    assert os.geteuid() == 0, "only root can start what is another user's"
    server = DaskServer()
    try:
        yield server
    finally:
        server.close()


def test_the_sample_gives_the_same_where_nobody_sees_its_code(
    sample_at_home, tmp_path, server, s3
):
    away = run_sample(tmp_path / "away", server.security(tmp_path) + s3.datastore())
    check_same(away, sample_at_home)
    code = tmp_path / "away" / "sample" / "algorithms.py"
    seen = subprocess.run([*AS_NOBODY, "cat", code], capture_output=True, check=False)
    assert b"Permission denied" in seen.stderr
