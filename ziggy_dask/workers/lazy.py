"""Dask functions: algorithms that get a whole unit of work lazily and return it so.

The function runs in one key of the instance's graph. What it returns is computed
block by block on all workers, reading, computing and writing fused into one key per
block; the blocks' forks are merged into the task's one change set.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from distributed import worker_client

from ziggy_dask.datastore import open_chunked, prepared
from ziggy_dask.datastore.allocation import Storage, allocate
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.encoding import read_array, stored_name
from ziggy_dask.datastore.forms import Form, require_as_told
from ziggy_dask.datastore.stores import store_to_write, write_region
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.inputs import only_made, open_stored, require_stored
from ziggy_dask.workers.merging import merge_forks
from ziggy_dask.workers.work import Sink, Source, Work

_SMALL_BYTES = 4 * 1024 * 1024
"""Stored chunks smaller than this are read several at a time."""
_OBJECTS_BYTES = 64 * 1024 * 1024
"""Arrays of objects up to this size are computed before it is known how to store them."""
_TEXT_BYTES = 64
"""Bytes that one text is taken to have."""


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
            fork, writes = _writes(work, sinks[path], dataset)
            forks = [
                fork
                for array in client.gather(client.compute(writes))
                for fork in array.flat
            ]
            written[path] = merge_forks([fork, *forks])
    return written


def _open(work: Work, source: Source) -> xr.Dataset:
    if source.snapshot is None:
        raise TaskError(
            f"the input {source.data_type!r} of a dask function is not stored"
        )
    session = open_stored(work.datastore, source)
    labels = require_stored(session, source)
    dataset = only_made(open_chunked(session, source.path), source, labels)
    blocks = [math.prod(v.data.chunksize) * _size(v.dtype) for v in _lazy(dataset)]
    if max(blocks, default=0) >= _SMALL_BYTES:
        return dataset
    sizes = _block_sizes(dataset)
    larger = {
        name: variable.chunk({d: sizes[d] for d in variable.dims})
        for name, variable in dataset.variables.items()
        if variable.chunks
    }
    return dataset.assign(larger)


def _lazy(dataset: xr.Dataset) -> list[xr.Variable]:
    return [one for one in dataset.variables.values() if one.chunks]


def _block_sizes(dataset: xr.Dataset) -> dict[Hashable, int]:
    """Return how many elements along each dimension make blocks of Dask's usual size.

    The largest variable decides first; blocks are made of whole stored chunks.
    """
    sizes: dict[Hashable, int] = {}
    largest_first = sorted(_lazy(dataset), key=lambda v: -v.size * _size(v.dtype))
    for variable in largest_first:
        blocks = da.core.normalize_chunks(
            tuple(sizes.get(dimension, "auto") for dimension in variable.dims),
            variable.shape,
            dtype=np.dtype((np.void, _size(variable.dtype))),
            previous_chunks=variable.chunks,
        )
        for dimension, along in zip(variable.dims, blocks, strict=True):
            sizes.setdefault(dimension, max(along[0], 1))
    return sizes


def _size(dtype: np.dtype[Any]) -> int:
    """Return the bytes of an element; of text, which has no fixed size, a guess."""
    return _TEXT_BYTES if dtype.kind in "OT" else dtype.itemsize


def _writes(work: Work, sink: Sink, dataset: xr.Dataset) -> tuple[bytes, list[Any]]:
    """Allocate a product; return the fork, and an array of lazy writes per variable.

    Coordinates are computed here, and written with the allocation, as are arrays of pandas.
    """
    computed = dataset.assign_coords(dataset.coords.to_dataset().compute().coords)
    computed = computed.assign(_few_objects(computed))
    lean = prepared(computed, sink.storage, f"output {sink.data_type!r}")
    session = pickle.loads(work.scaffold)
    allocate(session, sink.path, lean, _storage(sink, lean), None)
    fork: bytes = pickle.dumps(session)
    group = zarr.open_group(session.store, path=sink.path, mode="r")
    writes = []
    for name, variable in lean.variables.items():
        if name in lean.coords or not isinstance(variable.dtype, np.dtype):
            continue  # written with the allocation
        stored = group[stored_name(name)]
        if not isinstance(stored, zarr.Array):
            raise TaskError(f"variable {name!r} was not allocated")
        data = _aligned(variable, stored.chunks).data
        writes.append(
            da.map_blocks(
                _write_block,
                data,
                fork=fork,
                place=f"{sink.path}/{stored_name(name)}",
                form=read_array(stored.attrs.asdict())[0],
                told=variable.dtype,
                metadata=stored.metadata,
                dtype=object,
                chunks=tuple((1,) * len(sizes) for sizes in data.chunks),
                meta=np.empty((0,) * data.ndim, dtype=object),
            )
        )
    return fork, writes


def _few_objects(dataset: xr.Dataset) -> dict[Hashable, xr.Variable]:
    """Return arrays of objects, computed; only their values tell what they are.

    Large ones stay as they are, and count as text.
    """
    return {
        name: variable.compute()
        for name, variable in dataset.data_vars.variables.items()
        if variable.dtype == object and variable.size * _TEXT_BYTES <= _OBJECTS_BYTES
    }


def _storage(sink: Sink, dataset: xr.Dataset) -> Storage:
    """Return how to store a product: chunks as asked for, else those of the result."""
    given = dict(sink.storage.chunks)
    for variable in dataset.data_vars.values():
        for dimension, sizes in variable.chunksizes.items():
            given.setdefault(str(dimension), _common_size(sizes))
    return replace(sink.storage, chunks=tuple(given.items()))


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


def _write_block(
    block: np.ndarray[Any, np.dtype[Any]],
    *,
    fork: bytes,
    place: str,
    form: Form,
    told: np.dtype[Any],
    metadata: Any,
    block_info: Mapping[int, Mapping[str, Any]],
) -> np.ndarray[Any, np.dtype[Any]]:
    """Write one block; return the fork that holds it, as the only element of an array."""
    region = tuple(slice(*ends) for ends in block_info[0]["array-location"])
    session = pickle.loads(fork)
    try:
        require_as_told(block, told, [part.stop - part.start for part in region])
        values = form.encode(block)
    except Unstorable as error:
        raise TaskError(f"the variable at '{place}' {error}") from None
    write_region(store_to_write(session), place, metadata, region, values)
    written = np.empty((1,) * block.ndim, dtype=object)
    written[(0,) * block.ndim] = pickle.dumps(session)
    return written
