"""Workers end in twelve ways, on this machine and at a scheduler's address.

The same in jobs of SLURM is in `batch/test_slurm_ends.py`.
"""

import subprocess
import sys

import pytest

from tests.integration.ends import check, make, run
from tests.servers import free_port

pytestmark = pytest.mark.integration
WORKERS = 3


def test_on_this_machine(tmp_path):
    compute = f"compute: {{local: {{workers: {WORKERS}, memory: 800MB}}}}\n"
    cluster = make(tmp_path, compute)
    before, after = run(cluster, tmp_path, 600)
    assert after == before
    check(cluster, tmp_path)
    said = [one.message for one in cluster.alerts]
    for how in ("KILL", "SEGV", "ABRT", "XCPU", "HUP", "TERM"):
        assert any(f"was ended by SIG{how}" in one for one in said), how
    assert any("ended with exit code 3" in one for one in said)


@pytest.fixture
def address(tmp_path):
    """A scheduler, and workers that somebody starts again whenever one has ended."""
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", address, "--no-dashboard"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--memory-limit", "800MB"]
    worker += ["--host", "127.0.0.1", "--no-dashboard", "--death-timeout", "60"]
    again = ["bash", "-c", 'while true; do setsid -w "$@"; done', "worker", *worker]
    with (tmp_path / "dask.log").open("w") as log:
        processes = [
            subprocess.Popen(
                one, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path
            )
            for one in (*WORKERS * [again], scheduler)
        ]
    yield address
    for one in processes[:-1]:
        one.kill()
        one.wait()
    processes[-1].terminate()  # tells the workers to end
    processes[-1].wait()


def test_at_an_address(tmp_path, address):
    cluster = make(tmp_path, f"compute: {{address: '{address}'}}\n")
    before, after = run(cluster, tmp_path, 600)
    assert after == before
    check(cluster, tmp_path)
