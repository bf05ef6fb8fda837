"""Making room for an array product, from the first piece of it.

Nobody knows the shape of an output before an algorithm has returned one. The
first piece that comes along the subtask dimension gives variables, types and all
other dimensions; the length along the subtask dimension is known from the plan.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import Layout
from ziggy_dask.datastore.stores import store_to_write

_LARGEST_CHUNK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How a product is stored: what of its data type matters for that."""

    dimension: str
    """Subtask dimension; empty if there is none."""
    chunk: int
    """Items along it in one stored chunk."""
    chunks: tuple[tuple[str, int], ...]
    """Sizes of stored chunks along other dimensions."""
    compression: str
    """``zstd``, ``blosc`` or ``none``."""


def allocate(
    session: icechunk.Session,
    path: str,
    first: xr.Dataset,
    storage: Storage,
    labels: Labels | None,
) -> None:
    """Create the group and arrays of a product and write all that is not sliced.

    Parameters
    ----------
    session
        A fork of a scaffold, or a writable session.
    path
        Group to create; nothing may be there.
    first
        A piece of the product.
    storage
        How to store it.
    labels
        All labels along the subtask dimension; None: `first` is the whole
        product, and only its metadata and coordinates are written here.
    """
    template = _template(first, storage, labels)
    template.to_zarr(
        session.store,
        group=path,
        mode="w-",
        compute=False,
        encoding=_encodings(template, storage),
        consolidated=False,
        zarr_format=3,
        safe_chunks=False,
    )


def write_whole(
    session: icechunk.Session, path: str, dataset: xr.Dataset, storage: Storage
) -> None:
    """Create a product and write all of it."""
    lean = storable(dataset)
    lean.to_zarr(
        store_to_write(session),
        group=path,
        mode="w-",
        encoding=_encodings(lean, storage),
        consolidated=False,
        zarr_format=3,
        safe_chunks=False,
    )


def misfit(layout: Layout, dataset: xr.Dataset, length: int) -> str:
    """Return why `dataset` can't be a slice of a product, or an empty string.

    Parameters
    ----------
    layout
        Layout of the allocated product.
    dataset
        What an algorithm returned.
    length
        Number of items that the slice must have.
    """
    size = dataset.sizes.get(layout.dimension)
    if size is None:
        return f"it has no dimension {layout.dimension!r}; keep it, with {length} items"
    if size != length:
        return (
            f"it has {size} items along {layout.dimension!r}, but should have {length}"
        )
    expected = {one.name: one for one in layout.variables}
    given = {
        str(name): variable
        for name, variable in dataset.variables.items()
        if layout.dimension in variable.dims and name != layout.dimension
    }
    for name in sorted({*expected, *given}):
        if name not in given:
            return f"the variable {name!r} is missing, which other subtasks have"
        if name not in expected:
            return f"it has the variable {name!r}, which other subtasks don't"
        reason = _variable_misfit(layout, name, expected[name], given[name])
        if reason:
            return reason
    return _shared_misfit(layout, dataset)


def _variable_misfit(layout: Layout, name: str, one: Any, given: xr.Variable) -> str:
    if set(given.dims) != set(one.dims):
        return f"variable {name!r} has dimensions {given.dims}, not {one.dims}"
    lengths = dict(zip(one.dims, one.metadata.shape, strict=True))
    for dimension, size in given.sizes.items():
        if dimension != layout.dimension and lengths[str(dimension)] != size:
            return (
                f"variable {name!r} has {size} elements along {dimension!r}, where the "
                f"product has {lengths[str(dimension)]}; items of different shapes need "
                "'kind: collection'"
            )
    if given.dtype != one.dtype and not np.can_cast(
        given.dtype, one.dtype, "same_kind"
    ):
        return f"variable {name!r} is of type {given.dtype}, not {one.dtype}"
    return ""


def _shared_misfit(layout: Layout, dataset: xr.Dataset) -> str:
    for name, variable in layout.shared.variables.items():
        other = dataset.variables.get(name)
        if other is not None and not variable.equals(other.load()):
            return (
                f"variable {name!r} differs between subtasks but has no dimension "
                f"{layout.dimension!r}; add it, or return the same everywhere"
            )
    return ""


def _template(first: xr.Dataset, storage: Storage, labels: Labels | None) -> xr.Dataset:
    lean = storable(first)
    dimension = storage.dimension
    variables: dict[Hashable, xr.Variable] = {}
    for name, variable in lean.variables.items():
        if labels is None:
            is_written_later, sizes = name not in lean.coords, dict(variable.sizes)
        elif name == dimension:
            continue
        else:
            is_written_later = dimension in variable.dims
            sizes = {**variable.sizes, dimension: len(labels)}
        if is_written_later:
            shape = tuple(sizes[d] for d in variable.dims)
            empty = _empty(shape, variable.dtype)
            variables[name] = xr.Variable(variable.dims, empty, variable.attrs)
        else:
            variables[name] = variable
    if labels is not None:
        attrs = lean[dimension].attrs if dimension in lean.variables else {}
        values = as_text(xr.Variable((dimension,), labels.values, attrs))
        variables[dimension] = values
    coordinates = [n for n in variables if n in lean.coords or n == dimension]
    data = {name: v for name, v in variables.items() if name not in coordinates}
    coords = {name: variables[name] for name in coordinates}
    return xr.Dataset(data, coords=coords, attrs=lean.attrs)


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return an array that stands for room to be made; none of it may be written.

    Chunks that an allocation wrote would come back when forks are merged, in place of
    what other forks have written there.
    """
    if dtype.kind == "T":
        return da.full(shape, "", dtype=dtype, chunks=-1)
    return da.zeros(shape, dtype=dtype, chunks=-1)


def as_text(variable: xr.Variable) -> xr.Variable:
    """Return a variable whose text, if it is text, is of Zarr's own string type."""
    if variable.dtype.kind not in "UO":
        return variable
    values = np.asarray(variable.values).astype(np.dtypes.StringDType())
    return xr.Variable(variable.dims, values, variable.attrs)


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset as it will be stored.

    How inputs were stored, which algorithms pass on without knowing, is dropped,
    and text gets a type that every reader of Zarr knows.
    """
    lean = dataset.drop_encoding()
    texts = {n: as_text(v) for n, v in lean.variables.items() if v.dtype.kind in "UO"}
    return lean.assign(texts) if texts else lean


def _encodings(dataset: xr.Dataset, storage: Storage) -> dict[Hashable, dict[str, Any]]:
    encodings: dict[Hashable, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        encoding: dict[str, Any] = {"compressors": _compressors(storage.compression)}
        if name == storage.dimension or not variable.ndim:
            encoding = {}
        elif variable.size:
            encoding["chunks"] = _chunk_shape(variable, storage)
        if variable.dtype.kind == "f":
            encoding["fill_value"] = np.nan
        encodings[name] = encoding
    return encodings


def _chunk_shape(variable: xr.Variable, storage: Storage) -> tuple[int, ...]:
    asked: Mapping[str, int] = dict(storage.chunks)
    shape = []
    for dimension, size in variable.sizes.items():
        if dimension == storage.dimension:
            shape.append(min(storage.chunk, size))
        else:
            shape.append(min(asked.get(str(dimension), size), size))
    fixed = {storage.dimension, *asked}
    free = [i for i, d in enumerate(variable.dims) if d not in fixed]
    while free and math.prod(shape) * variable.dtype.itemsize > _LARGEST_CHUNK_BYTES:
        largest = max(free, key=lambda i: shape[i])
        if shape[largest] == 1:
            break
        shape[largest] = math.ceil(shape[largest] / 2)
    return tuple(max(size, 1) for size in shape)


def _compressors(word: str) -> tuple[Any, ...]:
    if word == "none":
        return ()
    return (ZstdCodec(level=0),) if word == "zstd" else (BloscCodec(cname="lz4"),)


def create_group(session: icechunk.Session, path: str) -> None:
    """Create the empty group of a product whose items are groups or files."""
    zarr.create_group(session.store, path=path)
