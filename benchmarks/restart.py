"""How long a restart takes to decide what to do, at size.

Makes the records of an instance whose subtasks are all on record, a few as failed, as
a run would have left them; then restarts it, up to where Dask would get the graph.

Usage: python benchmarks/restart.py [--tasks 102] [--subtasks 1000] [--failed 10]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from distributed import Client, LocalCluster

from ziggy_dask.datastore import Storage
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.engine.events import unheard
from ziggy_dask.engine.launch import launch
from ziggy_dask.engine.run import InstanceRun
from ziggy_dask.engine.work_orders import instance_facts
from ziggy_dask.interface.cluster import Cluster, create_cluster
from ziggy_dask.records import InstanceState, instances, outcomes
from ziggy_dask.records.restarts import reset_tasks
from ziggy_dask.supervisor import Request, Restart, plan_restart
from ziggy_dask.supervisor.supervise import _prepare, in_charge
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState

DEFINITION = """
pipeline: bench
placeholders: {dataset: "set-[0-9]+"}
data_types:
  raw: {location: "{dataset}/L0", subtask: item, external: true}
  made: {location: "{dataset}/L1", subtask: item}
  more: {location: "{dataset}/L2", subtask: item}
nodes:
  first: {function: "algorithms:first", inputs: [raw], outputs: [made]}
  second: {function: "algorithms:second", inputs: [made], outputs: [more]}
"""
BATCH = 10
"""Subtasks that are recorded with one change set."""


def prepare(home: Path, tasks: int, subtasks: int) -> Cluster:
    """Return a cluster with a pipeline of two nodes, and its inputs."""
    (home / "mission").mkdir()
    (home / "mission" / "pipeline.yaml").write_text(DEFINITION)
    (home / "mission" / "algorithms.py").write_text(
        "def first(raw):\n    return raw\n\n\ndef second(made):\n    return made\n"
    )
    file = home / "cluster.yaml"
    file.write_text("cluster: bench\nhome: ./home\ncompute: {local: {workers: 1}}\n")
    cluster = create_cluster(file)
    cluster.register(home / "mission")
    repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    labels = [f"item-{number:06d}" for number in range(subtasks)]
    values = xr.Dataset({"x": ("item", np.zeros(subtasks))}, coords={"item": labels})
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="none")
    for number in range(tasks // 2):
        root.require_group(f"set-{number}")
        write_whole(session, f"set-{number}/L0", values, storage)
        group = zarr.open_group(session.store, path=f"set-{number}/L0", mode="a")
        group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item"}
    repository.finish_writing(writing, "Inputs", {})
    return cluster


def record(cluster: Cluster, failed: int) -> int:
    """Make the records of an instance; return its number."""
    site = cluster._site
    number = launch(site, Request(pipeline="bench"))
    _prepare(site, number, unheard)
    made = instances.tasks(site.database, number)
    last = [task for task in made if task.node == "first"][-1]
    broken = set(range(0, last.total, max(1, last.total // failed)))
    broken = set(sorted(broken)[:failed])
    for task in made:
        if task.node == "second" and task.unit == last.unit:
            continue  # waits for what failed
        for begin in range(0, task.total, 50 * BATCH):
            end = min(begin + 50 * BATCH, task.total)
            batches = [
                _batch(range(n, min(n + BATCH, end)), broken if task == last else set())
                for n in range(begin, end, BATCH)
            ]
            outcomes.record(site.database, [(task.id, one) for one in batches])
        if task != last:
            outcomes.publish(site.database, site.repository.tip(), {task.id: {}})
    instances.fail_task(site.database, last.id, None, "failed")
    instances.set_instance_state(site.database, number, InstanceState.ERRORS_STALLED)
    return number


def _batch(numbers: range, broken: set[int]) -> BatchResult:
    return BatchResult(
        index=0,
        outcomes=tuple(
            Outcome(
                subtask=n,
                state=SubtaskState.FAILED if n in broken else SubtaskState.COMPLETE,
                cause=Cause.EXCEPTION if n in broken else Cause.NONE,
                outputs=("L1",),
                started_s=time.time(),
            )
            for n in numbers
        ),
        change_sets={"L1": os.urandom(1200)},
    )


@contextmanager
def timed(what: str, spent: dict[str, float]) -> Iterator[None]:
    """Note how long the block takes."""
    began, worked = time.perf_counter(), time.thread_time()
    yield
    spent[what] = time.perf_counter() - began
    print(f"{what:<28}{spent[what]:8.2f} s{time.thread_time() - worked:8.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=102)
    parser.add_argument("--subtasks", type=int, default=1000, help="of each task")
    parser.add_argument("--failed", type=int, default=10)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as dask,
        Client(dask, set_as_default=False) as client,
    ):
        cluster = prepare(Path(home), asked.tasks, asked.subtasks)
        site = cluster._site
        number = record(cluster, asked.failed)
        total = sum(one.record.complete for one in cluster.instance(number).tasks)
        print(f"{total} subtasks complete, {asked.failed} failed")
        print(f"{'':<28}{'time':>8}  {'processor':>8}")
        spent: dict[str, float] = {}
        with in_charge(site):
            with timed("plan the restart", spent):
                resets = plan_restart(site.database, Restart(instance=number))
            with timed("reset tasks", spent):
                for reset in resets:
                    reset_tasks(site.database, reset)
            with timed("gather facts", spent):
                facts = instance_facts(site, instances.instance(site.database, number))
            with timed("read what is on record", spent):
                run = InstanceRun(site, facts, client, unheard)
            with timed("lay out and submit", spent):
                run._hand_out()
            print(
                f"{'in all':<28}{sum(spent.values()):8.2f} s, {len(run._batches)} keys"
            )


if __name__ == "__main__":
    main()
