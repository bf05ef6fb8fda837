"""Whatever a Dataset is made of: it comes back as it was, or it is refused by name."""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter
from dataclasses import replace

import cftime
import icechunk
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync

from tests.unit.datastore import whole_way
from tests.unit.datastore.datasets import (
    ATTRS,
    LABELS,
    NAMES,
    arrays,
    datasets,
    extensions,
)
from tests.unit.datastore.exactness import differences
from tests.unit.datastore.plugin import install_readers
from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    allocation,
    misfit,
    open_dataset,
    read_layout,
    read_slice,
    write_slice,
    write_whole,
)
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.netcdf import open_exported, write_netcdf
from ziggy_dask.datastore.repository import create_repository
from ziggy_dask.definitions import ProductKind
from ziggy_dask.errors import DatastoreError

EXAMPLES = int(os.environ.get("ZIGGY_EXAMPLES", "500"))
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
    """Return how to search: always the same examples, unless their number is given."""
    return settings(
        derandomize="ZIGGY_EXAMPLES" not in os.environ,
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_readers(tmp_path_factory.mktemp("installed"))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, installed):
    monkeypatch.syspath_prepend(installed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parts(dataset: xr.Dataset | xr.DataTree) -> list[str]:
    """Return the names that a refusal may give."""
    if isinstance(dataset, xr.DataTree):
        return [
            one for group in whole_way.groups(dataset).values() for one in parts(group)
        ]
    names = [repr(name) for name in (*dataset.variables, *dataset.dims, *dataset.attrs)]
    return names + [repr(key) for v in dataset.variables.values() for key in v.attrs]


def plain_times(
    dataset: xr.Dataset, *, is_lazy: bool = False
) -> xr.coders.CFDatetimeCoder | bool:
    """Return how the docs say that plain xarray is to make times.

    Its default can make none that ns do not reach if some are missing, and none that
    cftime's µs do not reach. Blocks may not be what their units say.
    """
    if is_lazy and any("since" in str(v.attrs) for v in dataset.variables.values()):
        return False
    for variable in dataset.variables.values():
        if isinstance(variable.dtype, np.dtype) and variable.dtype.kind == "M":
            is_missing = np.isnat(variable.values)
            years = variable.values[~is_missing].astype("M8[Y]").astype(int) + 1970
            is_far = ((years < 1678) | (years > 2261)).any()
            if is_far and (is_missing.any() or (abs(years) > 290_000).any()):
                return xr.coders.CFDatetimeCoder(time_unit="s")
    return xr.coders.CFDatetimeCoder()


def lazy(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose numbers are computed later."""
    chunked = {
        name: variable.chunk(2)
        for name, variable in dataset.data_vars.variables.items()
        if isinstance(variable.dtype, np.dtype) and variable.dtype.kind != "O"
    }
    return dataset.assign(chunked)


@searched(0.4)
@given(
    dataset=datasets(),
    storage=storages,
    is_lazy=st.booleans(),
    is_large=st.booleans(),
    also=st.sampled_from(["", "", "program", "damage"]),
)
def test_a_whole_dataset_comes_back_as_it_was(
    session, folder, dataset, storage, is_lazy, is_large, also
):
    path, reason = f"whole/{next(numbers)}", ""
    try:
        with pytest.MonkeyPatch.context() as patched:
            if is_large:  # for what is written block by block
                patched.setattr(allocation, "_LARGEST_CHUNK_BYTES", 8)
                patched.setattr(allocation, "_SMALL_BLOCK_BYTES", 0)
            write_whole(session, path, lazy(dataset) if is_lazy else dataset, storage)
    except Unstorable as error:
        reason = str(error)
    if reason:
        assert any(name in reason for name in parts(dataset)), reason
        return
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(
        session.store,
        group=path,
        consolidated=False,
        chunks=None,
        decode_times=plain_times(dataset, is_lazy=is_lazy),
    )
    assert len(plain.variables) == len(dataset.variables)
    file = folder / "exported.nc"
    write_netcdf(open_dataset(session, path), file)
    assert differences(dataset, open_exported(file).load()) == []
    options = {"decode_times": plain_times(dataset), "engine": "h5netcdf"}
    with xr.open_dataset(file, **options) as opened:
        assert len(opened.variables) == len(dataset.variables)
    if also == "program":
        for given_back in whole_way.through_files(dataset, folder).values():
            assert differences(dataset, given_back.load()) == []
    if also == "damage":
        assert_damage_is_seen(session, path, dataset)


def assert_damage_is_seen(session, path, dataset):
    """Flip bits of a stored chunk: reading it is an error, or they mean nothing."""
    keys = [
        key
        for key in sync(listed(session.store, path))
        if not key.endswith("zarr.json")
    ]
    if not keys:
        return
    chunk = sync(session.store.get(keys[0], default_buffer_prototype())).to_bytes()
    for bit in range(0, 8 * len(chunk), 1 + 3 * len(chunk)):
        damaged = bytearray(chunk)
        damaged[bit // 8] ^= 1 << bit % 8
        sync(session.store.set(keys[0], Buffer.from_bytes(bytes(damaged))))
        try:
            found = open_dataset(session, path).load()
        except DatastoreError as error:
            assert path in str(error)  # noqa: PT017
        else:
            assert differences(dataset, found) == []


@pytest.mark.parametrize("calendar", ["noleap", "standard"])
@pytest.mark.parametrize("size", [0, 1])
def test_plain_xarray_opens_empty_arrays_with_units_of_times(session, calendar, size):
    units = {"units": "hours since 1858-11-17", "calendar": calendar}
    dataset = xr.Dataset({"v": ("x", np.ones(size), units)})
    path = f"empty/{next(numbers)}"
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    write_whole(session, path, dataset, storage)
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(session.store, group=path, consolidated=False, chunks=None)
    assert plain["v"].size == size


@pytest.mark.parametrize("calendar", ["noleap", "standard"])
@pytest.mark.parametrize("unit", ["hours", "nanoseconds", "nonsense"])
@pytest.mark.parametrize("name", ["x", "v"])
@pytest.mark.parametrize(
    "values",
    [
        *(np.array([0, 2**62]), np.array([-(2**63), 1]), np.array([0, np.nan])),
        *(np.array([1e300, 0.0]), np.array([0, -np.inf]), np.array(["a", "b"])),
        *(pd.array([None, 1], dtype=kind) for kind in ("Int64", "UInt64", "Float32")),
    ],
    ids=str,
)
def test_plain_xarray_opens_numbers_that_are_not_the_times_their_units_say(
    session, folder, values, name, unit, calendar
):
    attrs = {"units": f"{unit} since 1858-11-17", "calendar": calendar}
    dataset = xr.Dataset().assign_coords({name: ("x", values, attrs)})
    dataset["heat"] = ("x", [1.5, 2], {"units": "K"})
    path = f"no-times/{next(numbers)}"
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    write_whole(session, path, dataset, storage)
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(session.store, group=path, consolidated=False, chunks=None)
    assert plain[name].load().shape == (2,)
    write_netcdf(open_dataset(session, path), folder / "no-times.nc")
    with xr.open_dataset(folder / "no-times.nc", engine="h5netcdf") as opened:
        assert opened[name].shape == (2,)
        assert opened["heat"].attrs == {"units": "K"}


@pytest.mark.parametrize(
    "value",
    [
        *(np.timedelta64("NaT", "s"), np.timedelta64(1, "s"), np.array(np.nan)),
        *(10**400, np.array([[1]]), True, np.datetime64("NaT")),
    ],
    ids=repr,
)
@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "scale_factor"])
def test_plain_xarray_opens_numbers_whatever_attributes_by_which_it_reads_are(
    session, folder, key, value
):
    dataset = xr.Dataset({"v": ("x", [1, 2], {key: value})})
    path = f"read-by/{next(numbers)}"
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    write_whole(session, path, dataset, storage)
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(session.store, group=path, consolidated=False, chunks=None)
    assert plain["v"].load().shape == (2,)
    write_netcdf(dataset, folder / "read-by.nc")
    with xr.open_dataset(folder / "read-by.nc", engine="h5netcdf") as opened:
        assert opened["v"].load().shape == (2,)


async def listed(store, path):
    return [key async for key in store.list_prefix(f"{path}/")]


def test_attributes_of_times_do_not_change_them_for_plain_xarray(session):
    attrs = {"scale_factor": 2.0, "add_offset": 1, "missing_value": 0, "_FillValue": 0}
    attrs |= {"_Unsigned": "true", "units": "days since 1900-01-01", "dtype": "i2"}
    attrs |= {"calendar": "noleap"}
    old = [cftime.Datetime360Day(year, 2, 30) for year in (1, 1970, 2020)]
    dataset = xr.Dataset(
        {
            "t": ("x", np.array([-1, 1, "NaT"], "M8[s]"), attrs),
            "d": ("x", np.array([-1, 1, "NaT"], "m8[s]"), attrs),
            "c": ("x", np.array(old), attrs),
        }
    )
    path = f"scaled/{next(numbers)}"
    write_whole(
        session,
        path,
        dataset,
        Storage(dimension="", chunk=1, chunks=(), compression="zstd"),
    )
    assert differences(dataset, open_dataset(session, path).load()) == []
    plain = xr.open_zarr(session.store, group=path, consolidated=False, chunks=None)
    for name, variable in dataset.variables.items():
        np.testing.assert_array_equal(plain[name].values, variable.values)


@pytest.fixture(scope="module")
def repository():
    return create_repository("memory://whole-way")


@pytest.fixture(scope="module")
def kept():
    """Count what is kept and what is refused; where all is refused, nothing else can fail."""
    counts: Counter[tuple[bool, bool, bool]] = Counter()
    yield counts
    for is_series, is_several in ((False, False), (True, False), (True, True)):
        stored = counts[is_series, is_several, True]
        tried = stored + counts[is_series, is_several, False]
        assert tried < 10 or stored > tried / 10, counts


@pytest.fixture(scope="module")
def scaffold(repository):
    return repository.scaffold("way", whole_way.PATHS)


@st.composite
def trees(draw):
    """Return a tree of a group or two, if there can be one of what is drawn."""
    top, below = draw(datasets()), draw(datasets())
    try:
        return xr.DataTree.from_dict({"/": top, f"/{draw(NAMES)}": below})
    except (ValueError, KeyError, TypeError):  # xarray itself refuses it
        return below


@st.composite
def ways(draw, kinds=("cut", "cut", "whole", "collection"), *, all_series=False):
    """Return a way, the items that go it, and the files that are delivered."""
    kind = draw(st.sampled_from(kinds))
    is_array = kind != "collection"
    is_delivered = all_series or draw(st.booleans())
    is_series = all_series or (kind == "cut" and is_delivered and draw(st.booleans()))
    dimension, files = "", None
    if is_series:
        dimension, items, files = draw(series())
    elif kind == "cut":
        dimension, _, pieces = draw(products(1).filter(lambda made: made[0]))
        names = draw(
            st.lists(
                LABELS, min_size=len(pieces), max_size=len(pieces), unique_by=str.strip
            )
        )
        items = dict(zip(names, pieces, strict=True))
    elif kind == "whole":
        items = {"": draw(datasets())}
        if is_delivered and draw(st.integers(0, 7)) == 0:
            items["second"] = draw(datasets())  # nothing tells it from the first
    else:
        labels = LABELS if is_delivered else NAMES
        one = st.one_of(datasets(), datasets(), trees())
        items = draw(st.dictionaries(labels, one, min_size=1, max_size=3))
    is_taken = not is_array and not is_delivered and draw(st.integers(0, 3)) == 0
    if (
        kind == "cut"
        and not is_delivered
        and len(items) > 1
        and draw(st.integers(0, 3))
    ):
        spoilt = draw(st.sampled_from(list(items)))
        items[spoilt] = items[spoilt].assign_attrs(who={1, 2})  # it will be missing
    is_published = is_delivered or draw(st.booleans())
    passing = draw(st.sampled_from(["items", "whole"]))
    if is_array and is_published and draw(st.integers(0, 4)) == 0:
        passing = "dask"
    way = whole_way.Way(
        kind=ProductKind.ARRAY if is_array else ProductKind.COLLECTION,
        dimension=dimension,
        storage=replace(draw(storages), dimension=dimension, chunk=1),
        is_delivered=is_delivered,
        is_lazy=draw(st.booleans()),
        passing=passing,
        is_published=is_published,
        is_one=not is_array and not is_delivered and not is_taken,
        is_taken=is_taken,
        is_series=is_series,
    )
    return way, items, files or items


@st.composite
def series(draw):
    """Return a dimension, items along it by label, and files of several items each.

    Labels are text or numbers; those of numbers are in order in each file, and no file
    reaches into another.
    """
    count = draw(st.sampled_from([2, 3, 2, 3, 1]))
    dimension, _, pieces = draw(products(count).filter(lambda made: made[0]))
    total = count * len(pieces)
    labels = st.one_of(LABELS.map(str.strip).filter(bool), st.integers(-99, 99))
    kind = str if draw(st.booleans()) else int
    some = labels.filter(lambda label: isinstance(label, kind))
    drawn = draw(st.lists(some, min_size=total, max_size=total, unique=True))
    drawn = drawn if kind is str else sorted(drawn)
    items, files = {}, {}
    for place, piece in enumerate(pieces):
        own = drawn[place * count : (place + 1) * count]
        file = piece.assign_coords({dimension: own})
        files[str(own[0])] = file
        items |= {str(k): file.isel({dimension: [n]}) for n, k in enumerate(own)}
    order = draw(st.permutations(list(files)))
    return dimension, items, {name: files[name] for name in order}


@searched(0.2)
@given(going=ways())
def test_what_goes_the_whole_way_arrives_as_it_was(
    repository, scaffold, folder, client, kept, going
):
    assert faults(repository, scaffold, folder, client, *going, counts=kept) == []


@searched(0.05)
@given(going=ways(("cut",), all_series=True))
def test_a_series_of_files_goes_the_whole_way(
    repository, scaffold, folder, client, kept, going
):
    assert faults(repository, scaffold, folder, client, *going, counts=kept) == []


def plainly(**fields):
    """Return a way that nothing was drawn for."""
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    plain = {
        "kind": ProductKind.ARRAY,
        "dimension": "",
        "is_delivered": False,
        "is_lazy": False,
        "passing": "items",
        "is_published": True,
    }
    dimension = fields.get("dimension", "")
    return whole_way.Way(
        storage=replace(storage, dimension=dimension), **{**plain, **fields}
    )


def item(dimension, number, **others):
    values = np.array([[number, number + 0.5]])
    return xr.Dataset(
        {
            "flux": ((dimension, "x"), values, {"EXPTIME": number}),
            "good": (dimension, [True]),
            "name": (dimension, [f"star {number}"]),
            **others,
        },
        attrs={"DATE-OBS": f"2026-01-0{number}", "n": np.int16(number)},
    )


@pytest.mark.parametrize("passing", ["items", "whole", "dask"])
@pytest.mark.parametrize("dimension", ["item", "../x", "a/b", "."])
def test_an_item_that_was_refused_is_missing_and_the_others_pass(
    repository, scaffold, folder, client, passing, dimension
):
    nothing_known = np.array([{"a": 1}], dtype=object)
    bad = item(dimension, 2).assign(good=(dimension, nothing_known))
    items = {"a": item(dimension, 1), "b": bad, "c": item(dimension, 3)}
    way = plainly(dimension=dimension, passing=passing)
    assert faults(repository, scaffold, folder, client, way, items) == []


def test_values_of_every_sort_pass_through_dask_functions(
    repository, scaffold, folder, client
):
    values = {
        "bytes": ("x", np.array([b"\0a", None], dtype=object)),
        "times": ("x", np.array([cftime.Datetime360Day(2020, 2, 30), None])),
        "text": ("x", np.array(["a", np.nan], dtype=object)),
        "wide": ("x", ["a", "bbb"]),
        "nullable": ("x", pd.array([1, None], dtype="Int64")),
        "category": ("x", pd.Categorical(["lo", None], ["lo", "hi"])),
    }
    way = plainly(passing="dask")
    items = {"": xr.Dataset(values)}
    assert faults(repository, scaffold, folder, client, way, items) == []


@pytest.mark.parametrize("is_delivered", [False, True])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_text_of_pandas_is_refused_by_name_and_not_made_objects(
    repository, scaffold, folder, client, is_delivered, is_lazy
):
    text = pd.array(["a", None], dtype="string")
    items = {"": xr.Dataset({"v": ("x", text), "n": ("x", [1, 2])})}
    way = plainly(is_delivered=is_delivered, is_lazy=is_lazy)
    if items[""]["v"].dtype == object:  # xarray made it so, with an older pandas
        assert faults(repository, scaffold, folder, client, way, items) == []
        return
    went = whole_way.go(repository, scaffold, items, way, folder, client)
    assert "variable 'v' is of pandas' type string" in went.refused[""]


@pytest.mark.parametrize("kind", ["U", "S"])
@pytest.mark.parametrize("is_delivered", [False, True])
def test_text_of_any_width_is_kept_whichever_item_came_first(
    repository, scaffold, folder, client, kind, is_delivered
):
    texts = {"a": "short", "b": "longer than short", "c": ""}
    items = {
        name: xr.Dataset({"v": ("item", np.array([text], kind))})
        for name, text in texts.items()
    }
    way = plainly(dimension="item", is_delivered=is_delivered)
    assert faults(repository, scaffold, folder, client, way, items) == []
    went = whole_way.go(repository, scaffold, items, way, folder, client)
    assert not went.refused


@pytest.mark.parametrize(
    "values",
    [
        *(pd.interval_range(0, 2), pd.period_range("2026-01", periods=2, freq="M")),
        *(pd.arrays.SparseArray([0, 1]), pd.array([1, None], dtype="Int64")),
        pd.Categorical(["a", None]),
        *(pd.date_range("2026", periods=2, tz="UTC"), pd.array([True, None])),
    ],
    ids=lambda values: f"{type(values).__name__}-{values.dtype}",
)
@pytest.mark.parametrize("dims", ["x", "item"])
def test_arrays_of_pandas_are_kept_or_refused_by_name_where_a_file_is_an_item(
    repository, scaffold, folder, client, values, dims
):
    values = values[:1] if dims == "item" else values
    one = xr.Dataset({"v": (dims, values), "n": 1})
    way = plainly(dimension="item", is_delivered=True)
    assert faults(repository, scaffold, folder, client, way, {"a": one}) == []


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("is_delivered", [False, True])
@pytest.mark.parametrize("passing", ["items", "whole"])
def test_trees_of_groups_pass_and_are_exported_group_by_group(
    repository, scaffold, folder, client, is_lazy, is_delivered, passing
):
    top = xr.Dataset({"n": ("x", [1, 2])}, attrs={"title": "level 2"})
    below = {"/left": item("row", 1), "/a%2Fb/deep er": item("row", 2)}
    tree = xr.DataTree.from_dict({"/": top, **below})
    way = plainly(
        kind=ProductKind.COLLECTION,
        is_lazy=is_lazy,
        is_delivered=is_delivered,
        passing=passing,
    )
    items = {"S5P 1": tree, "zarr.json": item("row", 3)}
    assert faults(repository, scaffold, folder, client, way, items) == []


def test_each_fault_of_a_tree_is_named_with_its_group(
    repository, scaffold, folder, client
):
    bad = xr.Dataset({"v": ((), np.array({"a": 1}, dtype=object))})
    tree = xr.DataTree.from_dict({"/": xr.Dataset(), "/left": bad})
    way = plainly(kind=ProductKind.COLLECTION)
    went = whole_way.go(repository, scaffold, {"a": tree}, way, folder, client)
    assert "item 'a', group '/left' can't be stored: variable 'v'" in went.refused["a"]


def faults(repository, scaffold, folder, client, way, items, files=None, counts=None):
    """Return what is wrong with what came of the items of a product."""
    went = whole_way.go(repository, scaffold, items, way, folder, client, files)
    if counts is not None:
        is_several = len(files or items) < len(items)
        counts[way.is_series, is_several, bool(went.stored)] += 1
    named = {name for piece in items.values() for name in parts(piece)}
    named |= {repr(way.dimension), repr(next(iter(items))), "array without items"}
    wrong = [
        f"refused without a name: {reason}"
        for reason in went.refused.values()
        if not any(name in reason for name in named)
    ]
    kept = {name: one for name, one in items.items() if name not in went.refused}
    places = {"given": went.given, "stored": went.stored, "exported": went.exported}
    for place, found in places.items():
        if found.keys() != kept.keys():
            wrong.append(f"{place}: items {list(kept)} -> {list(found)}")
            continue
        wrong += [
            f"{place} {name!r}: {text}"
            for name, expected in kept.items()
            for text in unlike(way, expected, found[name])
        ]
    return wrong


def unlike(way, expected, found):
    """Return in what an item differs; of one that is cut, order and label are not its own."""
    if not way.dimension:
        given, there = whole_way.groups(expected), whole_way.groups(found)
        if given.keys() != there.keys():
            return [f"groups {list(given)} -> {list(there)}"]
        return [
            text for key in given for text in differences(given[key], there[key].load())
        ]
    if way.is_delivered:
        expected = as_delivered(expected, way.dimension, found)
    label = found[way.dimension].variable
    expected = expected.assign_coords({way.dimension: label})
    for name, variable in expected.variables.items():
        other = found.variables.get(name)
        if other is not None and _is_wider(variable.dtype, other.dtype):
            found[name] = other.astype(variable.dtype)
    return differences(_sorted(expected), _sorted(found))


def as_delivered(expected, dimension, found):
    """Return an item as a piece of a product, with the types common to a delivery."""
    if dimension not in expected.dims:
        expected = expected.expand_dims(dimension)
    wider = {
        name: variable.astype(found[name].dtype)
        for name, variable in expected.variables.items()
        if name in found.variables
        and isinstance(variable.dtype, np.dtype)
        and any({variable.dtype.kind, found[name].dtype.kind} <= s for s in _ALIKE)
    }
    return expected.assign(wider)


_ALIKE = (set("iufc"), set("M"))
"""Sorts of types of which the files of a delivery get a common one."""


def _is_wider(dtype, other):
    """Whether a type differs only in what items of one product may: width, byte order."""
    if not isinstance(dtype, np.dtype) or not isinstance(other, np.dtype):
        return False
    if dtype.kind in "US":
        return dtype.kind == other.kind
    if "T" in (dtype.kind, other.kind):
        return False
    return dtype.newbyteorder("=") == other.newbyteorder("=")


@st.composite
def products(draw, chunk=None):
    """Return pieces of one product that differ in whatever may differ."""
    sizes = draw(st.dictionaries(NAMES, st.integers(1, 3), max_size=2))
    dimension = draw(NAMES.filter(lambda name: name not in sizes))
    first = draw(datasets(sizes))
    assume(dimension not in first.variables and first.data_vars)
    count = draw(st.sampled_from([2, 3, 1]))
    chunk = chunk or draw(st.integers(1, 2))
    sliced = {name for name in first.data_vars if draw(st.booleans())}
    if not sliced and draw(st.integers(0, 7)):
        sliced = {next(iter(first.data_vars))}
    of_pandas = {
        name: draw(extensions(chunk))
        for name in sorted(sliced)
        if not first[name].dims and draw(st.integers(0, 3)) == 0
    }
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
            if name in of_pandas:
                values = of_pandas[name][:: draw(st.sampled_from([1, -1]))]
                new = xr.Variable((dimension,), values, variable.attrs)
                dataset = dataset.drop_vars(name).assign({name: new})
            elif name in sliced:
                shape = (chunk, *variable.shape)
                is_odd = draw(st.integers(0, 6)) == 0
                values = draw(arrays(shape)) if is_odd else _like(draw, variable, shape)
                new = xr.Variable((dimension, *variable.dims), values, variable.attrs)
                dataset = dataset.drop_vars(name).assign({name: new})
            elif draw(st.integers(0, 3)) == 0:
                values = _like(draw, variable, variable.shape)
                dataset[name] = xr.Variable(variable.dims, values, variable.attrs)
        pieces.append(dataset)
    taken = {*first.variables, *first.dims, dimension}
    if draw(st.booleans()) and not taken & {"image", "column"}:
        for place, dataset in enumerate(pieces):  # no two items look the same
            image = np.arange(2 * chunk).reshape(chunk, 2) + 2 * chunk * place
            dataset["image"] = ((dimension, "column"), image)
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


@searched(0.4)
@given(product=products(), order=st.randoms())
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
