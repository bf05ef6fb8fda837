"""Whatever a Dataset is made of: it comes back as it was, or it is refused by name."""

from __future__ import annotations

import itertools
import os
import warnings

import cftime
import icechunk
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.unit.datastore.datasets import ATTRS, NAMES, arrays, datasets
from tests.unit.datastore.exactness import differences
from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    misfit,
    open_dataset,
    read_layout,
    read_slice,
    write_slice,
    write_whole,
)
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.netcdf import open_exported, write_netcdf

EXAMPLES = int(os.environ.get("ZIGGY_EXAMPLES", "300"))
"""How many Datasets are tried in all; 20,000 before a release."""

numbers = itertools.count()
storages = st.builds(
    Storage,
    dimension=st.just(""),
    chunk=st.integers(1, 3),
    chunks=st.just(()),
    compression=st.sampled_from(["zstd", "blosc", "none"]),
)


def searched(share: float):
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        phases=list(Phase)[: int(os.environ.get("ZIGGY_PHASES", len(Phase)))],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def session():
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    return repository.writable_session("main")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parts(dataset: xr.Dataset) -> list[str]:
    """Return the names that a refusal may give."""
    names = [repr(name) for name in (*dataset.variables, *dataset.dims, *dataset.attrs)]
    return names + [repr(key) for v in dataset.variables.values() for key in v.attrs]


def lazy(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose numbers are computed later."""
    chunked = {
        name: variable.chunk(2)
        for name, variable in dataset.data_vars.variables.items()
        if isinstance(variable.dtype, np.dtype) and variable.dtype.kind != "O"
    }
    return dataset.assign(chunked)


@searched(0.5)
@given(dataset=datasets(), storage=storages, is_lazy=st.booleans())
def test_a_whole_dataset_comes_back_as_it_was(
    session, folder, dataset, storage, is_lazy
):
    path, reason = f"whole/{next(numbers)}", ""
    try:
        write_whole(session, path, lazy(dataset) if is_lazy else dataset, storage)
    except Unstorable as error:
        reason = str(error)
    if reason:
        assert any(name in reason for name in parts(dataset)), reason
        return
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(session.store, group=path, consolidated=False, chunks=None)
    assert len(plain.variables) == len(dataset.variables)
    file = folder / "exported.nc"
    write_netcdf(open_dataset(session, path), file)
    assert differences(dataset, open_exported(file).load()) == []
    with xr.open_dataset(file, engine="h5netcdf", decode_times=False) as opened:
        assert len(opened.variables) == len(dataset.variables)


@st.composite
def items(draw):
    """Return pieces of one product that differ in whatever may differ."""
    sizes = draw(st.dictionaries(NAMES, st.integers(1, 3), max_size=2))
    dimension = draw(NAMES.filter(lambda name: name not in sizes))
    first = draw(datasets(sizes))
    assume(dimension not in first.variables)
    count = draw(st.integers(1, 3))
    chunk = draw(st.integers(1, 2))
    sliced = {name for name in first.data_vars if draw(st.booleans())}
    pieces = []
    for _ in range(count):
        dataset = first.copy()
        if draw(st.booleans()):
            dataset.attrs = draw(ATTRS)
        for name, variable in first.variables.items():
            if draw(st.integers(0, 3)) == 0:
                variable.attrs = draw(ATTRS)
            if name not in sliced and name in first.dims:
                continue
            if name in sliced:
                shape = (chunk, *variable.shape)
                is_odd = draw(st.integers(0, 6)) == 0
                values = draw(arrays(shape)) if is_odd else _like(draw, variable, shape)
                new = xr.Variable((dimension, *variable.dims), values, variable.attrs)
                dataset = dataset.drop_vars(name).assign({name: new})
            elif draw(st.integers(0, 3)) == 0:
                values = _like(draw, variable, variable.shape)
                dataset[name] = xr.Variable(variable.dims, values, variable.attrs)
        pieces.append(dataset)
    return dimension, chunk, pieces


def _like(draw, variable, shape):
    """Return values of the type of a variable, some of them other ones."""
    values = np.empty(variable.shape, dtype=object)
    values[...] = variable.values
    if isinstance(variable.dtype, np.dtype):
        values = values.astype(variable.dtype)
    wide = np.broadcast_to(values, shape).copy()
    if values.dtype.kind in "iuf" and draw(st.booleans()):
        wide = wide + values.dtype.type(1)
    if values.dtype.kind in "US" and draw(st.booleans()):
        wide = np.full(shape, "longer than others").astype(values.dtype.kind)
    return wide.astype(values.dtype.kind if values.dtype.kind in "US" else values.dtype)


@searched(0.5)
@given(product=items(), order=st.randoms())
def test_an_item_comes_back_as_it_was_whoever_came_first(session, product, order):
    dimension, chunk, pieces = product
    path = f"cut/{next(numbers)}"
    storage = Storage(dimension=dimension, chunk=chunk, chunks=(), compression="zstd")
    labels = Labels.of([f"item {n}" for n in range(len(pieces) * chunk)])
    places = list(range(len(pieces)))
    order.shuffle(places)
    layout = None
    stored = {}
    for place in places:
        piece = pieces[place]
        reason = ""
        try:
            if dimension not in piece.dims:
                return
            if layout is None:
                allocate(session, path, piece, storage, labels)
                layout = read_layout(session, path, dimension)
        except Unstorable as error:
            reason = str(error)
        if reason:
            assert any(name in reason for name in parts(piece)), reason
            return
        reason = misfit(layout, piece, chunk)
        if reason:
            named = [name for piece in pieces for name in parts(piece)]
            assert any(name in reason for name in named), reason
        else:
            write_slice(layout, session, piece, place * chunk)
            stored[place] = piece
    for place, piece in stored.items():
        positions = slice(place * chunk, (place + 1) * chunk)
        found = read_slice(layout, session, positions)
        expected = piece.assign_coords({dimension: found[dimension].variable})
        assert differences(_sorted(expected), _sorted(found)) == []
        again = misfit(layout, found, chunk)
        assert again == ""
    whole = open_dataset(session, path).load()
    for place, piece in stored.items():
        part = whole.isel({dimension: slice(place * chunk, (place + 1) * chunk)})
        for name in piece.data_vars:
            if dimension in piece[name].dims:
                assert part[name].dims == piece[name].dims


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (cftime.Datetime360Day(2020, 2, 30), cftime.Datetime360Day(2020, 2, 29)),
        (pd.array([None], dtype="Int64"), pd.array([2**62], dtype="Int64")),
        (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["b"], ["a", "b"])),
        (0.0, -0.0),
    ],
    ids=["calendar", "nullable", "category", "sign of zero"],
)
def test_what_all_items_share_is_kept_for_each_that_differs(session, first, second):
    path = f"shared/{next(numbers)}"
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="zstd")
    pieces = [
        xr.Dataset(
            {"flux": ("item", [1.0]), "shared": ((), value)}
            if np.ndim(value) == 0
            else {"flux": ("item", [1.0]), "shared": ("x", value)}
        )
        for value in (first, second, first)
    ]
    allocate(session, path, pieces[0], storage, Labels.of(["a", "b", "c"]))
    layout = read_layout(session, path, "item")
    for place, piece in enumerate(pieces):
        assert misfit(layout, piece, 1) == ""
        write_slice(layout, session, piece, place)
    for place, piece in enumerate(pieces):
        found = read_slice(layout, session, slice(place, place + 1))
        assert differences(piece, found.drop_vars("item")) == []


def _sorted(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with its variables in the order of their names."""
    data, coords = sorted(dataset.data_vars), sorted(dataset.coords)
    return xr.Dataset(
        {name: dataset.variables[name] for name in data},
        coords={name: dataset.variables[name] for name in coords},
        attrs=dataset.attrs,
    )
