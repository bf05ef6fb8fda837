"""How much work is lost when jobs end at their wall time, and how busy their cores are.

Runs subtasks that sleep for 1 to 20 seconds in jobs with a wall time of 60 seconds. The jobs
are real processes, of the stand-in for PBS in the tests, which kills each one when its time is
over; scheduler, pools and workers are those of every run. Wall times are whole minutes here,
not quarters of an hour. Work is lost if a subtask began in a job and did not end there.

Usage: python benchmarks/lost_work.py [--subtasks 240] [--jobs 3] [--cores 8]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from ziggy_dask.compute import estimate
from ziggy_dask.datastore import Storage
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.interface.cluster import Cluster, create_cluster

STANDIN = Path(__file__).parents[1] / "tests" / "integration" / "batch" / "pbs_standin"
CLUSTER = """
cluster: bench
home: ./home
compute: {local: {workers: 1}}
environments:
  lab:
    batch: pbs
    scheduler_host: 127.0.0.1
    architectures: {node: {cores: CORES, memory: 16GB}}
    queues: {low: {max_time: 1min}}
    max_jobs: JOBS
"""
DEFINITION = """
pipeline: bench
placeholders: {dataset: "set-[0-9]+"}
data_types:
  length: {location: "{dataset}/L0", subtask: item, external: true}
  slept: {location: "{dataset}/L1", subtask: item}
nodes:
  sleep:
    function: "algorithms:sleep"
    inputs: [length]
    outputs: [slept]
    memory: 100MB
    time: {limit: 22s}
    remote: {environment: lab}
"""
ALGORITHM = """
import os
import time

from distributed import get_worker

FILE = LOG


def note(what, label):
    line = f"{what} {label} {get_worker().name} {time.time()}\\n".encode()
    file = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def sleep(length):
    label = str(length["item"].values[0])
    note("began", label)
    time.sleep(float(length["seconds"].values[0]))
    note("ended", label)
    return length
"""


def prepare(home: Path, subtasks: int, jobs: int, cores: int) -> Cluster:
    """Return a cluster with a pipeline of one node, and lengths of sleep."""
    (home / "pbs").mkdir()
    (home / "mission").mkdir()
    (home / "mission" / "pipeline.yaml").write_text(DEFINITION)
    algorithm = ALGORITHM.replace("LOG", repr(str(home / "log")))
    (home / "mission" / "algorithms.py").write_text(algorithm)
    file = home / "cluster.yaml"
    file.write_text(CLUSTER.replace("CORES", str(cores)).replace("JOBS", str(jobs)))
    cluster = create_cluster(file)
    cluster.register(home / "mission")
    lengths = np.random.default_rng(0).uniform(1, 20, subtasks)
    labels = [f"item-{number:04d}" for number in range(subtasks)]
    values = xr.Dataset({"seconds": ("item", lengths)}, coords={"item": labels})
    repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    root.require_group("set-1")
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="none")
    write_whole(session, "set-1/L0", values, storage)
    group = zarr.open_group(session.store, path="set-1/L0", mode="a")
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item"}
    repository.finish_writing(writing, "Inputs", {})
    return cluster


def job_times(pbs: Path) -> dict[str, tuple[float, float]]:
    """Return when the processes of each job began and ended, by the job's name."""
    found = {}
    for script in pbs.glob("*/script"):
        job, text = script.parent, script.read_text()
        name = text.partition("#PBS -N ")[2].split()[0]
        began, ended = (
            datetime.strptime((job / one).read_text().strip(), "%a %b %d %H:%M:%S %Y")
            .astimezone()
            .timestamp()
            for one in ("began", "ended")
        )
        found[name] = (began, ended)
    return found


def measure(home: Path, cores: int) -> tuple[float, float, float, int]:
    """Return seconds of cores that jobs had, used and lost, and the number of jobs."""
    jobs = job_times(home / "pbs")
    open_: dict[tuple[str, str], float] = {}
    used = 0.0
    for line in (home / "log").read_text().splitlines():
        what, label, worker, moment = line.split()
        if what == "began":
            open_[label, worker] = float(moment)
        else:
            used += float(moment) - open_.pop((label, worker))
    lost = sum(jobs[worker][1] - began for (_, worker), began in open_.items())
    had = cores * sum(ended - began for began, ended in jobs.values())
    return had, used, lost, len(jobs)


def main() -> int:
    """Run, and print the figures; fail if one percent of the work or more was lost."""
    options = argparse.ArgumentParser()
    options.add_argument("--subtasks", type=int, default=240)
    options.add_argument("--jobs", type=int, default=3)
    options.add_argument("--cores", type=int, default=8)
    given = options.parse_args()
    estimate.QUARTER_S = 60
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        os.environ["PBS_STANDIN"] = str(home / "pbs")
        os.environ["PATH"] = f"{STANDIN}:{os.environ['PATH']}"
        cluster = prepare(home, given.subtasks, given.jobs, given.cores)
        instance = cluster.run("bench")
        had, used, lost, jobs = measure(home, given.cores)
        print(f"{instance.state.value}: {given.subtasks} subtasks in {jobs} jobs")
        print(f"seconds of cores: {had:.0f} had, {used:.0f} used, {lost:.1f} lost")
        print(f"used: {used / had:.1%}; lost: {lost / had:.2%}")
        return int(lost >= 0.01 * had)


if __name__ == "__main__":  # Dask starts worker processes
    sys.exit(main())
