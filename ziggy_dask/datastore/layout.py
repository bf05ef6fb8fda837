"""The layout of an array product, and fast reading and writing of slices of it.

A layout is read once per product and process. With it a slice is read or written with one
request per variable and no look at metadata.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from icechunk.session import ForkSession
from xarray.core import indexing
from zarr.core.sync import sync

from ziggy_dask.datastore.encoding import Described, read_array, read_group
from ziggy_dask.datastore.forms import Form, Kind, values_of
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.legacy import legacy_form, open_legacy, write_legacy
from ziggy_dask.datastore.per_item import (
    Combined,
    Said,
    combine,
    item_attrs_variable,
    record,
    recorded,
    say,
    settled,
)
from ziggy_dask.datastore.storable import ITEM_ATTRS
from ziggy_dask.datastore.stored_array import StoredArray, damage_told, read_region
from ziggy_dask.datastore.stores import bind, store_to_write, write_region

Selection = slice | Sequence[int]
_FEW_CHUNKS = 16
"""So many chunks are read without asking first which of them exist."""
_MOST_KNOWN = 1000
"""So many chunks are kept in mind of an array, and so many arrays."""
_CHANGEABLE = (list, dict, tuple, np.ndarray)
"""Kinds of attributes that can be changed in place, or hold such."""
_said_in: dict[tuple[str, str], frozenset[int] | None] = {}
"""Where something is said of items, by snapshot and array; neither ever changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable that has the subtask dimension."""

    name: str
    """Name in the Dataset."""
    key: str
    """Name of its array in the store."""
    dims: tuple[str, ...]
    """Names of its dimensions."""
    dtype: np.dtype[Any]
    """Type of its values."""
    attrs: Mapping[str, Any]
    """Its attributes."""
    metadata: Any
    """Zarr metadata of the stored array."""
    form: Form | None
    """How its values are stored; None: only xarray can read and write them."""
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
    label_form: Form | None = None
    """How the labels are stored; None if there are none, or an earlier version did."""
    order: tuple[str, ...] = ()
    """Names of all variables, in order."""
    records: Any = None
    """Zarr metadata of the array that says what differs per item; None without one."""
    template: Said | None = None
    """What is said of an item that differs in nothing."""

    def slice_bytes(self, count: int) -> int:
        """Return the size of so many items in memory, in bytes."""
        total = 0
        for one in self.variables:
            shape = dict(zip(one.dims, one.metadata.shape, strict=True))
            shape[self.dimension] = count
            total += math.prod(shape.values()) * one.dtype.itemsize
        return total

    @property
    def encoded(self) -> tuple[str, ...]:
        """Names of the variables that only xarray can read and write."""
        return tuple(
            variable.name for variable in self.variables if variable.form is None
        )


def open_dataset(session: icechunk.Session, path: str) -> xr.Dataset:
    """Open an array product lazily, without Dask; where it came from stays apart."""
    group = zarr.open_group(session.store, path=path, mode="r")
    described = read_group(group.attrs.asdict())
    if described is None:
        return open_legacy(session, path)
    if described.dimension:
        layout = _described_layout(session, path, described.dimension, group, described)
        return _open_sliced(session, layout)
    arrays = dict(group.arrays())
    variables: dict[str, xr.Variable] = {}
    for key in described.order:
        variables[described.name(key)] = _open_variable(arrays[key], described)
    return _dataset(variables, described.coordinate_names, described.attrs)


def open_chunked(session: icechunk.Session, path: str) -> xr.Dataset:
    """Open an array product backed by Dask, in blocks of stored chunks."""
    dataset = open_dataset(session, path)
    lazy = {
        name: variable.chunk(variable.encoding["preferred_chunks"])
        for name, variable in dataset.variables.items()
        if "preferred_chunks" in variable.encoding and name not in dataset.indexes
    }
    return dataset.assign(lazy)


def read_layout(session: icechunk.Session, path: str, dimension: str) -> Layout:
    """Return the layout of the array product at `path`."""
    group = zarr.open_group(session.store, path=path, mode="r")
    described = read_group(group.attrs.asdict())
    if described is None:
        return _legacy_layout(session, path, dimension, group)
    return _described_layout(session, path, dimension, group, described)


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
        In memory, with the subtask dimension kept. Attributes and variables without the
        subtask dimension are those of the items that are read; if they differ between
        these, see `ziggy_dask.datastore.per_item`.

    Raises
    ------
    DatastoreError
        If a stored chunk is damaged.
    """
    return read_parts(layout, [(session, positions)])


def read_parts(
    layout: Layout, parts: Sequence[tuple[icechunk.Session, Selection]]
) -> xr.Dataset:
    """Read parts of an array product from several sessions, as one; see `read_slice`.

    Parameters
    ----------
    layout
        The product's layout.
    parts
        Sessions, and the positions to be read from each.
    """

    def read(variable: Variable, form: Form) -> Any:
        place = f"{layout.path}/{variable.key}"
        found = []
        for session, positions in parts:
            array = bind(session.store, place, variable.metadata)
            index = _index(layout, variable, positions)
            with damage_told(place, _told_items(layout, positions)):
                found.append(read_region(array, index))
        axis = variable.dims.index(layout.dimension)
        return form.decode(found[0] if len(found) == 1 else np.concatenate(found, axis))

    said, labels = _said_of_parts(layout, parts), None
    if layout.labels is not None:
        own = [layout.labels.values[positions] for _, positions in parts]
        labels = own[0] if len(own) == 1 else np.concatenate(own)
    part = _assembled(layout, said, labels, read)
    if layout.encoded:
        pieces = [
            open_dataset(session, layout.path)[list(layout.encoded)]
            .isel({layout.dimension: positions})
            .load()
            for session, positions in parts
        ]
        whole = pieces[0] if len(pieces) == 1 else xr.concat(pieces, layout.dimension)
        part = part.assign(whole.variables)
    return settled(part)


def _said_of_parts(
    layout: Layout, parts: Sequence[tuple[icechunk.Session, Selection]]
) -> Sequence[Said]:
    """Return what is said of the items of all parts; once, if nothing differs."""
    each = [_said(layout, session, positions) for session, positions in parts]
    if len(each) == 1 or layout.labels is None:
        return each[0]
    if all(one is layout.template for said in each for one in said):
        return each[0][:1]
    places = np.arange(len(layout.labels))
    counts = [len(places[positions]) for _, positions in parts]
    return [
        one
        for said, count in zip(each, counts, strict=True)
        for one in (said if len(said) == count else [said[0]] * count)
    ]


def write_slice(
    layout: Layout, session: icechunk.Session, dataset: xr.Dataset, start: int
) -> None:
    """Write the variables of `dataset` from position `start` on.

    The dataset must fit the layout: `ziggy_dask.datastore.allocation.misfit` tells.
    """
    positions = slice(start, start + dataset.sizes[layout.dimension])
    store = store_to_write(session)
    for variable in layout.variables:
        if variable.form is not None:
            given = dataset.variables[variable.name]
            values = variable.form.encode(values_of(given))
            write_region(
                store,
                f"{layout.path}/{variable.key}",
                variable.metadata,
                _index(layout, variable, positions),
                values,
            )
    if layout.encoded:
        others = [name for name in dataset.variables if name not in layout.encoded]
        lean = dataset.drop_vars(others)
        write_legacy(session, layout.path, lean, layout.dimension, positions)
    _write_records(layout, session, dataset, positions)


def said_by(layout: Layout, dataset: xr.Dataset) -> Sequence[Said]:
    """Return what a slice says of each of its items beside their values."""
    dtypes = {
        variable.name: _dtype_told(dataset.variables[variable.name].dtype)
        for variable in layout.variables
        if _may_vary(variable.form) and variable.name in dataset.variables
    }
    return say(dataset, layout.dimension, dtypes)


def _write_records(
    layout: Layout, session: icechunk.Session, dataset: xr.Dataset, positions: slice
) -> None:
    """Write in what items differ from the product; in a new allocation nothing is ""."""
    if layout.records is None or layout.template is None:
        return
    said = said_by(layout, dataset)
    known: dict[int, str] = {}
    for item in said:
        if id(item) not in known:
            known[id(item)] = record(item, layout.template)
    texts = [known[id(item)] for item in said]
    if any(texts) or not isinstance(session, ForkSession):
        values = np.array(texts, dtype=np.dtypes.StringDType())
        place = f"{layout.path}/{ITEM_ATTRS}"
        store = store_to_write(session)
        write_region(store, place, layout.records, (positions,), values)


def _said(
    layout: Layout, session: icechunk.Session, positions: Selection
) -> Sequence[Said]:
    """Return what is said of the items at some positions."""
    template = layout.template
    assert template is not None
    if layout.records is None:
        return (template,)
    place = f"{layout.path}/{ITEM_ATTRS}"
    with damage_told(place, _told_items(layout, positions)):
        if not _may_say(session, place, layout.records, positions):
            return (template,)
        array = bind(session.store, place, layout.records)
        texts = (
            _existing_texts(session, array, positions)
            if isinstance(positions, slice)
            else np.asarray(array.oindex[np.asarray(positions, dtype="i8")])
        )
    if not any(texts):
        return (template,)
    known: dict[str, Said] = {"": template}
    for text in texts:
        if text not in known:
            known[str(text)] = recorded(template, str(text))
    return [known[str(text)] for text in texts]


def _may_say(
    session: icechunk.Session, place: str, records: Any, positions: Selection
) -> bool:
    """Tell whether anything may be said of items; a snapshot is looked through once."""
    if not (session.read_only and isinstance(positions, slice)):
        return True
    key = (session.snapshot_id, place)
    if key not in _said_in:
        if len(_said_in) >= _MOST_KNOWN:
            _said_in.clear()
        _said_in[key] = sync(_few_chunks(session, place))
    chunks = _said_in[key]
    if chunks is None:
        return True
    (count,) = records.shape
    (size,) = records.chunks
    start, stop, _ = positions.indices(count)
    return not chunks.isdisjoint(range(start // size, -(-stop // size)))


async def _few_chunks(session: icechunk.Session, place: str) -> frozenset[int] | None:
    """Return which chunks there are of an array; None: too many to know them by heart."""
    found = set()
    async for chunk in session.chunk_coordinates(f"/{place}"):
        found.add(chunk[0])
        if len(found) > _MOST_KNOWN:
            return None
    return frozenset(found)


def _existing_texts(
    session: icechunk.Session, array: zarr.Array[Any], positions: slice
) -> Any:
    """Return what is said of items; of most products with many items, nothing is."""
    start, stop, step = positions.indices(array.shape[0])
    if (stop - start) // array.chunks[0] <= _FEW_CHUNKS:
        return np.asarray(array[positions])
    places = sync(_chunks(session, array.path))
    texts = np.full(array.shape, "", dtype=np.dtypes.StringDType())
    if len(places) > _FEW_CHUNKS:
        first, last = min(places), max(places) + 1
        region = slice(first * array.chunks[0], last * array.chunks[0])
        texts[region] = array[region]
    else:
        for place in places:
            region = slice(place * array.chunks[0], (place + 1) * array.chunks[0])
            texts[region] = array[region]
    return texts[start:stop:step]


async def _chunks(session: icechunk.Session, path: str) -> list[int]:
    return [place[0] async for place in session.chunk_coordinates(f"/{path}")]


def _may_vary(form: Form | None) -> bool:
    """Tell whether the type of a variable may vary between items, which all keep."""
    return form is not None and (
        form.kind is Kind.FIXED_TEXT or (form.kind is Kind.NUMBER and form.dtype != "T")
    )


def _dtype_told(dtype: Any) -> str:
    return "T" if dtype.kind == "T" else str(dtype.str)


def _form_for(variable: Variable, said: Said) -> Form | None:
    dtype = said.dtypes.get(variable.name)
    if variable.form is None or dtype is None or dtype == variable.form.dtype:
        return variable.form
    return replace(variable.form, dtype=dtype)


def _assembled(
    layout: Layout,
    said: Sequence[Said],
    labels: Any,
    values: Callable[[Variable, Form], Any],
) -> xr.Dataset:
    """Return a Dataset of what is said of some items and of their values."""
    combined = (
        Combined(common=said[0], stacked={}, texts=None)
        if len(said) == 1
        else combine(said, layout.dimension)
    )
    common = combined.common
    variables: dict[str, xr.Variable] = {}
    coordinates = set(common.coordinates)
    for variable in layout.variables:
        form = _form_for(variable, common)
        if form is not None:
            attrs = _own(common.of[variable.name])
            data = values(variable, form)
            variables[variable.name] = (
                data
                if isinstance(data, xr.Variable)
                else xr.Variable(variable.dims, data, fastpath=type(data) is np.ndarray)
            )
            variables[variable.name].attrs = attrs
            coordinates |= {variable.name} if variable.is_coordinate else set()
    for name, shared in common.shared.items():
        variables[name] = shared.copy(deep=True)  # a layout serves many
        variables[name].attrs = _own(common.of[name])
    for name, stacked in combined.stacked.items():
        variables[name] = stacked
        variables[name].attrs = _own(stacked.attrs)
    if labels is not None:
        attrs = _own(common.of.get(layout.dimension, layout.label_attrs))
        variables[layout.dimension] = xr.Variable((layout.dimension,), labels, attrs)
        coordinates.add(layout.dimension)
    if combined.texts is not None:
        variables[ITEM_ATTRS] = item_attrs_variable(layout.dimension, combined.texts)
        coordinates.add(ITEM_ATTRS)
    ordered = [name for name in layout.order if name in variables]
    ordered += [name for name in variables if name not in set(ordered)]
    return _dataset(
        {name: variables[name] for name in ordered}, coordinates, _own(common.attrs)
    )


def _own(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes that whoever gets them may change, without those of others."""
    return {
        name: deepcopy(value) if isinstance(value, _CHANGEABLE) else value
        for name, value in attrs.items()
    }


def _dataset(
    variables: Mapping[str, xr.Variable],
    coordinates: set[str] | frozenset[str],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    return xr.Dataset(
        {name: v for name, v in variables.items() if name not in coordinates},
        coords={name: v for name, v in variables.items() if name in coordinates},
        attrs=dict(attrs),
    )


def _open_sliced(session: icechunk.Session, layout: Layout) -> xr.Dataset:
    def open_lazily(variable: Variable, form: Form) -> Any:
        place = f"{layout.path}/{variable.key}"
        array = bind(session.store, place, variable.metadata)
        return _lazy_variable(array, form, variable.dims)

    labels = None if layout.labels is None else layout.labels.values
    said = _said(layout, session, slice(None))
    return settled(_assembled(layout, said, labels, open_lazily))


def _open_variable(array: zarr.Array[Any], described: Described) -> xr.Variable:
    form, attrs = read_array(array.attrs.asdict())
    dims = described.dims_of(array)
    variable = _lazy_variable(array, form, dims)
    variable.attrs = attrs
    return variable


def _lazy_variable(
    array: zarr.Array[Any], form: Form, dims: Sequence[str]
) -> xr.Variable:
    stored = StoredArray(array, form)
    if not form.is_lazy:
        return xr.Variable(dims, stored.read_all())
    lazy: Any = indexing.LazilyIndexedArray(stored)
    cached = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
    chunks = dict(zip(dims, array.chunks, strict=True))
    return xr.Variable(dims, cached, encoding={"preferred_chunks": chunks})


def _described_layout(
    session: icechunk.Session,
    path: str,
    dimension: str,
    group: zarr.Group,
    described: Described,
) -> Layout:
    arrays = dict(group.arrays())
    records = arrays.get(ITEM_ATTRS) if described.dimension == dimension else None
    variables: list[Variable] = []
    shared: dict[str, xr.Variable] = {}
    labels: Labels | None = None
    label_attrs: Mapping[str, Any] = {}
    label_form: Form | None = None
    of: dict[str, Mapping[str, Any]] = {}
    for key in described.order:
        if key == ITEM_ATTRS and records is not None:
            continue
        name, array = described.name(key), arrays[key]
        dims = described.dims_of(array)
        if name == dimension and dims == (dimension,):
            label_form, label_attrs = read_array(array.attrs.asdict())
            stored = np.asarray(array[:], array.dtype)
            labels = Labels(np.asarray(label_form.automatic().decode(stored)))
            of[name] = label_attrs
        elif dimension in dims:
            form, attrs = read_array(array.attrs.asdict())
            of[name] = attrs
            variables.append(
                Variable(
                    name=name,
                    key=key,
                    dims=dims,
                    dtype=form.memory_dtype,
                    attrs=attrs,
                    metadata=array.metadata,
                    form=form,
                    is_coordinate=key in described.coordinates,
                )
            )
        else:
            shared[name] = _open_variable(array, described).load()
            of[name] = shared[name].attrs
    names = described.coordinate_names & set(shared)
    return Layout(
        path=path,
        dimension=dimension,
        variables=tuple(variables),
        shared=_dataset(shared, names, described.attrs),
        labels=labels,
        label_attrs=label_attrs,
        label_form=label_form,
        order=tuple(described.name(key) for key in described.order),
        records=None if records is None else records.metadata,
        template=Said(
            attrs=described.attrs,
            of=of,
            shared=shared,
            coordinates=names,
            dtypes=_varying(variables),
        ),
    )


def _varying(variables: Sequence[Variable]) -> dict[str, str]:
    return {
        variable.name: variable.form.dtype
        for variable in variables
        if variable.form is not None and _may_vary(variable.form)
    }


def _legacy_layout(
    session: icechunk.Session, path: str, dimension: str, group: zarr.Group
) -> Layout:
    dataset = open_legacy(session, path)
    sliced = [
        str(name)
        for name, variable in dataset.variables.items()
        if dimension in variable.dims and name != dimension
    ]
    has_labels = dimension in dataset.variables
    shared = dataset.drop_vars([*sliced, dimension], errors="ignore").load()
    label_attrs = dict(dataset[dimension].attrs) if has_labels else {}
    of = {str(name): dict(v.attrs) for name, v in dataset.variables.items()}
    variables = [
        Variable(
            name=name,
            key=name,
            dims=tuple(str(d) for d in dataset.variables[name].dims),
            dtype=dataset.variables[name].dtype,
            attrs=dict(dataset.variables[name].attrs),
            metadata=group[name].metadata,
            form=legacy_form(dataset.variables[name], group[name]),
            is_coordinate=name in dataset.coords,
        )
        for name in sliced
    ]
    return Layout(
        path=path,
        dimension=dimension,
        variables=tuple(variables),
        shared=shared,
        labels=Labels(dataset[dimension].values) if has_labels else None,
        label_attrs=label_attrs,
        order=tuple(str(name) for name in dataset.variables),
        template=Said(
            attrs=dict(shared.attrs),
            of=of,
            shared={str(name): v for name, v in shared.variables.items()},
            coordinates=frozenset(str(name) for name in shared.coords),
            dtypes=_varying(variables),
        ),
    )


def _index(layout: Layout, variable: Variable, positions: Selection) -> tuple[Any, ...]:
    return tuple(
        positions if name == layout.dimension else slice(None) for name in variable.dims
    )


def _told_items(layout: Layout, positions: Selection) -> str:
    """Return which items are meant, for messages."""
    if layout.labels is None:
        return ""
    texts = layout.labels.take(positions).texts()
    if len(texts) == 1:
        return f"item {texts[0]!r}"
    return f"items {texts[0]!r} to {texts[-1]!r}" if texts else ""
