"""Cost of many small units of work: planning each, and running a task of one subtask.

A pipeline of one node brightens an image of 4 by 5 pixels for each of so many units. Printed
are the time to plan a unit, from the stored products to the tasks on record, and the time per
task from there to the end, both in milliseconds.

With ``--against`` the same is measured with another checkout, in turns, so that a machine that
changes its speed does so for both.

Usage: python benchmarks/units.py [--units 1000 10000] [--rounds 1] [--against PATH]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

ALGORITHM = "def brighten(image):\n    return image + 1.0\n"
CLUSTER = "cluster: bench\nhome: ./home\ncompute: {local: {workers: 2}}\n"
PIPELINE = """
pipeline: units
placeholders: {unit: "u[0-9]+"}
data_types:
  image: {location: "{unit}/in", subtask: item, external: true}
  bright: {location: "{unit}/out", subtask: item}
nodes:
  brighten: {function: "algorithms:brighten", inputs: [image], outputs: [bright]}
"""


def store(cluster, count: int) -> None:
    """Store an image per unit, all in one commit, as an instance would."""
    from ziggy_dask.datastore import Labels, allocate, read_layout, write_slice
    from ziggy_dask.datastore.allocation import Storage
    from ziggy_dask.datastore.tree import ATTRIBUTE

    repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    image = xr.Dataset(
        {"pixels": (("item", "y", "x"), np.ones((1, 4, 5)))}, coords={"item": ["i0"]}
    )
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="zstd")
    root = zarr.open_group(session.store, mode="a")
    for number in range(count):
        path = f"u{number:06d}/in"
        allocate(session, path, image, storage, Labels.of(["i0"]))
        write_slice(read_layout(session, path, "item"), session, image, 0)
        root[path].attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item"}
    repository.finish_writing(writing, "Images", {})


def measure(count: int) -> tuple[float, float]:
    """Return the times to plan a unit and to run a task, in milliseconds."""
    import ziggy_dask as z
    from ziggy_dask.interface.cluster import create_cluster

    with tempfile.TemporaryDirectory(prefix="ziggy-units-") as directory:
        home = Path(directory)
        (home / "algorithms.py").write_text(ALGORITHM)
        (home / "cluster.yaml").write_text(CLUSTER)
        (home / "units.yaml").write_text(PIPELINE)
        cluster = create_cluster(home / "cluster.yaml")
        cluster.register(home / "units.yaml")
        store(cluster, count)
        moments: dict[str, float] = {"begin": time.perf_counter()}

        def listen(event: object) -> None:
            moments.setdefault(type(event).__name__, time.perf_counter())

        planned: list[float] = []
        from ziggy_dask.records import instances

        create = instances.create_tasks

        def create_tasks(*given, **named):
            made = create(*given, **named)
            planned.append(time.perf_counter())
            return made

        instances.create_tasks = create_tasks
        try:
            done = cluster.run("units", listen=listen)
        finally:
            instances.create_tasks = create
        end = time.perf_counter()
        assert done.state.value == "COMPLETED", done.record.message
        assert isinstance(cluster, z.Cluster)
        cluster._site.database.close()
        # Workers are there when it is opened; starting them is not a part of it.
        opened = moments.get("Opened", planned[0])
        return (
            (planned[0] - moments["begin"]) / count * 1e3,
            (end - max(opened, planned[0])) / count * 1e3,
        )


def measured_with(checkout: Path, count: int) -> str:
    """Return what this program prints when it runs with another checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, __file__, "--units", str(count), "--plain"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    """Measure, and print a line per number of units and checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[1000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    here = Path(__file__).parents[1]
    for count in asked.units:
        if asked.plain:
            plan, task = measure(count)
            print(f"{plan:.2f} {task:.2f}")
            continue
        for _ in range(asked.rounds):
            for checkout in filter(None, (asked.against, here)):
                plan, task = measured_with(checkout, count).split()
                print(
                    f"{count:>7,} units: {plan} ms to plan a unit, {task} ms per task "
                    f"({'before' if checkout is not here else 'now'})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
