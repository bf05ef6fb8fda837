"""Array products of earlier versions, which xarray encoded and has to decode."""

from __future__ import annotations

from typing import Any

import icechunk
import numpy as np
import xarray as xr

from ziggy_dask.datastore.encoding import ORIGIN
from ziggy_dask.datastore.forms import Form, Kind
from ziggy_dask.datastore.stores import store_to_write


def open_legacy(session: icechunk.Session, path: str) -> xr.Dataset:
    """Open such a product lazily, without Dask; variables are in the order of names."""
    dataset: xr.Dataset = xr.open_zarr(
        session.store, group=path, consolidated=False, chunks=None
    )
    dataset.attrs.pop(ORIGIN, None)
    names = sorted(dataset.data_vars, key=str)
    if names == list(dataset.data_vars):
        return dataset
    ordered = {name: dataset.variables[name] for name in names}
    return dataset.drop_vars(names).assign(ordered)


def legacy_form(decoded: xr.Variable, stored: Any) -> Form | None:
    """Return the form of an array whose numbers are the values; None: they are not."""
    encoding = decoded.encoding
    fill = encoding.get("_FillValue")
    masks = fill is not None and not (decoded.dtype.kind == "f" and np.isnan(fill))
    scales = any(key in encoding for key in ("scale_factor", "add_offset", "units"))
    is_plain = (
        decoded.dtype.kind in "biufcT"
        and getattr(stored, "dtype", None) == decoded.dtype
        and not masks
        and not scales
    )
    if not is_plain:
        return None
    dtype = "T" if decoded.dtype.kind == "T" else decoded.dtype.str
    return Form(Kind.NUMBER, dtype)


def write_legacy(
    session: icechunk.Session, path: str, dataset: xr.Dataset, dimension: str, at: slice
) -> None:
    """Write variables that xarray has to encode into a product that is there."""
    dataset.drop_attrs().to_zarr(
        store_to_write(session),
        group=path,
        region={dimension: at},
        mode="r+",
        consolidated=False,
    )
