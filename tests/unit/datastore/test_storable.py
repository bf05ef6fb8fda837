import re

import cftime
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from astropy import units

from tests.unit.datastore.exactness import differences
from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    create_repository,
    extend,
    faults_of,
    misfit,
    open_dataset,
    read_layout,
    read_slice,
    write_slice,
    write_whole,
)
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.forms import form_of
from ziggy_dask.datastore.masking import masked
from ziggy_dask.errors import DatastoreError

STORAGE = Storage(dimension="item", chunk=1, chunks=(), compression="zstd")


@pytest.fixture
def session(tmp_path):
    return create_repository(str(tmp_path / "store")).writing().newest().session


def piece(**variables) -> xr.Dataset:
    return xr.Dataset({name: ("item", [value]) for name, value in variables.items()})


def test_a_multi_index_with_a_level_without_a_name_is_refused_by_name():
    sizes = {"a": [1, 2], "": [0]}
    dataset = xr.Dataset({"v": (("a", ""), [[1.0], [2.0]])}, coords=sizes)
    found = [str(one) for one in faults_of(dataset.stack(levels=["a", ""]))]
    assert "variable 'levels' is part of a multi-index" in " ".join(found)
    assert all("take it apart: .reset_index('levels')" in one for one in found)


def test_all_faults_are_named_at_once():
    dataset = xr.Dataset(
        {"events": ("n", np.array([{}, 1], object)), "wide": ("n", np.zeros(2, "g"))},
        attrs={"who": {1, 2}},
    )
    told = [str(fault) for fault in faults_of(dataset)]
    assert len(told) == 3
    for name in ("attribute 'who'", "variable 'events'", "variable 'wide'"):
        assert any(text.startswith(name) for text in told)


class Counted(np.ndarray):
    """An array that says more than its numbers."""


class Remote(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of another library, that would give its numbers if it were asked."""

    dtype, shape, ndim = np.dtype(float), (3,), 1

    def __array_function__(self, *arguments):
        return NotImplemented

    def __array_ufunc__(self, *arguments):
        return NotImplemented

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.arange(3) * units.m, "Quantity in 'm'.*attribute 'units'"),
        (da.from_array(np.arange(3) * units.s, asarray=False), "Quantity in 's'"),
        (np.arange(3).view(Counted), r"test_storable\.Counted"),
        (Remote(), r"test_storable\.Remote"),
    ],
)
def test_arrays_that_are_more_than_numbers_are_refused_by_name(values, words):
    dataset = xr.Dataset({"flux": xr.Variable("n", values)})
    (told,) = faults_of(dataset)
    assert told.place == "variable 'flux'"
    assert re.search(words, str(told))


def test_arrays_that_are_nothing_but_numbers_are_plain(tmp_path):
    values = [
        np.memmap(tmp_path / "numbers", "f8", "w+", shape=3),
        np.char.array([b"a", b"b ", b""]),
        da.ones(3),
    ]
    for one in values:
        variable = xr.Variable(["n", "m"][: one.ndim], one)
        assert not faults_of(xr.Dataset({"flux": variable}))


def lazily(block, dtype):
    """Return three blocks of two values, of which Dask believes the type that it is told."""
    blocks = da.zeros(6, chunks=2).map_blocks(lambda _: block, dtype=dtype)
    return xr.Dataset({"v": ("x", blocks)})


@pytest.mark.parametrize(
    ("dtype", "block", "words"),
    [
        ("i8", np.array([0.5, 1.5]), "type int64, but is computed as float64"),
        ("f4", np.array([0.1, 0.2]), "type float32, but is computed as float64"),
        ("f8", np.array([1j, 2j]), "type float64, but is computed as complex128"),
        ("i2", np.array([70000, 1]), "type int16, but is computed as int64"),
        ("U1", np.array(["ab", "c"]), "type <U1, but is computed as <U2"),
        (
            "T",
            np.array(["a", None], object),
            "StringDType(), but is computed as object",
        ),
        ("M8[s]", np.array(["2026", "NaT"], "M8[ns]"), "is computed as datetime64[ns]"),
        ("f8", np.array([None, 1], object), "type float64, but is computed as object"),
        ("f8", np.zeros(1), "shape (6,), but is computed as (3,)"),
    ],
)
def test_values_that_are_not_what_was_said_before_they_were_computed_are_refused(
    session, dtype, block, words
):
    with pytest.raises(Unstorable, match=re.escape(words)):
        write_whole(session, "made", lazily(block, dtype), STORAGE)


@pytest.mark.parametrize(
    ("dtype", "block"),
    [
        ("<f8", np.array([1.5, 2.5], ">f8")),
        ("U3", np.array(["ab", "c"])),
        ("U", np.array(["ab", "c"])),
        ("O", np.array(["ab", None], object)),
    ],
)
def test_what_holds_the_same_values_is_kept(session, dtype, block):
    write_whole(session, "made", lazily(block, dtype), STORAGE)
    found = open_dataset(session, "made")["v"].values
    assert found.tolist() == 3 * block.tolist()


@pytest.mark.parametrize(
    ("calendar", "has_year_zero"),
    [
        ("noleap", True),
        ("360_day", True),
        ("standard", True),
        ("standard", False),
        ("julian", False),
    ],
)
def test_times_of_a_calendar_that_their_class_does_not_tell_keep_it(
    session, calendar, has_year_zero
):
    made = {"calendar": calendar, "has_year_zero": has_year_zero}
    time = cftime.datetime(2026, 2, 3, 4, 5, 6, 7, **made)
    dataset = xr.Dataset({"when": ("x", np.array([time], dtype=object))})
    write_whole(session, "made", dataset, STORAGE)
    found = open_dataset(session, "made")["when"].values[0]
    assert found == time
    assert type(found) is cftime.datetime
    assert (found.calendar, found.has_year_zero) == (calendar, has_year_zero)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (cftime.DatetimeNoLeap(400_000, 1, 1), "reach 290,000 years"),
        (np.nan, "has nan, which is not a time of the calendar 'noleap'"),
    ],
)
def test_times_of_a_calendar_that_can_not_be_kept_are_refused_at_once(value, words):
    times = np.array([cftime.DatetimeNoLeap(2026, 1, 1), value], dtype=object)
    (fault,) = faults_of(xr.Dataset({"when": ("x", times)}))
    assert fault.place == "variable 'when'"
    assert words in fault.problem


@pytest.mark.parametrize("kind", ["2", "4", "8"])
def test_what_is_no_number_keeps_its_bits(session, kind):
    bits = np.full(4, np.array(np.nan, f"f{kind}").view(f"u{kind}")) + np.arange(
        4, dtype="u1"
    )
    values = bits.astype(f"u{kind}").view(f"f{kind}")
    dataset = xr.Dataset({"v": ("x", values), "w": ("x", -values)})
    write_whole(session, "made", dataset, STORAGE)
    found = open_dataset(session, "made")
    assert found["v"].values.tobytes() == values.tobytes()
    assert found["w"].values.tobytes() == (-values).tobytes()


def test_blocks_of_unknown_length_are_refused_by_name(session):
    values = da.arange(6.0, chunks=2)
    dataset = xr.Dataset({"v": ("x", values[values > 2])})
    with pytest.raises(Unstorable, match="variable 'v' has blocks of unknown length"):
        write_whole(session, "made", dataset, STORAGE)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.int16(7), np.int64(70000)),
        (np.float32(1), np.float64(1e39)),
        (np.uint8(200), np.uint16(40000)),
        (np.datetime64("2024-01-01", "s"), np.datetime64("2024-01-01", "ms")),
        (True, 5),
    ],
)
def test_no_item_is_cast_to_the_type_of_another(session, first, one, other):
    pieces = [piece(count=one), piece(count=other)]
    allocate(session, "p", pieces[first], STORAGE, Labels.of(["a", "b"]))
    layout = read_layout(session, "p", "item")
    assert misfit(layout, pieces[first], 1) == ""
    reason = misfit(layout, pieces[1 - first], 1)
    assert "variable 'count' is of type" in reason
    assert "dtypes" in reason


def test_a_declared_type_holds_every_value_or_refuses_it(session):
    storage = Storage(
        dimension="", chunk=1, chunks=(), compression="none", dtypes=(("id", "f8"),)
    )
    fine = xr.Dataset({"id": ("n", np.array([2**53]))})
    write_whole(session, "fine", fine, storage)
    assert open_dataset(session, "fine")["id"].dtype == "f8"
    with pytest.raises(Unstorable, match=f"holds {2**53 + 1}"):
        write_whole(session, "p", fine + 1, storage)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_an_item_says_is_given_back_with_it(session, order):
    pieces = []
    for number in range(2):
        dataset = piece(rate=1.5).assign_coords(time=("k", [number, number + 1]))
        dataset["rate"].attrs = {"EXPTIME": 10.0 + number, "units": "s"}
        dataset.attrs = {"DATE-OBS": f"2004-03-0{number + 1}"}
        pieces.append(dataset.assign_coords(item=["ab"[number]]))
    allocate(session, "p", pieces[order[0]], STORAGE, Labels.of(["a", "b"]))
    layout = read_layout(session, "p", "item")
    for number in order:
        assert misfit(layout, pieces[number], 1) == ""
        write_slice(layout, session, pieces[number], number)
    for number in order:
        found = read_slice(layout, session, slice(number, number + 1))
        assert found.identical(pieces[number])
    both = open_dataset(session, "p").load()
    assert both.attrs == {}
    assert both["rate"].attrs == {"units": "s"}
    assert both["time"].dims == ("item", "k")
    assert misfit(layout, both, 2) == ""
    write_slice(layout, session, both, 0)
    assert read_slice(layout, session, slice(1, 2)).identical(pieces[1])


def objects(*values):
    """Return an array of objects as it is; xarray would make NaN of None among text."""
    array = np.array([*values, None], dtype=object)[:-1]
    return xr.Variable(("z",), array, fastpath=True)


NOLEAP, DAY_360 = cftime.DatetimeNoLeap(2026, 1, 1), cftime.Datetime360Day(2026, 1, 1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (xr.Dataset(attrs={"a": [1, True, {"b": 0.0}]}), {"a": [1.0, 1, {"b": -0.0}]}),
        (xr.Dataset(attrs={"a": 0.0}), {"a": -0.0}),
        (xr.Dataset({"t": 1.0}), xr.Dataset(coords={"t": 1.0})),
        (xr.Dataset({"t": 1.0}), xr.Dataset(coords={"t": 2.0})),
        (xr.Dataset({"t": objects("a", None)}), xr.Dataset({"t": objects("a", "b")})),
        (xr.Dataset({"t": objects(NOLEAP)}), xr.Dataset({"t": objects(DAY_360)})),
    ],
)
def test_what_items_say_comes_back_also_from_all_of_them(session, order, one, other):
    said = [one, xr.Dataset(attrs=other) if isinstance(other, dict) else other]
    items = [
        each.assign(v=("item", [float(number)])).assign_coords(item=[f"i{number}"])
        for number, each in enumerate(said)
    ]
    labels = Labels.of(["i0", "i1"])
    for place, pieces in (("made", items), ("again", None)):
        if pieces is None:  # what who reads all of them returns
            whole = open_dataset(session, "made").load()
            pieces = [whole.isel(item=[number]) for number in (0, 1)]
        allocate(session, place, pieces[order[0]], STORAGE, labels)
        layout = read_layout(session, place, "item")
        for number in order:
            assert misfit(layout, pieces[number], 1) == ""
            write_slice(layout, session, pieces[number], number)
        for number, expected in enumerate(items):
            found = read_slice(layout, session, slice(number, number + 1))
            assert {*found.coords} == {*expected.coords}
            in_order = found.reset_coords()[[*expected.reset_coords().data_vars]]
            assert differences(expected.reset_coords(), in_order) == []


def test_units_may_not_differ_between_items(session):
    kelvin, celsius = piece(t=280.0), piece(t=7.0)
    kelvin["t"].attrs, celsius["t"].attrs = {"units": "K"}, {"units": "degC"}
    allocate(session, "p", kelvin, STORAGE, Labels.of(["a", "b"]))
    reason = misfit(read_layout(session, "p", "item"), celsius, 1)
    assert "variable 't' has units 'degC', where other items have 'K'" in reason


def test_items_never_made_read_as_missing(session):
    dataset = piece(ok=True, n=np.int32(7), big=2**60 + 1, name="x", t=1.5)
    dataset["when"] = ("item", np.array(["2026-01-01"], "M8[s]"))
    allocate(session, "p", dataset, STORAGE, Labels.of(["a", "b"]))
    write_slice(read_layout(session, "p", "item"), session, dataset, 0)
    found = masked(open_dataset(session, "p"), "item", Labels.of(["b"])).load()
    assert found["big"].values[0] == 2**60 + 1
    assert found["name"].values[0] == "x"
    assert found.isnull().isel(item=1).to_array().all()
    assert not found.isnull().isel(item=0).to_array().any()


@pytest.mark.parametrize("compression", ["zstd", "blosc", "none"])
def test_a_flipped_bit_is_an_error_that_names_product_and_item(session, compression):
    storage = Storage(dimension="item", chunk=1, chunks=(), compression=compression)
    values = np.random.default_rng(0).integers(0, 9, (2, 500))
    dataset = xr.Dataset({"flux": (("item", "x"), values)})
    allocate(session, "set/p", dataset.isel(item=[0]), storage, Labels.of(["a", "b"]))
    layout = read_layout(session, "set/p", "item")
    write_slice(layout, session, dataset.isel(item=[1]), 1)
    key = "set/p/flux/c/1/0"
    chunk = _get(session, key)
    random = np.random.default_rng(1)
    told = 0
    for _ in range(40):
        bit = int(random.integers(8 * len(chunk)))
        damaged = bytearray(chunk)
        damaged[bit // 8] ^= 1 << bit % 8
        _set(session, key, bytes(damaged))
        try:
            found = read_slice(layout, session, slice(1, 2))
        except DatastoreError as error:
            assert re.search("'set/p'.*'flux'.*item 'b'", str(error))  # noqa: PT017
            told += 1
        else:  # A bit of the compressor's header that means nothing.
            assert np.array_equal(found["flux"].values, values[[1]])
    assert told >= 38


def _get(session, key: str) -> bytes:
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    return sync(session.store.get(key, default_buffer_prototype())).to_bytes()


def _set(session, key: str, data: bytes) -> None:
    from zarr.core.buffer.cpu import Buffer
    from zarr.core.sync import sync

    sync(session.store.set(key, Buffer.from_bytes(data)))


def test_products_of_earlier_versions_read_as_before(session):
    n = np.arange(2)
    dataset = xr.Dataset(
        {
            "flux": (("item", "x"), np.ones((2, 3)), {"unit": "Jy"}),
            "when": ("item", np.datetime64("2026-01-01", "ns") + n),
        },
        coords={"item": np.array(["a", "b"], np.dtypes.StringDType())},
        attrs={"telescope": "Kepler"},
    )
    dataset.to_zarr(session.store, group="old", consolidated=False, zarr_format=3)
    assert "ziggy_encoding" not in zarr.open_group(session.store, path="old").attrs
    assert open_dataset(session, "old").load().identical(dataset)
    layout = read_layout(session, "old", "item")
    assert read_slice(layout, session, [1]).identical(dataset.isel(item=[1]))
    later = dataset.isel(item=[1])
    later["flux"] = later["flux"] + 1
    assert misfit(layout, later, 1) == ""
    write_slice(layout, session, later, 1)
    assert read_slice(layout, session, [1])["flux"].values.tolist() == [[2.0] * 3]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.array([1.5]), "i8"),
        (np.array([2**63], "u8"), "i8"),
        (np.array([2**53 + 1], "i8"), "f8"),
        (np.array([1], "i8"), "i4"),
        (np.array(["3000"], "M8[us]"), "M8[ns]"),
        (np.array([1], "i8"), "M8[s]"),
        (np.array([1], "m8[s]"), "M8[s]"),
        (np.array(["1"]), "i8"),
    ],
)
def test_no_form_casts_what_it_stores(given, stored):
    form = form_of(xr.Variable("x", np.zeros(1, stored)))
    with pytest.raises(Unstorable, match=f"is of type {re.escape(str(given.dtype))}"):
        form.encode(given)
    swapped = np.zeros(1, stored).astype(np.dtype(stored).newbyteorder(">"))
    assert form.encode(swapped).tolist() == form.encode(np.zeros(1, stored)).tolist()


@pytest.mark.parametrize("labels", [["a", "b"], [2**53 + 1, 2**53 + 2], [0.1, 0.3]])
def test_a_product_of_an_earlier_version_gets_more_items(session, labels):
    before, new = Labels(np.array(labels[:1])), Labels(np.array(labels[1:]))
    _as_earlier(session, before)
    extend(session, read_layout(session, "old", "item"), new)
    found = read_layout(session, "old", "item").labels
    assert found.values.tolist() == labels


def test_times_are_not_added_to_a_product_of_an_earlier_version(session):
    times = np.array(["2026-01-01", "2026-01-02"], "M8[ns]")
    _as_earlier(session, Labels(times[:1]))
    layout = read_layout(session, "old", "item")
    with pytest.raises(Unstorable, match="'old' was made by an earlier version"):
        extend(session, layout, Labels(times))
    assert read_layout(session, "old", "item").labels == Labels(times[:1])


def _as_earlier(session, labels):
    values = labels.values
    if values.dtype.kind == "U":
        values = values.astype(np.dtypes.StringDType())
    dataset = xr.Dataset({"v": ("item", [1.0])}, coords={"item": values})
    dataset.to_zarr(session.store, group="old", consolidated=False, zarr_format=3)
