"""Everything away from home at once: jobs of SLURM, records on PostgreSQL, products on S3."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.sample import check_same, run_sample
from ziggy_dask.records import instances, outcomes

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

SBATCH = """#!/bin/bash
# SLURM's own sbatch, and a copy of the script that it gets.
cp "${@: -1}" "$(mktemp {scripts}/XXXXXXXX)"
exec {sbatch} "$@"
"""
ENVIRONMENTS = """environments:
  lab:
    batch: slurm
    scheduler_host: 127.0.0.1
    architectures:
      small: {cores: 2, memory: 1GB, directives: ["--constraint=small"]}
    queues:
      normal: {max_time: 1h}
"""
NODE = "    memory: 200MB\n    time: {limit: 1min}\n    remote: {environment: lab}\n"


def test_the_same_at_home_and_on_slurm_with_postgresql_and_s3(
    slurm, sample_at_home, tmp_path, s3, postgres
):
    scripts, path = record_scripts(tmp_path)
    lines = f"{ENVIRONMENTS}{s3.datastore()}database: {postgres.new_database()}\n"
    with seen_command_lines() as seen:
        away = run_sample(tmp_path / "away", lines, node=NODE, path=path)
    check_same(away, sample_at_home)

    jobs = away.jobs()
    assert jobs
    assert all(one.ended for one in jobs)
    assert set() < workers_of(away) <= {one.name for one in jobs}
    assert subprocess.check_output(["squeue", "--noheader"], text=True) == ""

    texts = [one.read_text() for one in scripts.iterdir()]
    assert len(texts) == len(jobs)
    assert all("--tls-key" in one for one in texts)
    assert any("dask_worker" in line and "--tls-key" in line for line in seen)
    for secret in (s3.secret_key, s3.access_key, postgres.password, "PRIVATE KEY"):
        assert not [one for one in texts if secret in one]
        assert not [line for line in seen if secret in line]


def workers_of(cluster) -> set[str]:
    """Return the names of the workers that ran algorithms."""
    database = cluster._site.database
    return {
        one.worker
        for task in instances.tasks(database, 1)
        if task.node != "data-receipt"
        for one in outcomes.subtasks(database, task.id)
    }


def record_scripts(directory: Path) -> tuple[Path, str]:
    """Return where copies of job scripts go, and what comes first in the path for it."""
    scripts, programs = directory / "scripts", directory / "bin"
    scripts.mkdir()
    programs.mkdir()
    (found,) = subprocess.check_output(["which", "sbatch"], text=True).split()
    text = SBATCH.replace("{scripts}", str(scripts)).replace("{sbatch}", found)
    (programs / "sbatch").write_text(text)
    (programs / "sbatch").chmod(0o755)
    return scripts, f"{programs}{os.pathsep}"


@contextmanager
def seen_command_lines() -> Iterator[set[str]]:
    """Gather the command lines of all processes of this machine while the block runs."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            for one in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(one.info["cmdline"] or ()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
