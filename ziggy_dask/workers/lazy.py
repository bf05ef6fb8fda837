"""Dask functions: algorithms that get a whole unit of work lazily and return it so.

The function runs in one key of the instance's graph. What it returns is computed
block by block on all workers, each block written as soon as it is there; the
blocks' forks are merged into the task's one change set.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from dask.delayed import delayed
from distributed import worker_client

from ziggy_dask.datastore import shared_repository, storable
from ziggy_dask.datastore.allocation import Storage, allocate
from ziggy_dask.datastore.repository import ATTRIBUTE
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.work import Sink, Source, Work

Region = tuple[slice, ...]


def open_lazily(work: Work) -> dict[str, xr.Dataset]:
    """Return the inputs of a task, backed by Dask, by argument name."""
    return {source.name: _open(work, source) for source in work.sources}


def compute_and_write(
    work: Work, returned: Mapping[str, xr.Dataset]
) -> dict[str, bytes]:
    """Compute lazy outputs on all workers and write them.

    Parameters
    ----------
    work
        The task.
    returned
        Lazy Datasets by path of product.

    Returns
    -------
    dict
        Pickled forks with all data, by product.
    """
    sinks = {sink.path: sink for sink in work.sinks}
    written: dict[str, bytes] = {}
    with worker_client() as client:
        for path, dataset in returned.items():
            fork, blocks = _blocks(work, sinks[path], dataset)
            forks = client.gather(client.compute(blocks))
            written[path] = _merged([fork, *forks])
    return written


def _open(work: Work, source: Source) -> xr.Dataset:
    if source.snapshot is None:
        raise TaskError(
            f"the input {source.data_type!r} of a dask function is not stored"
        )
    session = shared_repository(work.datastore).reading(source.snapshot)
    dataset: xr.Dataset = xr.open_zarr(
        session.store, group=source.path, consolidated=False, chunks="auto"
    )
    dataset.attrs.pop(ATTRIBUTE, None)
    return dataset


def _blocks(work: Work, sink: Sink, dataset: xr.Dataset) -> tuple[bytes, list[Any]]:
    """Allocate a product; return the fork, and a delayed write for each block of it."""
    lean = storable(dataset)
    storage = _storage(sink, lean)
    session = pickle.loads(work.scaffold)
    allocate(session, sink.path, lean, storage, None)
    fork: bytes = pickle.dumps(session)
    group = zarr.open_group(session.store, path=sink.path, mode="r")
    writes = []
    for name, variable in lean.variables.items():
        if name in lean.coords:
            continue
        stored = group[str(name)]
        assert isinstance(stored, zarr.Array)
        aligned = _aligned(variable, stored.chunks)
        for region, block in _regions(aligned):
            place = f"{sink.path}/{name}"
            write = delayed(_write_block, name=None, pure=False)
            writes.append(write(fork, place, region, block))
    return fork, writes


def _storage(sink: Sink, dataset: xr.Dataset) -> Storage:
    """Return how to store a product: chunks as asked for, else those of the result."""
    given = dict(sink.storage.chunks)
    for variable in dataset.data_vars.values():
        for dimension, sizes in variable.chunksizes.items():
            given.setdefault(str(dimension), _common_size(sizes))
    return Storage(
        dimension=sink.storage.dimension,
        chunk=sink.storage.chunk,
        chunks=tuple(given.items()),
        compression=sink.storage.compression,
    )


def _common_size(sizes: tuple[int, ...]) -> int:
    """Return the largest size that blocks are made of; the last one may be short."""
    return math.gcd(*sizes[:-1]) if len(sizes) > 1 else max(sizes[0], 1)


def _aligned(variable: xr.Variable, chunks: tuple[int, ...]) -> xr.Variable:
    """Return a variable whose blocks cover whole stored chunks."""
    lazy = variable if variable.chunks else variable.chunk()
    wanted = {}
    for dimension, size, blocks in zip(
        lazy.dims, chunks, lazy.chunks or (), strict=True
    ):
        if any(block % size for block in blocks[:-1]):
            wanted[dimension] = math.ceil(max(blocks) / size) * size
    return lazy.chunk(wanted) if wanted else lazy


def _regions(variable: xr.Variable) -> Iterator[tuple[Region, Any]]:
    data = variable.data
    ends = [np.cumsum(sizes) for sizes in data.chunks]
    blocks = data.to_delayed()
    for index in np.ndindex(*blocks.shape):
        region = tuple(
            slice(int(end[i]) - sizes[i], int(end[i]))
            for i, end, sizes in zip(index, ends, data.chunks, strict=True)
        )
        yield region, blocks[index]


def _write_block(
    fork: bytes, place: str, region: Region, block: np.ndarray[Any, np.dtype[Any]]
) -> bytes:
    session = pickle.loads(fork)
    zarr.open_array(session.store, path=place, mode="r+")[region] = block
    written: bytes = pickle.dumps(session)
    return written


def _merged(forks: list[bytes]) -> bytes:
    first, *others = (pickle.loads(one) for one in forks)
    if others:
        first.merge(*others)
    merged: bytes = pickle.dumps(first)
    return merged
