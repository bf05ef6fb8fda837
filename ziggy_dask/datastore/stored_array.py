"""Stored arrays as xarray reads them: lazily, and with damage told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from xarray.backends.common import BackendArray
from xarray.core import indexing
from zarr.core.buffer import default_buffer_prototype

from ziggy_dask.datastore.forms import Form, Values
from ziggy_dask.datastore.shortage import shortage
from ziggy_dask.errors import DatastoreError


class StoredArray(BackendArray):
    """The values of a stored variable, read and decoded when they are asked for.

    Parameters
    ----------
    array
        The stored array.
    form
        How its values are stored.
    """

    def __init__(self, array: zarr.Array[Any], form: Form) -> None:
        self._array = array
        self._form = form
        self.shape = array.shape
        self.dtype = form.memory_dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what is asked for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def read_all(self) -> Any:
        """Return all values, which may be an array of pandas."""
        return self._read((slice(None),) * len(self.shape))

    def _read(self, key: tuple[Any, ...]) -> Any:
        with damage_told(self._array.path):
            found = read_region(self._array, key)
        return self._form.decode(found)


def read_region(array: zarr.Array[Any], key: tuple[Any, ...]) -> Values:
    """Return part of an array, which is never a scalar: Zarr's lack closing NULs."""
    if not array.ndim:
        buffer = default_buffer_prototype().nd_buffer.create(
            shape=(), dtype=array.dtype
        )
        array.get_basic_selection((), out=buffer)
        return buffer.as_numpy_array()
    kept = tuple(
        slice(part, part + 1) if isinstance(part, int | np.integer) else part
        for part in key
    )
    is_plain = all(isinstance(part, slice) for part in kept)
    found = np.asarray(array[kept] if is_plain else array.oindex[kept])
    shape = [
        size
        for size, part in zip(found.shape, key, strict=True)
        if not isinstance(part, int | np.integer)
    ]
    return found.reshape(shape)


@contextmanager
def damage_told(path: str, items: str = "") -> Iterator[None]:
    """Name the product, the variable and the items if a chunk can't be decoded.

    That this process has no more threads is no damage.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        product, _, variable = path.rpartition("/")
        where = f" ({items})" if items else ""
        if lack := shortage(error):
            raise DatastoreError(
                f"'{product}' in the datastore: variable {variable!r}{where} can't be "
                f"read: {lack}"
            ) from error
        raise DatastoreError(
            f"'{product}' in the datastore is damaged: variable {variable!r}{where} "
            f"can't be read: {error}; restore it from a copy, or make it anew"
        ) from error
