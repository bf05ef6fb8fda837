"""Datasets that are read and written block by block."""

from __future__ import annotations

import math
from collections.abc import Hashable

import xarray as xr

LARGE_BYTES = 16 * 1024 * 1024
"""Variables that are larger, and not in memory, are read block by block."""


def in_blocks(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose large variables are read block by block when it is written.

    Blocks are made of whole stored chunks where those are known and not too large, so
    that none is read twice. Variables in memory, small ones, and such that Dask has cut
    already stay as they are.

    Parameters
    ----------
    dataset
        Perhaps opened lazily, without Dask.
    """
    lazy: dict[Hashable, xr.Variable] = {}
    for name, variable in dataset.variables.items():
        if (
            is_lazy(variable)
            and variable.nbytes > LARGE_BYTES
            and variable.dtype != object
        ):
            lazy[name] = variable.chunk(block_shape(variable))
    return dataset.assign(lazy) if lazy else dataset


def is_lazy(variable: xr.Variable) -> bool:
    """Tell whether the values of a variable are neither in memory nor cut by Dask."""
    return not variable._in_memory and variable.chunks is None


def block_shape(variable: xr.Variable) -> dict[Hashable, int]:
    """Return the shape of blocks of at most `LARGE_BYTES`, of whole stored chunks."""
    stored = variable.encoding.get("preferred_chunks") or {}
    steps = [min(int(stored.get(dim, 1)), size) for dim, size in variable.sizes.items()]
    shape = list(variable.shape)
    for axis, step in enumerate(steps):  # the first axis varies slowest: cut it first
        rest = math.prod(shape[:axis] + shape[axis + 1 :]) * variable.dtype.itemsize
        fitting = max(LARGE_BYTES // max(rest, 1) // step * step, step)
        shape[axis] = min(fitting, shape[axis])
        if math.prod(shape) * variable.dtype.itemsize <= LARGE_BYTES:
            break
    return dict(zip(variable.dims, shape, strict=True))
