"""Batch systems that tests start."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STANDIN = HERE / "pbs_standin"


@pytest.fixture(scope="session")
def slurm():
    """A real SLURM, on this machine alone; tests that use it are marked ``slurm``."""
    subprocess.run([HERE / "slurm.sh", "up"], check=True)
    yield
    subprocess.run([HERE / "slurm.sh", "down"], check=True)


@pytest.fixture
def pbs(tmp_path, monkeypatch):
    """The stand-in for PBS on the search path; what is left of it ends with the test."""
    home = tmp_path / "pbs"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{STANDIN}:{os.environ['PATH']}")
    monkeypatch.setenv("PBS_STANDIN", str(home))
    monkeypatch.setenv("USER", "me")
    yield home
    jobs = [
        f"{one.name}.standin"
        for one in home.glob("[0-9]*")
        if not (one / "exit").exists()
    ]
    (home / "hooks" / "qdel").unlink(missing_ok=True)
    subprocess.run(["qdel", *jobs], check=True)


@pytest.fixture(scope="session")
def sge():
    """A real Grid Engine on this machine; tests that use it are marked ``sge``."""
    subprocess.run([HERE / "sge_up.sh"], check=True, timeout=120)
    yield
    subprocess.run([HERE / "sge_down.sh"], check=True, timeout=120)
