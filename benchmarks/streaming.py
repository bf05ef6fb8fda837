"""Speed and memory of large files: in, through a program and a function, and out again.

A file, a NetCDF file and a Zarr directory of the same size are delivered, copied by a program,
passed on by a function, and exported. Each way is compared with `cp` and `sha256sum` of the same
data in the same run, and the largest memory of each process is told, that of the supervisor first.

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
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask.array as da
import psutil
import xarray as xr

from ziggy_dask import Instance
from ziggy_dask.interface.cluster import Cluster, create_cluster

MIB = 2**20
DEFINITION = """
pipeline: bench
placeholders: {set: "set-[0-9]"}
data_types:
  file-in: {location: "{set}/file", kind: file, files: '(.+)[.]raw', reader: bytes}
  file-out: {location: "{set}/file-out", kind: file, files: '(.+)[.]copy'}
  netcdf-in: {location: "{set}/netcdf", files: '.+[.]nc', reader: netcdf}
  netcdf-out: {location: "{set}/netcdf-out", files: '.+[.]nc4', reader: netcdf}
  zarr-in: {location: "{set}/zarr", files: '.+[.]zarr', reader: zarr, file_format: zarr}
  zarr-out: {location: "{set}/zarr-out", files: '.+[.]zarr2', reader: zarr}
  file-passed: {location: "{set}/file-passed", kind: file}
  netcdf-passed: {location: "{set}/netcdf-passed"}
  zarr-passed: {location: "{set}/zarr-passed"}
nodes:
  receipt: {step: data-receipt}
  file: {program: copy-file, inputs: [file-in], outputs: [file-out]}
  netcdf: {program: copy-netcdf, inputs: [netcdf-in], outputs: [netcdf-out]}
  zarr: {program: copy-zarr, inputs: [zarr-in], outputs: [zarr-out]}
  file-function: {function: "algorithms:pass_file", inputs: [file-out], outputs: [file-passed]}
  netcdf-function:
    {dask_function: "algorithms:pass_netcdf", inputs: [netcdf-out], outputs: [netcdf-passed]}
  zarr-function:
    {dask_function: "algorithms:pass_zarr", inputs: [zarr-out], outputs: [zarr-passed]}
"""
ALGORITHMS = """
from dataclasses import replace

def pass_file(file_out):
    return replace(file_out, name="large.passed")

def pass_netcdf(netcdf_out):
    return netcdf_out

def pass_zarr(zarr_out):
    return zarr_out
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
def watched() -> Iterator[Callable[[], str]]:
    """Yield what tells the largest memory of this process and of those below it, in MiB."""
    largest: dict[psutil.Process, int] = {}
    end = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not end.wait(0.05):
            for process in (me, *me.children(recursive=True)):
                try:
                    held = process.memory_info().rss // MIB
                except psutil.Error:
                    continue
                largest[process] = max(largest.get(process, 0), held)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: ", ".join(str(held) for held in [*largest.values()] if held)
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
        assert checksum(data) == checksum(out / "set-1/file-passed/large.passed")
        return
    opened = (
        xr.open_dataset(data, engine="h5netcdf", chunks={"time": 16})
        if kind == "netcdf"
        else xr.open_zarr(data, consolidated=False)
    )
    made = out / f"set-1/{kind}-passed.nc"
    found = xr.open_dataset(made, engine="h5netcdf", chunks={"time": 16})
    assert bool((opened["flux"] == found["flux"]).all().compute())


def apart(function: Callable[..., Any], *given: object) -> Any:
    """Call a function in a process of its own, so that its memory does not count here."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def require_done(made: object) -> None:
    """End with what was said, if an instance did not complete."""
    if isinstance(made, Instance) and made.state.value != "COMPLETED":
        raise SystemExit("\n".join(task.record.message for task in made.tasks))


def measure(cluster: Cluster, kind: str, mib: int, home: Path) -> None:
    """Take one delivery in, through a program, and out; print lines."""
    data = apart(make, kind, home / "delivery" / "set-1" / kind, mib)
    hand = by_hand(data, home)
    print(f"{kind}: {mib} MiB; cp + sha256sum {hand:.1f} s", flush=True)
    passing = f"{kind}-function"
    steps: dict[str, Callable[[], object]] = {
        "in": lambda: cluster.receive(home / "delivery", needs_manifest=False),
        "through a program": lambda: cluster.run("bench", start=kind, stop=kind),
        "through a function": lambda: cluster.run("bench", start=passing, stop=passing),
        "out": lambda: cluster.datastore.export(home / "out", [f"set-1/{kind}-passed"]),
    }
    for name, step in steps.items():
        with watched() as largest:
            began = time.perf_counter()
            require_done(step())
            took = time.perf_counter() - began
            print(
                f"  {name:18} {took:6.1f} s, {hand / took:.2f} of the speed, "
                f"memory {largest()} MiB",
                flush=True,
            )
    apart(require_same, kind, data, home / "out")
    print("  what came out is what went in", flush=True)
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
        (home / "mission" / "algorithms.py").write_text(ALGORITHMS)
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
