"""Throughput of a large array: a Dask function step against plain ``to_zarr``.

An array is read, every element changed, and written, by a pipeline with a Dask
function and by xarray on plain Zarr, alternating, on the same worker processes:
those that ziggy-dask starts on a laptop.

Both store with the compression that is each one's default, zstd; ``--compression
none`` leaves that out, which makes copies in memory and the disk count for more.

A round leaves twice the array on the disk until the end.

Usage: python benchmarks/throughput.py [--gib 4] [--rounds 4] [--compression none]
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
from distributed import Client
from overhead import CLUSTER, PeakMemory

import ziggy_dask as z
from ziggy_dask.compute import open_client
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.definitions import LocalCompute
from ziggy_dask.interface.cluster import create_cluster

CHUNK = (1, 2048, 2048)
"""Float64, so 32 MiB."""
ALGORITHM = "def change(cube):\n    return cube * 2.0 + 1.0\n"


def cube(layers: int) -> xr.Dataset:
    """Return the array to start from, lazily; ``values`` (layer, y, x), float64."""
    shape = (layers, *CHUNK[1:])
    values = da.random.default_rng(0).random(shape, chunks=CHUNK)
    return xr.Dataset({"values": (("layer", "y", "x"), values)})


def encoding(compression: str) -> dict[str, dict[str, object]]:
    """Return how plain Zarr is to store the array."""
    return {} if compression == "zstd" else {"values": {"compressors": ()}}


def prepare(home: Path, layers: int, compression: str) -> z.Cluster:
    """Make a cluster with the array and the pipeline that changes it."""
    (home / "code").mkdir(parents=True)
    (home / "code" / "algorithms.py").write_text(ALGORITHM)
    (home / "cluster.yaml").write_text(CLUSTER)
    cluster = create_cluster(home / "cluster.yaml")
    options = {"compression": compression}
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
    writing = repository.writing()
    session = writing.newest().session
    group = zarr.create_group(session.store, path="a/in")
    array = group.create_array(
        "values",
        shape=(layers, *CHUNK[1:]),
        chunks=CHUNK,
        dtype="f8",
        compressors="auto" if compression == "zstd" else None,
        dimension_names=("layer", "y", "x"),
    )
    dice = np.random.default_rng(0)
    for layer in range(layers):
        array[layer] = dice.random(CHUNK[1:])
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": ""}
    repository.finish_writing(writing, "Seed", {})
    return cluster


def seconds_by_hand(
    client: Client, source: Path, target: Path, compression: str
) -> float:
    """Return the time that xarray and plain Zarr take."""
    began = time.perf_counter()
    with client.as_current():
        dataset = xr.open_zarr(source, consolidated=False)
        (dataset * 2.0 + 1.0).to_zarr(
            target,
            mode="w",
            consolidated=False,
            encoding=encoding(compression),
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
    parser.add_argument("--compression", choices=("zstd", "none"), default="zstd")
    parser.add_argument("--directory", help="where the files go; default: as for all")
    chosen = parser.parse_args()
    layers = max(1, round(chosen.gib * 2**30 / (8 * np.prod(CHUNK))))
    mib = layers * 8 * np.prod(CHUNK) / 2**20
    with (
        tempfile.TemporaryDirectory(
            prefix="ziggy-bench-", dir=chosen.directory
        ) as directory,
        open_client(LocalCompute(workers=2), Path(directory, "scratch")) as client,
    ):
        home = Path(directory)
        cluster = prepare(home / "ziggy", layers, chosen.compression)
        with client.as_current():
            cube(layers).to_zarr(
                home / "in",
                consolidated=False,
                encoding=encoding(chosen.compression),
            )
        ratios = []
        for number in range(chosen.rounds):
            # Both write new files each time, neither pays for what the other left in
            # memory for the disk, and each comes first in turn.
            target = home / f"out-{number}"
            if number % 2 == 0:
                os.sync()
                hand = seconds_by_hand(client, home / "in", target, chosen.compression)
            os.sync()
            with PeakMemory() as memory:
                ours = seconds_with_ziggy(client, cluster)
            if number % 2 == 1:
                os.sync()
                hand = seconds_by_hand(client, home / "in", target, chosen.compression)
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
