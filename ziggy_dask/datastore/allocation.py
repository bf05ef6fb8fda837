"""Making room for an array product, from the first piece of it.

Nobody knows the shape of an output before an algorithm has returned one. The
first piece that comes along the subtask dimension gives variables, types and all
other dimensions; the length along the subtask dimension is known from the plan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask
import dask.array as da
import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from ziggy_dask.datastore import forms
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.blocks import LARGE_BYTES, block_shape, is_lazy
from ziggy_dask.datastore.encoding import (
    describe_array,
    describe_group,
    read_array,
    stored_name,
    values_to_try,
)
from ziggy_dask.datastore.forms import Form, form_of, values_of
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import Layout, Variable, read_layout, said_by
from ziggy_dask.datastore.per_item import (
    item_attrs_variable,
    meaning_faults,
    record,
    settled,
    stacked_names,
)
from ziggy_dask.datastore.storable import (
    ITEM_ATTRS,
    faults_of,
    require_storable,
    told,
)
from ziggy_dask.datastore.stores import store_to_write, write_region

ZSTD_LEVEL = 1
"""Noise, of which data are mostly made, gets no smaller by more; it is several times slower."""
_LARGEST_CHUNK_BYTES = 64 * 1024 * 1024
_SMALL_BLOCK_BYTES = 1024 * 1024
"""Blocks of Dask that are smaller are stored several to a chunk."""


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
    dtypes: tuple[tuple[str, str], ...] = ()
    """Types that variables have in every item, e.g. ``(("counts", "int32"),)``."""


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
        product, and only its metadata, its coordinates and what pandas holds, which is
        never lazy, are written here.

    Raises
    ------
    Unstorable
        If the piece holds what can't be stored; all faults are named.
    """
    first = prepared(first, storage, f"'{path}'")
    if labels is None:
        whole = settled(first)
        _create(session, path, _rooms(whole), whole, storage, "")
        at_once = {
            name: variable
            for name, variable in whole.variables.items()
            if name in whole.coords or not isinstance(variable.dtype, np.dtype)
        }
        _write(session, path, at_once)
        return
    template, rooms = _template(first, storage.dimension, labels)
    _create(session, path, rooms, template, storage, storage.dimension)
    _write(session, path, dict(template.variables))


def write_whole(
    session: icechunk.Session, path: str, dataset: xr.Dataset, storage: Storage
) -> None:
    """Create a product and write all of it, block by block if it is not in memory.

    Raises
    ------
    Unstorable
        If it holds what can't be stored; all faults are named.
    """
    dataset = prepared(settled(dataset), storage, f"'{path}'")
    _create(session, path, _rooms(dataset), dataset, storage, "")
    _write(session, path, dict(dataset.variables))


def extend(session: icechunk.Session, layout: Layout, labels: Labels) -> Layout:
    """Make room for items that a product does not have yet.

    Raises
    ------
    DatastoreError
        If their labels can't be stored exactly as those are that are there.
    """
    assert layout.labels is not None
    new = labels.without(layout.labels)
    if not len(new):
        return layout
    new = new.as_type(layout.labels.values.dtype)
    stored_labels = _encoded_labels(layout, new)
    group = zarr.open_group(session.store, path=layout.path, mode="a")
    length = len(layout.labels) + len(new)
    places = {
        variable.key: variable.dims.index(layout.dimension)
        for variable in layout.variables
    }
    if layout.records is not None:
        places[ITEM_ATTRS] = 0
    for key, place in places.items():
        array = group[key]
        assert isinstance(array, zarr.Array)
        shape = array.shape
        array.resize((*shape[:place], length, *shape[place + 1 :]))
    stored = group[stored_name(layout.dimension)]
    assert isinstance(stored, zarr.Array)
    stored.resize((length,))
    stored[len(layout.labels) :] = stored_labels
    return read_layout(session, layout.path, layout.dimension)


def _encoded_labels(layout: Layout, new: Labels) -> Any:
    """Return labels as the product stores them."""
    if layout.label_form is None and new.values.dtype.kind == "M":
        raise Unstorable(
            f"'{layout.path}' was made by an earlier version, and no items labelled by "
            "times can be added to it; make it anew"
        )
    if layout.label_form is None:
        return np.array(new.texts(), dtype=object)
    encoded = layout.label_form.encode(new.values)
    if Labels(np.asarray(layout.label_form.automatic().decode(encoded))) != new:
        raise Unstorable(
            f"labels such as {new.texts()[0]} can't be stored in '{layout.path}' as those "
            f"are that it has, of type {layout.label_form.dtype}; give labels of that type"
        )
    return encoded


def prepared(dataset: xr.Dataset, storage: Storage, what: str) -> xr.Dataset:
    """Return a Dataset as it is to be stored: with the types that were declared.

    Parameters
    ----------
    dataset
        A product, a slice or an item.
    storage
        How it is to be stored.
    what
        What it is, for messages.

    Raises
    ------
    Unstorable
        If it holds what can't be stored; all faults are named.
    """
    try:
        declared = as_declared(dataset, storage)
    except Unstorable as error:
        raise Unstorable(told(what, [*faults_of(dataset), str(error)])) from None
    require_storable(declared, what)
    return declared


def as_declared(dataset: xr.Dataset, storage: Storage) -> xr.Dataset:
    """Return a Dataset whose variables have the types that their data type declares.

    Raises
    ------
    Unstorable
        If a value would not stay what it is.
    """
    changed: dict[Hashable, xr.Variable] = {}
    for name, wanted in storage.dtypes:
        variable = dataset.variables.get(name)
        if variable is not None and variable.dtype != np.dtype(wanted):
            changed[name] = _converted(name, variable, np.dtype(wanted))
    return dataset.assign(changed) if changed else dataset


def _converted(name: str, variable: xr.Variable, dtype: np.dtype[Any]) -> xr.Variable:
    if variable.chunks:
        data = variable.data.map_blocks(partial(_convert, name, dtype), dtype=dtype)
    else:
        data = _convert(name, dtype, variable.values)
    return xr.Variable(variable.dims, data, variable.attrs)


def _convert(
    name: str, dtype: np.dtype[Any], values: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        try:
            converted = values.astype(dtype)
            back = converted.astype(values.dtype)
        except (TypeError, ValueError) as error:
            raise Unstorable(
                f"variable {name!r} is of type {values.dtype} and can't become {dtype}, "
                f"which 'dtypes' declares: {error}"
            ) from None
    is_float = values.dtype.kind in "fcmM"
    is_same = (back == values) | ((back != back) & (values != values) & is_float)
    if values.dtype.kind in "iu" and dtype.kind in "iu":
        is_same = is_same & ((converted < 0) == (values < 0))
    if values.dtype.kind in "iu" and dtype.kind == "f":
        is_same = is_same & (_as_integers(converted) == values.astype(object))
    if not np.all(is_same):
        culprit = values[~np.asarray(is_same, dtype=bool)].ravel()[0]
        raise Unstorable(
            f"variable {name!r} holds {culprit!s}, which type {dtype} can't hold, as "
            "'dtypes' declares; declare a wider type"
        )
    return converted


def _as_integers(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return floats that are whole numbers as Python's integers, which are exact."""
    integers = np.empty(values.shape, dtype=object)
    integers.ravel()[:] = [int(value) for value in values.ravel().tolist()]
    return integers


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

    Returns
    -------
    str
        All reasons.
    """
    dimension = layout.dimension
    size = dataset.sizes.get(dimension)
    if size is None:
        return f"it has no dimension {dimension!r}; keep it, with {length} items"
    if size != length:
        return f"it has {size} items along {dimension!r}, but should have {length}"
    expected = {variable.name: variable for variable in layout.variables}
    stacked = stacked_names(dataset) - expected.keys()
    given = {
        str(name): variable
        for name, variable in dataset.variables.items()
        if dimension in variable.dims
        and name not in (dimension, ITEM_ATTRS)
        and name not in stacked
    }
    reasons = []
    for name in sorted({*expected, *given}):
        if name not in given:
            reasons.append(
                f"the variable {name!r} is missing, which other subtasks have"
            )
        elif name not in expected:
            reasons.append(f"it has the variable {name!r}, which other subtasks don't")
        else:
            is_coordinate = name in dataset.coords
            reason = _variable_misfit(
                layout, expected[name], given[name], is_coordinate
            )
            reasons += [f"variable {name!r} {reason}"] if reason else []
    return "; ".join(reasons or _said_misfit(layout, dataset))


def _variable_misfit(
    layout: Layout, expected: Variable, given: xr.Variable, is_coordinate: bool
) -> str:
    if given.dims != expected.dims:
        return (
            f"has dimensions {given.dims}, not {expected.dims} as in other items; "
            "transpose it"
        )
    lengths = dict(zip(expected.dims, expected.metadata.shape, strict=True))
    for dimension, size in given.sizes.items():
        if dimension != layout.dimension and lengths[str(dimension)] != size:
            return (
                f"has {size} elements along {dimension!r}, where the "
                f"product has {lengths[str(dimension)]}; items of different shapes need "
                "'kind: collection'"
            )
    if is_coordinate != expected.is_coordinate:
        kinds = ("a data variable", "a coordinate")
        return (
            f"is {kinds[is_coordinate]}, but {kinds[not is_coordinate]} in other items; "
            "make it the same in all"
        )
    if expected.form is None:
        is_equal = given.dtype == expected.dtype
        reason = "" if is_equal else f"is of type {given.dtype}, not {expected.dtype}"
    else:
        reason = forms.misfit(expected.form, given)
    if " not " in reason and reason.startswith("is of type"):
        reason += (
            " as in other items; return one type in all, or declare it: "
            f"dtypes: {{{expected.name}: ...}}"
        )
    return reason


def _said_misfit(layout: Layout, dataset: xr.Dataset) -> list[str]:
    """Return in what items differ that can't be kept for each of them."""
    if layout.template is None:
        return []
    if layout.records is None:
        return _legacy_misfit(layout, dataset)
    found: list[str] = []
    for said in {id(item): item for item in said_by(layout, dataset)}.values():
        found += meaning_faults(said, layout.template)
        try:
            record(said, layout.template)
        except Unstorable as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _legacy_misfit(layout: Layout, dataset: xr.Dataset) -> list[str]:
    """Return what differs in a product without room for what differs."""
    return [
        f"variable {name!r} differs between subtasks but has no dimension "
        f"{layout.dimension!r}, and the product was made by an earlier version; make it "
        "anew"
        for name, variable in layout.shared.variables.items()
        if name in dataset.variables
        and not variable.equals(dataset.variables[name].load())
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """An array to create."""

    name: Hashable
    dims: tuple[Hashable, ...]
    shape: tuple[int, ...]
    form: Form
    attrs: Mapping[Hashable, Any]
    is_coordinate: bool
    blocks: tuple[int, ...]
    """Shape of the blocks in which its values come; that of all, if they are in memory."""
    some: np.ndarray[Any, Any]
    """Some of its values as they are stored, by which to tell whether they can be times."""


def _rooms(dataset: xr.Dataset) -> list[_Room]:
    return [
        _room(name, variable, variable.shape, name in dataset.coords)
        for name, variable in dataset.variables.items()
    ]


def _room(
    name: Hashable, variable: xr.Variable, shape: tuple[int, ...], is_coordinate: bool
) -> _Room:
    form = form_of(variable)
    return _Room(
        name=name,
        dims=variable.dims,
        shape=shape,
        form=form,
        attrs=variable.attrs,
        is_coordinate=is_coordinate,
        blocks=_blocks(variable) if variable.shape == shape else shape,
        some=values_to_try(variable, partial(_encoded, name, form)),
    )


def _blocks(variable: xr.Variable) -> tuple[int, ...]:
    """Return the shape of the blocks in which the values of a variable come."""
    if variable.chunks is not None and variable.dtype.kind not in "OT":
        blocks = variable.chunks
        if math.prod(map(max, blocks)) * variable.dtype.itemsize < _SMALL_BLOCK_BYTES:
            blocks = da.core.normalize_chunks(
                "auto",
                variable.shape,
                limit=LARGE_BYTES,
                dtype=variable.dtype,
                previous_chunks=blocks,
            )
        return tuple(max(sizes) for sizes in blocks)
    if is_lazy(variable) and variable.nbytes > LARGE_BYTES:
        return tuple(block_shape(variable).values())
    return variable.shape


def _template(
    first: xr.Dataset, dimension: str, labels: Labels
) -> tuple[xr.Dataset, list[_Room]]:
    """Return what is written with the allocation, and all arrays to create."""
    stacked = stacked_names(first)
    lean = first.drop_vars(ITEM_ATTRS, errors="ignore")
    attrs = lean[dimension].attrs if dimension in lean.variables else {}
    written: dict[Hashable, xr.Variable] = {}
    rooms: list[_Room] = []
    for name, variable in lean.variables.items():
        if name == dimension:
            variable = xr.Variable((dimension,), labels.values, attrs)
        elif name in stacked and dimension in variable.dims:
            variable = variable.isel({dimension: 0})
        sizes = {**variable.sizes, dimension: len(labels)}
        shape = tuple(sizes[d] for d in variable.dims)
        room = _room(name, variable, shape, name in lean.coords)
        rooms.append(replace(room, form=room.form.for_items()))
        if name == dimension or dimension not in variable.dims:
            written[name] = variable
    if dimension not in lean.variables:
        written[dimension] = xr.Variable((dimension,), labels.values)
        rooms.append(_room(dimension, written[dimension], (len(labels),), True))
    records = item_attrs_variable(dimension, [])
    rooms.append(_room(ITEM_ATTRS, records, (len(labels),), True))
    coordinates = {n for n in written if n in lean.coords or n == dimension}
    template = xr.Dataset(
        {name: v for name, v in written.items() if name not in coordinates},
        coords={name: written[name] for name in coordinates},
        attrs=lean.attrs,
    )
    return template, rooms


def _create(
    session: icechunk.Session,
    path: str,
    rooms: Sequence[_Room],
    dataset: xr.Dataset,
    storage: Storage,
    dimension: str,
) -> None:
    """Create the group of a Dataset and its arrays, empty."""
    attributes = describe_group(
        dataset.attrs,
        [room.name for room in rooms if room.is_coordinate],
        [room.name for room in rooms],
        [*dataset.dims, *(name for room in rooms for name in room.dims)],
        dimension,
    )
    group = zarr.create_group(session.store, path=path, attributes=attributes)
    for room in rooms:
        dtype = room.form.stored_dtype
        group.create_array(
            stored_name(room.name),
            shape=room.shape,
            dtype=dtype,
            chunks=_chunk_shape(room, dtype, storage),
            compressors=_compressors(storage.compression),
            fill_value=room.form.fill_value,
            dimension_names=[stored_name(name) for name in room.dims],
            attributes=describe_array(room.name, room.attrs, room.form, room.some),
        )


def _write(
    session: icechunk.Session, path: str, variables: Mapping[Hashable, xr.Variable]
) -> None:
    """Write whole variables; those that are not in memory, block by block."""
    store = store_to_write(session)
    group = zarr.open_group(session.store, path=path, mode="r")
    for name, variable in variables.items():
        place = f"{path}/{stored_name(name)}"
        array = group[stored_name(name)]
        assert isinstance(array, zarr.Array)
        form, _ = read_array(array.attrs.asdict())
        write = partial(write_region, store, place, array.metadata)
        regions = list(_regions(variable, array.chunks))
        if len(regions) == 1:
            write(regions[0], _values(name, form, variable, regions[0]))
        else:
            _write_blocks(
                write, ((r, _values(name, form, variable, r)) for r in regions)
            )


def _write_blocks(
    write: Callable[[tuple[slice, ...], Any], None],
    blocks: Iterable[tuple[tuple[slice, ...], Any]],
) -> None:
    """Write blocks; each is compressed and written while the next one is read."""
    waiting: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=2) as threads:
        for region, values in blocks:
            waiting.append(threads.submit(write, region, values))
            if len(waiting) == 2:
                waiting.pop(0).result()
        for writing in waiting:
            writing.result()


def _values(
    name: Hashable, form: Form, variable: xr.Variable, region: tuple[slice, ...]
) -> np.ndarray[Any, Any]:
    """Read and encode part of a variable."""
    block = variable[region] if region else variable
    with dask.config.set(scheduler="synchronous"):
        return _encoded(name, form, block)


def _encoded(name: Hashable, form: Form, block: xr.Variable) -> np.ndarray[Any, Any]:
    try:
        return form.encode(values_of(block))
    except Unstorable as error:
        raise Unstorable(f"variable {name!r} {error}") from None


def _regions(
    variable: xr.Variable, chunks: tuple[int, ...]
) -> Iterator[tuple[slice, ...]]:
    """Yield the parts, of whole stored chunks, in which a variable is written."""
    if variable._in_memory or variable.nbytes <= _LARGEST_CHUNK_BYTES:
        yield tuple(slice(0, size) for size in variable.shape)
        return
    sizes = list(chunks)
    lazy: Sequence[Any] = variable.chunks or chunks
    for axis, blocks in enumerate(lazy):
        size = max(blocks) if isinstance(blocks, tuple) else blocks
        sizes[axis] = math.ceil(max(size, 1) / chunks[axis]) * chunks[axis]
    starts = (range(0, n, size) for n, size in zip(variable.shape, sizes, strict=True))
    for corner in itertools.product(*starts):
        ends = zip(corner, sizes, variable.shape, strict=True)
        yield tuple(slice(start, min(start + size, n)) for start, size, n in ends)


def _chunk_shape(
    room: _Room, dtype: np.dtype[Any], storage: Storage
) -> tuple[int, ...]:
    asked: Mapping[str, int] = dict(storage.chunks)
    sizes = dict(zip((str(name) for name in room.dims), room.shape, strict=True))
    if tuple(sizes) == (room.name,):
        return tuple(max(size, 1) for size in room.shape)
    shape = []
    for (dimension, size), block in zip(sizes.items(), room.blocks, strict=True):
        if dimension == storage.dimension:
            shape.append(min(storage.chunk, size))
        else:
            shape.append(min(asked.get(dimension, block), size))
    fixed = {storage.dimension, *asked}
    free = [i for i, d in enumerate(sizes) if d not in fixed]
    while free and math.prod(shape) * dtype.itemsize > _LARGEST_CHUNK_BYTES:
        largest = max(free, key=lambda i: shape[i])
        if shape[largest] == 1:
            break
        shape[largest] = math.ceil(shape[largest] / 2)
    return tuple(max(size, 1) for size in shape)


def _compressors(word: str) -> tuple[Any, ...]:
    """Return the codecs of chunks; each has a checksum, so that damage is seen."""
    if word == "none":
        return (Crc32cCodec(),)
    if word == "zstd":
        return (ZstdCodec(level=ZSTD_LEVEL, checksum=True),)
    return (BloscCodec(cname="lz4"), Crc32cCodec())


def create_group(session: icechunk.Session, path: str) -> None:
    """Create the empty group of a product whose items are groups or files."""
    zarr.create_group(session.store, path=path)
