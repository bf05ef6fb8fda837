"""Stored arrays as xarray reads them: lazily, and with damage told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from xarray.backends.common import BackendArray
from xarray.core import indexing

from ziggy_dask.datastore.forms import Form
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
        is_scattered = any(not isinstance(part, int | slice) for part in key)
        with damage_told(self._array.path):
            found = self._array.oindex[key] if is_scattered else self._array[key]
        shape = np.shape(found)
        return self._form.decode(np.asarray(found, self._array.dtype).reshape(shape))


@contextmanager
def damage_told(path: str, items: str = "") -> Iterator[None]:
    """Name the product, the variable and the items if a chunk can't be decoded."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        product, _, variable = path.rpartition("/")
        where = f" ({items})" if items else ""
        raise DatastoreError(
            f"'{product}' in the datastore is damaged: variable {variable!r}{where} "
            f"can't be read: {error}; restore it from a copy, or make it anew"
        ) from error
