"""The reader of ECSV tables: text that says of each column its type and unit.

The format is that of https://github.com/astropy/astropy-APEs/blob/main/APE6.rst.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.warned import hear_warnings
from ziggy_dask.errors import DeliveryError

_ROW = "row"


def read_ecsv(path: Path) -> Reading:
    """Read an ECSV table by astropy.

    Returns
    -------
    Reading
        With a variable for each column, along ``row``. Columns of arrays have more
        dimensions. What is missing is NaN among floats and text, where ECSV does not tell
        it from empty text; whole numbers are then of pandas' nullable types, so that none
        is rounded. The attributes of a
        variable are unit, description and whatever else is said of the column; those of
        the Dataset are what is said of the table.

    Raises
    ------
    DeliveryError
        If astropy is missing, or a column is more than numbers or text.
    """
    try:
        from astropy.table import Column, Table
    except ModuleNotFoundError as error:
        raise DeliveryError(
            f"{path}: ECSV files are read by astropy, which is not installed; "
            "install it with: pip install 'ziggy-dask[fits]'"
        ) from error
    heard: list[str] = []
    with hear_warnings(heard):
        table = Table.read(path, format="ascii.ecsv")
    variables = {}
    for name in table.colnames:
        column = table[name]
        if not isinstance(column, Column):
            raise DeliveryError(
                f"{path}: column {name!r} is a {type(column).__name__} of astropy, which "
                "no Dataset can hold; write it as numbers or text"
            )
        attrs = dict(column.meta)
        told = {"unit": column.unit, "description": column.description}
        for key, value in told.items():
            if value is not None and key in attrs:
                raise DeliveryError(
                    f"{path}: column {name!r} has a {key}, and an entry {key!r} in its "
                    "meta; rename that"
                )
            attrs |= {key: str(value)} if value is not None else {}
        dims = (_ROW, *(f"{name}_{n}" for n in range(1, column.ndim)))
        variables[name] = xr.Variable(dims, _values(path, name, column), attrs)
    attrs = {str(key): value for key, value in table.meta.items()}
    return Reading(content=xr.Dataset(variables, attrs=attrs), warnings=tuple(heard))


def _values(path: Path, name: str, column: Any) -> Any:
    """Return the values of a column, with what is missing in it."""
    values = np.asarray(column)
    missing = np.ma.getmaskarray(column) if hasattr(column, "mask") else None
    if missing is None or values.dtype == object or not missing.any():
        return values
    if values.dtype.kind == "U":
        texts = values.astype(object)
        texts[missing] = np.nan
        return texts
    kind = values.dtype.kind
    if kind == "f":
        return np.where(missing, np.nan, values)
    if kind == "b" and values.ndim == 1:
        return pd.arrays.BooleanArray(values, missing)
    if kind in "iu" and values.ndim == 1:
        return pd.arrays.IntegerArray(values, missing)
    raise DeliveryError(
        f"{path}: column {name!r} has missing values among {values.dtype} in "
        f"{values.ndim} dimensions, which no Dataset can hold; write it as float64"
    )
