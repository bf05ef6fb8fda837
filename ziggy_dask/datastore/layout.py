"""The layout of an array product, and fast reading and writing of slices of it.

A layout is read once per product and process. With it a slice is read or
written with one request per variable and no look at metadata, for plain numbers;
everything else (times, text, masked or scaled numbers) goes through xarray.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.repository import ATTRIBUTE
from ziggy_dask.datastore.stores import bind, store_to_write, write_region

Selection = slice | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable that has the subtask dimension."""

    name: str
    """Name in the Dataset."""
    dims: tuple[str, ...]
    """Names of its dimensions."""
    dtype: np.dtype[Any]
    """Type of decoded values."""
    attrs: Mapping[str, Any]
    """Decoded attributes."""
    metadata: Any
    """Zarr metadata of the stored array."""
    is_plain: bool
    """Whether stored numbers are the values."""
    is_coordinate: bool
    """Whether it is a coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an array product is stored."""

    path: str
    """Path of its group."""
    dimension: str
    """Subtask dimension; empty if there is none."""
    variables: tuple[Variable, ...]
    """Variables with the subtask dimension, but for its own labels."""
    shared: xr.Dataset
    """All else: loaded variables without the subtask dimension, and attributes."""
    labels: Labels | None
    """Labels along the subtask dimension; None without one."""

    label_attrs: Mapping[str, Any]
    """Attributes of the labels."""

    @property
    def encoded(self) -> tuple[str, ...]:
        """Names of the variables that only xarray can read and write."""
        return tuple(one.name for one in self.variables if not one.is_plain)


def open_dataset(session: icechunk.Session, path: str) -> xr.Dataset:
    """Open an array product lazily, without Dask; where it came from stays apart.

    Variables are in the order of their names: a store lists them in any order.
    """
    dataset: xr.Dataset = xr.open_zarr(
        session.store, group=path, consolidated=False, chunks=None
    )
    dataset.attrs.pop(ATTRIBUTE, None)
    names = sorted(dataset.data_vars, key=str)
    if names == list(dataset.data_vars):
        return dataset
    ordered = {name: dataset.variables[name] for name in names}
    return dataset.drop_vars(names).assign(ordered)


def read_layout(session: icechunk.Session, path: str, dimension: str) -> Layout:
    """Return the layout of the array product at `path`."""
    dataset = open_dataset(session, path)
    group = zarr.open_group(session.store, path=path, mode="r")
    sliced = [
        str(name)
        for name, variable in dataset.variables.items()
        if dimension in variable.dims and name != dimension
    ]
    labels = (
        Labels(dataset[dimension].values) if dimension in dataset.variables else None
    )
    return Layout(
        path=path,
        dimension=dimension,
        variables=tuple(_variable(dataset, group, name) for name in sliced),
        shared=dataset.drop_vars([*sliced, dimension], errors="ignore").load(),
        labels=labels,
        label_attrs=dict(dataset[dimension].attrs) if labels is not None else {},
    )


def read_slice(
    layout: Layout, session: icechunk.Session, positions: Selection
) -> xr.Dataset:
    """Read part of an array product along its subtask dimension.

    Parameters
    ----------
    layout
        The product's layout, perhaps read from an other session.
    session
        Where the data are read from.
    positions
        Positions along the subtask dimension.

    Returns
    -------
    xarray.Dataset
        In memory, with the subtask dimension kept.
    """
    data: dict[Hashable, Any] = {}
    coordinates: dict[Hashable, Any] = {}
    for one in layout.variables:
        if one.is_plain:
            array = bind(session.store, f"{layout.path}/{one.name}", one.metadata)
            index = _index(layout, one, positions)
            values = (
                array[index] if isinstance(positions, slice) else array.oindex[index]
            )
            into = coordinates if one.is_coordinate else data
            into[one.name] = (one.dims, values, dict(one.attrs))
    for name, variable in layout.shared.variables.items():
        (coordinates if name in layout.shared.coords else data)[name] = variable
    if layout.labels is not None:
        labels = layout.labels.values[positions]
        coordinates[layout.dimension] = (
            (layout.dimension,),
            labels,
            layout.label_attrs,
        )
    part = xr.Dataset(data, coords=coordinates, attrs=layout.shared.attrs)
    if layout.encoded:
        whole = open_dataset(session, layout.path)[list(layout.encoded)]
        part = part.assign(whole.isel({layout.dimension: positions}).load().variables)
    return part


def write_slice(
    layout: Layout, session: icechunk.Session, dataset: xr.Dataset, start: int
) -> None:
    """Write the variables of `dataset` from position `start` on.

    The dataset must fit the layout: `ziggy_dask.datastore.allocation.misfit` tells.
    """
    stop = start + dataset.sizes[layout.dimension]
    positions = slice(start, stop)
    store = store_to_write(session)
    for one in layout.variables:
        if one.is_plain:
            values = dataset[one.name].transpose(*one.dims).values
            path, region = f"{layout.path}/{one.name}", _index(layout, one, positions)
            write_region(store, path, one.metadata, region, values)
    if layout.encoded:
        others = [name for name in dataset.variables if name not in layout.encoded]
        dataset.drop_vars(others).drop_attrs().to_zarr(
            store,
            group=layout.path,
            region={layout.dimension: positions},
            mode="r+",
            consolidated=False,
        )


def _index(layout: Layout, one: Variable, positions: Selection) -> tuple[Any, ...]:
    return tuple(positions if d == layout.dimension else slice(None) for d in one.dims)


def _variable(dataset: xr.Dataset, group: zarr.Group, name: str) -> Variable:
    decoded = dataset.variables[name]
    stored = group[name]
    encoding = decoded.encoding
    fill = encoding.get("_FillValue")
    masks = fill is not None and not (decoded.dtype.kind == "f" and np.isnan(fill))
    scales = any(key in encoding for key in ("scale_factor", "add_offset", "units"))
    return Variable(
        name=name,
        dims=tuple(str(d) for d in decoded.dims),
        dtype=decoded.dtype,
        attrs=dict(decoded.attrs),
        metadata=stored.metadata,
        is_plain=decoded.dtype.kind in "biufcT"
        and getattr(stored, "dtype", None) == decoded.dtype
        and not masks
        and not scales,
        is_coordinate=name in dataset.coords,
    )
