"""What a delivery costs when thousands came before it.

Stores equal small deliveries, one product received and one made of it each, with all records
that a run leaves, but without Dask. After 100, 1,000, … of them it tells what the last ones cost
and how long commands take that look at the datastore, each in a cluster that was just opened.

Usage: python benchmarks/growth.py [--counts 100,1000]
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

import ziggy_dask as z
from ziggy_dask.datastore import Labels, Storage, allocate, read_layout, write_slice
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.engine.context import load_context, make_scaffold, scaffold_name
from ziggy_dask.engine.launch import Request, launch, plan
from ziggy_dask.engine.publish import Finished, publish
from ziggy_dask.interface.cluster import Cluster, create_cluster
from ziggy_dask.planning import Feed, Span, Target, TaskPlan, Unit, task_to_json
from ziggy_dask.records import InstanceState, TaskStep, instances, library, outcomes
from ziggy_dask.records.catalogue import catch_up
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState

DEFINITION = """
pipeline: bench
process: new
placeholders: {night: "night-[0-9]+"}
data_types:
  raw: {location: "{night}/frames", subtask: frame, external: true}
  made: {location: "{night}/levels", subtask: frame}
nodes:
  measure: {function: "algorithms:measure", inputs: [raw], outputs: [made]}
"""
FRAMES = xr.Dataset(
    {name: ("frame", np.arange(4.0)) for name in ("mean", "scatter")},
    coords={"frame": [f"frame-{number}" for number in range(4)]},
)
STORAGE = Storage(dimension="frame", chunk=1, chunks=(), compression="none")
LAST = 20
"""So many deliveries before each count are measured."""
ROUNDS = 3
"""So often each command is measured; the fastest counts."""


def prepare(home: Path) -> Cluster:
    """Return a cluster with a pipeline of one node."""
    (home / "mission").mkdir()
    (home / "mission" / "pipeline.yaml").write_text(DEFINITION)
    (home / "mission" / "algorithms.py").write_text(
        "def measure(raw):\n    return raw\n"
    )
    (home / "cluster.yaml").write_text("cluster: bench\nhome: ./home\n")
    cluster = create_cluster(home / "cluster.yaml")
    cluster.register(home / "mission")
    return cluster


def receive(cluster: Cluster, night: str) -> None:
    """Store what a delivery brings."""
    repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    path = f"{night}/frames"
    zarr.open_group(session.store, mode="a").require_group(night)
    write_whole(session, path, FRAMES, STORAGE)
    group = zarr.open_group(session.store, path=path, mode="a")
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "frame"}
    repository.finish_writing(writing, f"bench: receive {night}", {})


def make(cluster: Cluster, night: str) -> None:
    """Make a product of it, with the records that a run would leave."""
    site = cluster._site
    number = launch(site, Request(pipeline="bench"))
    labels = Labels.of(list(FRAMES["frame"].values))
    raw, made = f"{night}/frames", f"{night}/levels"
    feed = Feed(data_type="raw", path=raw, span=Span.SLICE, labels=labels, task=None)
    task = TaskPlan(
        index=0,
        node="measure",
        unit=Unit(name=f"[{night}]", values=(("night", night),)),
        feeds=(feed,),
        targets=(Target(data_type="made", path=made),),
        labels=labels,
        chunk=1,
    )
    new = instances.NewTask(
        position=0, node="measure", unit=f"[{night}]", plan=task_to_json(task), total=4
    )
    tip = site.repository.tip()
    (key,) = instances.create_tasks(site.database, number, [new], base_snapshot=tip)
    fork = pickle.loads(make_scaffold(site, number, [task]))
    allocate(fork, made, FRAMES.isel(frame=[0]), STORAGE, labels)
    layout = read_layout(fork, made, "frame")
    for place in range(4):
        write_slice(layout, fork, FRAMES.isel(frame=[place]), place)
    done = [
        Outcome(
            subtask=n,
            state=SubtaskState.COMPLETE,
            outputs=(made,),
            started_s=time.time(),
        )
        for n in range(4)
    ]
    result = BatchResult(
        index=0, outcomes=tuple(done), change_sets={made: pickle.dumps(fork)}
    )
    outcomes.record(site.database, [(key, result)])
    instances.move_tasks(
        site.database, [key], TaskStep.STORING, [TaskStep.WAITING_TO_RUN]
    )
    context = load_context(site, instances.instance(site.database, number))
    finished = Finished(number=key, plan=task, attempt=0, inputs={raw: tip})
    publish(site.repository, site.database, context, [finished])
    site.repository.drop_scaffold(scaffold_name(number))
    instances.set_instance_state(site.database, number, InstanceState.COMPLETED)


def commands(file: Path) -> dict[str, float]:
    """Return how long commands take, in seconds of processor time.

    A supervisor has planned before, and so knows in which units nothing is left to do.
    """

    def planned(cluster: Cluster, *, keeps: bool = False) -> None:
        pipeline = library.pipeline(cluster._site.database, "bench").pipeline
        request = Request(pipeline="bench")
        made = plan(cluster._site, pipeline, request, {}, keeps=keeps)
        assert len(made.tasks) == 1, made

    def examined(cluster: Cluster) -> None:
        assert cluster.doctor() == []

    planned(z.open(file), keeps=True)
    looks: dict[str, Callable[[Cluster], object]] = {
        "plan": planned,
        "history": lambda cluster: cluster.datastore.history(),
        "ls": lambda cluster: list(cluster.datastore),
        "at": lambda cluster: cluster.datastore.at(1)["night-1/levels"],
        "doctor": examined,
    }
    return {
        name: min(_spent(look, file) for _ in range(ROUNDS))
        for name, look in looks.items()
    }


def _spent(look: Callable[[Cluster], object], file: Path) -> float:
    cluster = z.open(file)
    began = time.process_time()
    look(cluster)
    return time.process_time() - began


def _bytes(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="100,1000")
    counts = [int(text) for text in parser.parse_args().counts.split(",")]
    names = ["plan", "history", "ls", "at", "doctor"]
    print(f"{'deliveries':>10}{'kB each':>10}{'ms each':>10}{'CPU ms':>10}", end="")
    print("".join(f"{name + ' ms':>12}" for name in names), flush=True)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        cluster = prepare(home)
        at = 0
        for count in counts:
            while at < count - LAST:
                at += 1
                receive(cluster, f"night-{at}")
                make(cluster, f"night-{at}")
            size, began, worked = _bytes(home), time.perf_counter(), time.process_time()
            while at < count:
                at += 1
                receive(cluster, f"night-{at}")
                make(cluster, f"night-{at}")
            wall, cpu = time.perf_counter() - began, time.process_time() - worked
            size = _bytes(home) - size
            receive(cluster, f"night-{count + 1}")
            catch_up(cluster._site.database, cluster._site.repository)
            spent = commands(home / "cluster.yaml")
            at += 1
            make(cluster, f"night-{at}")
            per = f"{size / LAST / 1e3:10.1f}{wall / LAST * 1e3:10.1f}{cpu / LAST * 1e3:10.1f}"
            print(f"{count:10d}{per}", end="")
            print("".join(f"{spent[name] * 1e3:12.1f}" for name in names), flush=True)


if __name__ == "__main__":
    main()
