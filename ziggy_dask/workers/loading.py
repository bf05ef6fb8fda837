"""Bringing what an algorithm returned into memory, as a part of its subtask.

Users of Dask return Datasets that are not computed yet. Computing them runs the
algorithm's own code, so it belongs to the subtask: to its time limit, its log and its
memory. It happens in the calling thread, on this worker alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import psutil
import xarray as xr
from distributed import get_worker

from ziggy_dask.datastore.items import Files
from ziggy_dask.errors import TaskError


def load_returned(returned: object) -> object:
    """Return what an algorithm returned, with all its data in memory.

    Parameters
    ----------
    returned
        Any value. Datasets and DataArrays are loaded, also those in dicts.

    Returns
    -------
    object
        The same, where nothing was lazy.

    Raises
    ------
    TaskError
        If it takes more memory than the worker has; nothing was computed then.
    """
    needed = sum(_lazy_bytes(data) for data in _arrays_in(returned))
    if not needed:
        return returned
    limit = _memory_limit_bytes()
    if needed > limit:
        raise TaskError(
            f"the algorithm returned lazy data that take {needed / 2**30:.1f} GiB, but "
            f"the worker has {limit / 2**30:.1f} GiB of memory; make it a "
            "'dask_function', whose result is written block by block, or give the "
            "workers more memory"
        )
    return _loaded(returned)


def _arrays_in(returned: object) -> Iterator[xr.Dataset]:
    if isinstance(returned, xr.DataArray):
        yield returned._to_temp_dataset()
    elif isinstance(returned, xr.Dataset):
        yield returned
    elif isinstance(returned, xr.DataTree):
        yield from (node.to_dataset(inherit=False) for node in returned.subtree)
    elif isinstance(returned, Mapping) and not isinstance(returned, Files):
        for value in returned.values():
            yield from _arrays_in(value)


def _lazy_bytes(dataset: xr.Dataset) -> int:
    return sum(v.nbytes for v in dataset.variables.values() if not v._in_memory)


def _would_change(dataset: xr.Dataset) -> bool:
    """Tell whether computing changes a type: of pandas' text xarray makes objects."""
    return any(
        not isinstance(v.dtype, np.dtype) and not v._in_memory
        for v in dataset.variables.values()
    )


def _loaded(returned: object) -> object:
    if any(_would_change(data) for data in _arrays_in(returned)):
        return returned  # it is refused by name where it is stored
    if isinstance(returned, xr.Dataset | xr.DataArray):
        return returned.compute(scheduler="synchronous")
    if isinstance(returned, xr.DataTree):
        groups = {
            node.path: node.to_dataset(inherit=False).compute(scheduler="synchronous")
            for node in returned.subtree
        }
        return xr.DataTree.from_dict(groups)
    if isinstance(returned, Mapping) and not isinstance(returned, Files):
        return {name: _loaded(value) for name, value in returned.items()}
    return returned


def _memory_limit_bytes() -> int:
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # not on a worker, as when a subtask is debugged
        limit = None
    return int(limit or psutil.virtual_memory().total)
