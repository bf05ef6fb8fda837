"""Speed and memory of large files on their way in, through a program, and out again.

A file, a NetCDF file and a Zarr directory of the same size are delivered, copied by a program
and exported. Each way is compared with `cp` and `sha256sum` of the same data in the same
run, and the largest memory of any process is told.

Usage: python benchmarks/streaming.py [--mib 4096] [--limit-mib 1024] [--kind file ...]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import psutil
import xarray as xr

from ziggy_dask.interface.cluster import Cluster, create_cluster

MIB = 2**20
DEFINITION = """
pipeline: bench
placeholders: {set: "set-[0-9]"}
data_types:
  file-in: {location: "{set}/file", kind: file, files: '(.+)[.]raw', reader: bytes}
  file-out: {location: "{set}/file-out", kind: file, files: '(.+)[.]copy'}
  netcdf-in: {location: "{set}/netcdf", kind: collection, files: '(.+)[.]nc', reader: netcdf}
  netcdf-out: {location: "{set}/netcdf-out", kind: collection, files: '(.+)[.]nc4', reader: netcdf}
  zarr-in:
    {location: "{set}/zarr", kind: collection,
     files: '(.+)[.]zarr', reader: zarr, file_format: zarr}
  zarr-out: {location: "{set}/zarr-out", kind: collection, files: '(.+)[.]zarr2', reader: zarr}
nodes:
  receipt: {step: data-receipt}
  file: {program: copy-file, inputs: [file-in], outputs: [file-out]}
  netcdf: {program: copy-netcdf, inputs: [netcdf-in], outputs: [netcdf-out]}
  zarr: {program: copy-zarr, inputs: [zarr-in], outputs: [zarr-out]}
"""
PROGRAMS = {
    "file": '#!/bin/sh\nfor one in *.raw; do cp "$one" "${one%.raw}.copy"; done\n',
    "netcdf": '#!/bin/sh\nfor one in *.nc; do cp "$one" "${one%.nc}.nc4"; done\n',
    "zarr": '#!/bin/sh\nfor one in *.zarr; do cp -r "$one" "${one%.zarr}.zarr2"; done\n',
}


def make(kind: str, place: Path, mib: int) -> Path:
    """Make a large delivery of random numbers; return the file or directory."""
    place.mkdir(parents=True)
    if kind == "file":
        path = place / "large.raw"
        with path.open("wb") as file:
            for _ in range(0, mib, 16):
                file.write(os.urandom(16 * MIB))
        return path
    values = da.random.random((mib, MIB // 8), chunks=(16, -1))
    dataset = xr.Dataset({"flux": (("time", "pixel"), values)})
    if kind == "netcdf":
        dataset.to_netcdf(place / "large.nc", engine="h5netcdf")
        return place / "large.nc"
    dataset.to_zarr(place / "large.zarr", consolidated=False, zarr_format=3)
    return place / "large.zarr"


def by_hand(data: Path, home: Path) -> float:
    """Return the seconds that `cp` and `sha256sum` take."""
    os.sync()
    began = time.perf_counter()
    subprocess.run(["cp", "-r", data, home / "by-hand"], check=True)
    files = [str(path) for path in [data, *data.rglob("*")] if path.is_file()]
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    place = home / "by-hand"
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    return took


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """Yield what tells the largest memory, in MiB, of this process and those below it."""
    largest = [0]
    end = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not end.wait(0.05):
            for process in (me, *me.children(recursive=True)):
                try:
                    largest[0] = max(largest[0], process.memory_info().rss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: largest[0] // MIB
    finally:
        end.set()
        thread.join()


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_same(kind: str, data: Path, out: Path) -> None:
    """Compare what came out with what went in."""
    if kind == "file":
        assert checksum(data) == checksum(out / "set-1/file-out/large.copy")
        return
    opened = (
        xr.open_dataset(data, engine="h5netcdf", chunks={"time": 16})
        if kind == "netcdf"
        else xr.open_zarr(data, consolidated=False)
    )
    (made,) = (out / f"set-1/{kind}-out").iterdir()
    found = xr.open_dataset(made, engine="h5netcdf", chunks={"time": 16})
    assert bool((opened["flux"] == found["flux"]).all().compute())


def measure(cluster: Cluster, kind: str, mib: int, home: Path) -> None:
    """Take one delivery in, through a program, and out; print lines."""
    data = make(kind, home / "delivery" / "set-1" / kind, mib)
    hand = by_hand(data, home)
    print(f"{kind}: {mib} MiB; cp + sha256sum {hand:.1f} s", flush=True)
    steps: dict[str, Callable[[], object]] = {
        "in": lambda: cluster.receive(home / "delivery", needs_manifest=False),
        "through a program": lambda: cluster.run("bench", start=kind, stop=kind),
        "out": lambda: cluster.datastore.export(home / "out", [f"set-1/{kind}-out"]),
    }
    for name, step in steps.items():
        with watched() as largest:
            began = time.perf_counter()
            step()
            took = time.perf_counter() - began
            print(
                f"  {name:18} {took:6.1f} s, {hand / took:.2f} of the speed, "
                f"largest memory {largest()} MiB",
                flush=True,
            )
    require_same(kind, data, home / "out")
    shutil.rmtree(home / "delivery")
    shutil.rmtree(home / "out")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--limit-mib", type=int, default=1024)
    parser.add_argument("--kind", nargs="*", default=list(PROGRAMS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        home = Path(name).resolve()
        (home / "mission" / "bin").mkdir(parents=True)
        for kind, text in PROGRAMS.items():
            program = home / "mission" / "bin" / f"copy-{kind}"
            program.write_text(text)
            program.chmod(0o755)
        (home / "mission" / "pipeline.yaml").write_text(DEFINITION)
        file = home / "cluster.yaml"
        file.write_text(
            "cluster: bench\nhome: ./home\ncompute: {local: {workers: 1, threads: 1, "
            f"memory: {options.limit_mib}MiB}}}}\n"
        )
        cluster = create_cluster(file)
        cluster.register(home / "mission")
        for kind in options.kind:
            measure(cluster, kind, options.mib, home)


if __name__ == "__main__":
    main()
