"""Throughput of a large array: a Dask function step against plain ``to_zarr``.

An array is read, every element changed, and written, by a pipeline with a Dask
function and by xarray on plain Zarr, alternating, on the same worker processes.

Usage: python benchmarks/throughput.py [--gib 4] [--rounds 4]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from overhead import CLUSTER, PeakMemory

import ziggy_dask as z
from ziggy_dask.datastore.repository import ATTRIBUTE
from ziggy_dask.interface.cluster import create_cluster

CHUNK = (1, 2048, 2048)
"""Float64, so 32 MiB."""
ALGORITHM = "def change(cube):\n    return cube * 2.0 + 1.0\n"


def cube(layers: int) -> xr.Dataset:
    """Return the array to start from, lazily; ``values`` (layer, y, x), float64."""
    shape = (layers, *CHUNK[1:])
    values = da.random.default_rng(0).random(shape, chunks=CHUNK)
    return xr.Dataset({"values": (("layer", "y", "x"), values)})


def prepare(home: Path, layers: int) -> z.Cluster:
    """Make a cluster with the array and the pipeline that changes it."""
    (home / "code").mkdir(parents=True)
    (home / "code" / "algorithms.py").write_text(ALGORITHM)
    (home / "cluster.yaml").write_text(CLUSTER)
    cluster = create_cluster(home / "cluster.yaml")
    options = {"compression": "none"}
    cluster.register(
        z.Pipeline(
            name="bench",
            data_types=(
                z.DataType(
                    name="cube", location=z.Location("a/in"), external=True, **options
                ),
                z.DataType(name="out", location=z.Location("a/out"), **options),
            ),
            nodes=(
                z.Node(
                    name="change",
                    step=z.DaskFunctionStep(function="algorithms:change"),
                    inputs=(z.Input(data_type="cube"),),
                    outputs=("out",),
                ),
            ),
            root=home / "code",
        )
    )
    repository = cluster._site.repository
    tip, session = repository.writing()
    group = zarr.create_group(session.store, path="a/in")
    array = group.create_array(
        "values",
        shape=(layers, *CHUNK[1:]),
        chunks=CHUNK,
        dtype="f8",
        compressors=None,
        dimension_names=("layer", "y", "x"),
    )
    dice = np.random.default_rng(0)
    for layer in range(layers):
        array[layer] = dice.random(CHUNK[1:])
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": ""}
    repository.finish_writing(tip, session, "Seed", {})
    return cluster


def seconds_by_hand(client: Client, source: Path, target: Path) -> float:
    """Return the time that xarray and plain Zarr take."""
    began = time.perf_counter()
    with client.as_current():
        dataset = xr.open_zarr(source, consolidated=False)
        (dataset * 2.0 + 1.0).to_zarr(
            target,
            mode="w",
            consolidated=False,
            encoding={"values": {"compressors": ()}},
        )
    return time.perf_counter() - began


def seconds_with_ziggy(client: Client, cluster: z.Cluster) -> float:
    """Return the time that the pipeline takes."""
    began = time.perf_counter()
    instance = cluster.run("bench", client=client)
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
    return time.perf_counter() - began


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=4)
    chosen = parser.parse_args()
    layers = max(1, round(chosen.gib * 2**30 / (8 * np.prod(CHUNK))))
    mib = layers * 8 * np.prod(CHUNK) / 2**20
    with (
        tempfile.TemporaryDirectory(prefix="ziggy-bench-") as directory,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        home = Path(directory)
        cluster = prepare(home / "ziggy", layers)
        with client.as_current():
            cube(layers).to_zarr(
                home / "in",
                consolidated=False,
                encoding={"values": {"compressors": ()}},
            )
        ratios = []
        for number in range(chosen.rounds):
            # Both write new files each time, neither pays for what the other left in
            # memory for the disk, and each comes first in turn.
            if number % 2 == 0:
                os.sync()
                hand = seconds_by_hand(client, home / "in", home / f"out-{number}")
            os.sync()
            with PeakMemory() as memory:
                ours = seconds_with_ziggy(client, cluster)
            if number % 2 == 1:
                os.sync()
                hand = seconds_by_hand(client, home / "in", home / f"out-{number}")
            ratios.append(hand / ours)
            print(
                f"{mib:.0f} MiB  to_zarr {mib / hand:5.0f} MiB/s  ziggy-dask "
                f"{mib / ours:5.0f} MiB/s  ratio {ratios[-1]:.2f}  supervisor "
                f"+{(memory.peak - memory.before) / 1e6:.0f} MB",
                flush=True,
            )
        print(f"median ratio {statistics.median(ratios):.2f}")
        first = cluster.datastore["a/out"]["values"][0, 0, 0].values
        assert first == cluster.datastore["a/in"]["values"][0, 0, 0].values * 2 + 1


if __name__ == "__main__":
    main()
