"""Batch systems that tests start."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def slurm():
    """A real SLURM, on this machine alone; tests that use it are marked ``slurm``."""
    subprocess.run([HERE / "slurm.sh", "up"], check=True)
    yield
    subprocess.run([HERE / "slurm.sh", "down"], check=True)
