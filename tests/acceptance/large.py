"""Take something large in, through a program and out again in this one process.

Usage: python large.py file|netcdf|zarr DIRECTORY MIB

Prints whether it came out the same, and by how much memory grew, in MiB.
"""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from ziggy_dask.datastore import (
    Datastore,
    FileItem,
    Labels,
    Publication,
    Storage,
    create_repository,
)
from ziggy_dask.datastore.items import write_dataset_item, write_file_item
from ziggy_dask.datastore.readers import open_file
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.definitions import ProductKind, Programs, ProgramStep
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.workers import run_batch
from ziggy_dask.workers.memory import peak_bytes, reset_peak
from ziggy_dask.workers.work import Sink, Source, Work

MIB = 2**20
STORAGE = Storage(dimension="", chunk=1, chunks=(("time", 8),), compression="zstd")
NAMES = {"file": "large.raw", "netcdf": "large.nc", "zarr": "large.zarr"}


def deliver(kind: str, place: Path, mib: int) -> None:
    """Make something large, of random numbers, piece by piece."""
    if kind == "file":
        with place.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
        return
    random = np.random.default_rng(3)
    if kind == "zarr":
        group = zarr.open_group(place, mode="w", zarr_format=3)
        shape, dims = (mib, MIB // 8), ["time", "pixel"]
        flux = group.create_array(
            "flux", shape=shape, chunks=(8, MIB // 8), dtype="f8", dimension_names=dims
        )
        for start in range(0, mib, 8):
            flux[start : start + 8] = random.random((8, MIB // 8))
        return
    import h5netcdf

    with h5netcdf.File(place, "w") as file:
        file.dimensions = {"time": mib, "pixel": MIB // 8}
        flux = file.create_variable("flux", ("time", "pixel"), "f8")
        for start in range(0, mib, 8):
            flux[start : start + 8] = random.random((8, MIB // 8))


def checksum(place: Path, kind: str) -> str:
    """Return the SHA-256 of a file, or of the numbers in it."""
    found = hashlib.sha256()
    if kind == "file":
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    engine = "zarr" if place.suffix == ".zarr" else "h5netcdf"
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataset(place, engine=engine, chunks=None, **options) as dataset:
        for start in range(0, dataset.sizes["time"], 8):
            found.update(dataset["flux"][start : start + 8].values)
    return found.hexdigest()


def make_work(kind: str, home: Path, repository, snapshot: str) -> Work:
    """Return a task of one subtask, whose program copies its input."""
    suffix = {"file": "raw", "netcdf": "nc", "zarr": "zarr"}[kind]
    given = "large" if kind == "file" else "raw"
    program = home / "bin" / "copy"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec cp -r {given}.{suffix} copy.{suffix}2\n")
    program.chmod(0o755)
    product = ProductKind.FILE if kind == "file" else ProductKind.COLLECTION
    shared = {"kind": product, "max_failed": 0}
    source = Source(
        name="raw",
        data_type="raw",
        path="s/in",
        dimension="",
        chunk=1,
        is_whole=False,
        labels=Labels.of(["large"]),
        snapshot=snapshot,
        task=None,
        instance=None,
        pattern=FilePattern(deeper="", name=r"(large)\.raw", patterns=()),
        file_format="zarr" if kind == "zarr" else "netcdf",
        **shared,
    )
    sink = Sink(
        name="made",
        data_type="made",
        path="s/out",
        kind=product,
        storage=STORAGE,
        allocation=None,
        pattern=FilePattern(deeper="", name=rf"(copy)\.{suffix}2", patterns=()),
        reader="" if kind == "file" else kind,
    )
    return Work(
        token="large",
        index=0,
        instance=1,
        task=1,
        node="copy",
        unit={},
        unit_name="[]",
        step=ProgramStep(program="copy"),
        limit_s=0.0,
        root=home,
        code_version="",
        sets=(),
        models={},
        sources=(source,),
        sinks=(sink,),
        event_labels=(),
        labels=Labels.of(["large"]),
        chunk=1,
        count=1,
        datastore=repository.url,
        scaffold=repository.scaffold("large", ["s/out"]),
        programs=Programs(work=home / "work"),
    )


def receive(kind: str, repository, place: Path) -> str:
    """Store what was delivered; return the snapshot."""
    attributes = {"kind": "file" if kind == "file" else "collection", "dimension": ""}
    writing = repository.writing()
    session = writing.newest().session
    group = zarr.open_group(session.store, mode="a").require_group("s/in")
    if kind == "file":
        write_file_item(session, "s/in", FileItem.from_path(place))
    else:
        with open_file(kind, place) as reading:
            write_dataset_item(session, "s/in", "large", reading.content, STORAGE)
    group.attrs[ATTRIBUTE] = attributes
    return repository.finish_writing(writing, "in", {})


def main(kind: str, home: Path, mib: int) -> None:
    """Do it, and print what came of it."""
    place = home / NAMES[kind]
    deliver(kind, place, mib)
    before = checksum(place, kind)
    repository = create_repository(str(home / "store"))
    reset_peak()
    least = peak_bytes()
    snapshot = receive(kind, repository, place)
    work = make_work(kind, home, repository, snapshot)
    result = run_batch(work, [0])
    assert result.outcomes[0].outputs == ("s/out",), result.outcomes[0]
    attributes = {"kind": "file" if kind == "file" else "collection", "dimension": ""}
    made = Publication(
        path="s/out",
        change_sets=list(result.change_sets.values()),
        attributes=attributes,
        is_files=kind == "file",
    )
    repository.publish([made], "made", {})
    (written,) = Datastore(repository).export(home / "out", ["s/out"])
    more = peak_bytes() - least
    print("same", "yes" if checksum(written, kind) == before else "no")
    print("more_mib", more // MIB)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
