"""Overhead per subtask: ziggy-dask against the same work in plain Dask and Zarr.

Both read an image of 120 kB, add one, and write it, so many times, on the same
worker processes. Runs alternate, so that a machine that changes its speed does so
for both. The hand-written one keeps no records, publishes nothing in one step, and
forgets everything if it dies.

Usage: python benchmarks/overhead.py [--subtasks 10000] [--rounds 3] [--scaling]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import xarray as xr
import zarr
from distributed import Client, LocalCluster

import ziggy_dask as z
from ziggy_dask.datastore import Labels, Storage, allocate
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.interface.cluster import create_cluster

SHAPE = (100, 150)
"""Pixels of an image; float64, so 120 kB."""
ALGORITHM = "def brighten(image):\n    return image + 1.0\n"
CLUSTER = "cluster: bench\nhome: ./home\n"


def fill(array: zarr.Array, count: int) -> None:
    """Write `count` equal images."""
    image = np.random.default_rng(0).random((1, *SHAPE))
    for start in range(0, count, 200):
        stop = min(start + 200, count)
        array[start:stop] = np.repeat(image, stop - start, axis=0)


def prepare(home: Path, count: int, typical_s: float) -> z.Cluster:
    """Make a cluster with images and the pipeline that brightens them."""
    (home / "code").mkdir(parents=True)
    (home / "code" / "algorithms.py").write_text(ALGORITHM)
    (home / "cluster.yaml").write_text(CLUSTER)
    cluster = create_cluster(home / "cluster.yaml")
    options = {"subtask": "image", "compression": "none"}
    cluster.register(
        z.Pipeline(
            name="bench",
            placeholders=(z.Placeholder(name="dataset", pattern="set-[0-9]"),),
            data_types=(
                z.DataType(
                    name="image",
                    location=z.Location("{dataset}/in"),
                    external=True,
                    **options,
                ),
                z.DataType(name="out", location=z.Location("{dataset}/out"), **options),
            ),
            nodes=(
                z.Node(
                    name="brighten",
                    step=z.FunctionStep(function="algorithms:brighten"),
                    inputs=(z.Input(data_type="image"),),
                    outputs=("out",),
                    typical_s=typical_s,
                ),
            ),
            root=home / "code",
        )
    )
    repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    storage = Storage(dimension="image", chunk=1, chunks=(), compression="none")
    piece = xr.Dataset({"pixels": (("image", "y", "x"), np.zeros((1, *SHAPE)))})
    allocate(session, "set-1/in", piece, storage, Labels(np.arange(count)))
    fill(zarr.open_array(session.store, path="set-1/in/pixels"), count)
    group = zarr.open_group(session.store, path="set-1/in", mode="a")
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "image"}
    repository.finish_writing(writing, "Seed", {})
    return cluster


def prepare_by_hand(home: Path, count: int) -> tuple[zarr.Array, zarr.Array]:
    """Return plain Zarr arrays to read from and to write to."""
    shape, chunks = (count, *SHAPE), (1, *SHAPE)
    made = [
        zarr.create_array(
            home / name, shape=shape, chunks=chunks, dtype="f8", compressors=None
        )
        for name in ("in", "out")
    ]
    fill(made[0], count)
    return made[0], made[1]


def brighten(number: int, source: zarr.Array, target: zarr.Array) -> int:
    """Do one subtask by hand."""
    target[number] = source[number] + 1.0
    return number


def run_by_hand(client: Client, source: zarr.Array, target: zarr.Array) -> None:
    """Do all subtasks by hand, as someone would who knows Dask and Zarr."""
    futures = client.map(
        brighten, range(source.shape[0]), source=source, target=target, pure=False
    )
    assert len(client.gather(futures)) == source.shape[0]


def run_with_ziggy(client: Client, cluster: z.Cluster) -> None:
    """Run the pipeline."""
    instance = cluster.run("bench", client=client)
    assert instance.state.value == "COMPLETED"


def milliseconds(count: int, work, *arguments) -> float:
    """Return the time that something takes, per subtask."""
    began = time.perf_counter()
    work(*arguments)
    return 1e3 * (time.perf_counter() - began) / count


class PeakMemory:
    """The largest memory of this process, supervisor and Dask scheduler, in a block."""

    def __enter__(self) -> PeakMemory:
        """Begin to look, ten times a second."""
        self._process = psutil.Process(os.getpid())
        self.before = self.peak = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def __exit__(self, *exception: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()


def compare(client: Client, count: int, rounds: int, typical_s: float) -> None:
    """Print times of both, alternating, and the ratio."""
    with tempfile.TemporaryDirectory(
        prefix="ziggy-bench-", ignore_cleanup_errors=True
    ) as directory:
        home = Path(directory)
        cluster = prepare(home / "ziggy", count, typical_s)
        source, target = prepare_by_hand(home / "hand", count)
        by_hand, by_ziggy, peaks = [], [], []
        for number in range(rounds):
            by_hand.append(milliseconds(count, run_by_hand, client, source, target))
            with PeakMemory() as memory:
                by_ziggy.append(milliseconds(count, run_with_ziggy, client, cluster))
            peaks.append((memory.peak - memory.before) / 1e6)
            first = " (nothing known of durations)" if not (number or typical_s) else ""
            print(
                f"{count:7d} subtasks  by hand {by_hand[-1]:5.2f} ms  ziggy-dask "
                f"{by_ziggy[-1]:5.2f} ms  ratio {by_ziggy[-1] / by_hand[-1]:4.2f}  "
                f"supervisor +{peaks[-1]:.0f} MB{first}",
                flush=True,
            )
        ratio = statistics.median(a / b for a, b in zip(by_ziggy, by_hand, strict=True))
        print(f"{count:7d} subtasks  median ratio {ratio:.2f}", flush=True)
        last = cluster.datastore["set-1/out"]["pixels"][-1].values
        assert (last == cluster.datastore["set-1/in"]["pixels"][-1].values + 1).all()


@contextmanager
def two_workers() -> Iterator[Client]:
    """Yield a client of two worker processes of one thread."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subtasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--typical", type=float, default=0.0, help="declared, in seconds"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="1,000 / 10,000 / 50,000"
    )
    chosen = parser.parse_args()
    counts = [1_000, 10_000, 50_000] if chosen.scaling else [chosen.subtasks]
    for count in counts:
        with two_workers() as client:
            compare(client, count, chosen.rounds, chosen.typical)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of supervisor and Dask scheduler together: {peak:.0f} MB")


if __name__ == "__main__":
    main()
