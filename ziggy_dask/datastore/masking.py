"""Items that were never made read as missing, not as zero, False or 1970."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.common import BackendArray
from xarray.core import indexing

from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.storable import ITEM_ATTRS


def masked(dataset: xr.Dataset, dimension: str, missing: Labels) -> xr.Dataset:
    """Return a Dataset in which items that were never made are missing, lazily.

    Parameters
    ----------
    dataset
        An array product.
    dimension
        Its subtask dimension.
    missing
        Labels of the items that were never made.

    Returns
    -------
    xarray.Dataset
        Times and floats as they are, NaT and NaN for what is missing. Whole numbers of up
        to 32 bits become float64, which holds all of them; all else becomes objects, with
        NaN for what is missing.
    """
    made = ~Labels(dataset[dimension].values).found_in(missing)
    if made.all():
        return dataset
    changed = {
        name: _masked(variable, dimension, made)
        for name, variable in dataset.variables.items()
        if dimension in variable.dims and name not in (dimension, ITEM_ATTRS)
        if isinstance(variable.dtype, np.dtype)
    }
    return dataset.assign(changed)


def _masked(
    variable: xr.Variable, dimension: str, made: np.ndarray[Any, Any]
) -> xr.Variable:
    array = _MaskedArray(variable, variable.dims.index(dimension), made)
    lazy: Any = indexing.LazilyIndexedArray(array)
    cached = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
    return xr.Variable(variable.dims, cached, variable.attrs, variable.encoding)


class _MaskedArray(BackendArray):
    def __init__(
        self, variable: xr.Variable, axis: int, made: np.ndarray[Any, Any]
    ) -> None:
        self._variable = variable
        self._axis = axis
        self._made = made
        self.shape = variable.shape
        self.dtype = _dtype(variable.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        values = np.array(self._variable[key].values).astype(self.dtype)
        made = self._made[key[self._axis]]
        nothing = np.array("NaT", self.dtype) if self.dtype.kind in "mM" else np.nan
        if np.ndim(made) == 0:
            return values if made else np.full_like(values, nothing)
        axis = sum(not isinstance(part, int | np.integer) for part in key[: self._axis])
        values[(*(slice(None),) * axis, ~made)] = nothing
        return values


def _dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind in "fcmM":
        return dtype
    is_small = dtype.kind in "iu" and dtype.itemsize <= 4
    return np.dtype("f8") if is_small else np.dtype(object)
