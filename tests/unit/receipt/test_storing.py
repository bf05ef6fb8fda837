"""What is delivered is stored, every file of it, or the delivery is refused by name."""

import datetime
import itertools
import os

import icechunk
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import ziggy_dask as z
from tests.unit.datastore.plugin import install_readers
from ziggy_dask.datastore import read_layout, read_slice
from ziggy_dask.datastore.forms import values_of
from ziggy_dask.datastore.items import read_dataset_item
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    ChecksumType,
    generate_manifest,
    sort_files,
    store_delivery,
    validate,
)
from ziggy_dask.receipt.series import as_labels
from ziggy_dask.receipt.types import holds


def pipeline(**data_type):
    """A pipeline that takes files of one type, directly in directories named p."""
    made = z.DataType(name="raw", location=z.Location("p"), **data_type)
    node = z.Node(name="receive", step=z.DataReceiptStep())
    return z.Pipeline(name="mission", data_types=(made,), nodes=(node,))


@pytest.fixture
def session():
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    return session


def deliver(session, definition, directory):
    """Store a directory as receipt does; return what there is to say."""
    manifest = generate_manifest(directory, 1, ChecksumType.SHA256)
    found = validate(directory, manifest)
    return store_delivery(
        lambda _: session,
        definition,
        directory,
        sort_files(definition, [file.name for file in manifest.files]),
        origin={"pipeline": "mission"},
        today=datetime.date(2026, 1, 1),
        identities={file.name: file.identity for file in found.files},
    )


def stored(session, dimension):
    layout = read_layout(session, "p", dimension)
    return read_slice(layout, session, slice(None))


def netcdf(path, dataset):
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_netcdf(path, engine="h5netcdf")


def picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


CUT = {"files": r"(.+)\.nc", "reader": "netcdf", "subtask": "item"}
SERIES = {"files": r".+\.nc", "reader": "netcdf", "subtask": "time"}


# Every file


def test_files_without_a_dimension_are_refused_before_they_replace_each_other(
    tmp_path, session
):
    for number in range(40):
        picture(tmp_path / "p" / f"{number}.png", np.full((2, 2), number, "u1"))
    definition = pipeline(files=r"(.+)\.png", reader="image")
    with pytest.raises(DeliveryError, match=r"39 files can't be taken in") as caught:
        deliver(session, definition, tmp_path)
    assert "'raw' is an array without items: give it 'subtask'" in str(caught.value)
    assert len(caught.value.faults) == 39


@pytest.mark.parametrize(
    "expression", ["(.+)-(.+)[.]png", "([0-9]*)([a-z]?)-([0-9]+)[.]png"]
)
def test_keys_of_several_parts_do_not_collide(tmp_path, session, expression):
    names = ("1-12", "11-2")
    for number, name in enumerate(names):
        picture(tmp_path / "p" / f"{name}.png", np.full((2, 2), number, "u1"))
    definition = pipeline(files=expression, reader="image", subtask="item")
    deliver(session, definition, tmp_path)
    found = stored(session, "item")
    assert sorted(found["pixels"].values[:, 0, 0].tolist()) == [0, 1]
    assert len(set(found["item"].values)) == 2


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True))
def test_joined_parts_tell_apart_whatever_differs(parts):
    from ziggy_dask.definitions.location import joined

    # An empty part at the end is one that did not take part.
    joined_parts = [joined(one) for one in parts]
    assert len(set(joined_parts)) == len(parts)


def test_all_faults_of_a_delivery_are_told_at_once(tmp_path, session):
    picture(tmp_path / "p" / "a.png", np.zeros((2, 2), "u1"))
    (tmp_path / "p" / "b.png").write_text("no image")
    picture(tmp_path / "p" / "c.png", np.zeros((3, 3), "u1"))
    (tmp_path / "p" / "d.png").write_text("nor this")
    definition = pipeline(files=r"(.+)\.png", reader="image", subtask="item")
    with pytest.raises(DeliveryError, match="3 files can't be taken in") as caught:
        deliver(session, definition, tmp_path)
    assert set(caught.value.faults) == {"p/b.png", "p/c.png", "p/d.png"}
    assert "items of different shapes need 'kind: collection'" in str(caught.value)
    (tmp_path / "p" / "e.txt").write_text("x")
    (tmp_path / "f.txt").write_text("x")
    with pytest.raises(DeliveryError, match=r"(?s)2 files .*f\.txt.*p/e\.txt"):
        deliver(session, definition, tmp_path)


# Types


def test_the_common_type_is_found_before_anything_is_stored_in_every_order(tmp_path):
    values = {
        "a": np.array([1, 2], "i2"),
        "b": np.array([70000, -70000], "i4"),
        "c": np.array([200, 255], "u1"),
    }
    definition = pipeline(**CUT)
    for number, order in enumerate(itertools.permutations(values)):
        place = tmp_path / str(number)
        for rank, name in enumerate(order):
            netcdf(place / "p" / f"{rank}.nc", xr.Dataset({"n": ("x", values[name])}))
        repository = icechunk.Repository.create(icechunk.in_memory_storage())
        session = repository.writable_session("main")
        zarr.create_group(session.store)
        deliver(session, definition, place)
        found = stored(session, "item")
        assert found["n"].dtype == np.dtype("i4")
        for rank, name in enumerate(order):
            assert found["n"].values[rank].tolist() == values[name].tolist()


_NUMBERS = st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])


@settings(
    max_examples=int(os.environ.get("ZIGGY_EXAMPLES", "10")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.lists(_NUMBERS, min_size=2, max_size=3), st.data())
def test_numbers_of_any_types_are_kept_exactly_or_refused(
    tmp_path_factory, kinds, data
):
    place = tmp_path_factory.mktemp("types")
    values = []
    for number, kind in enumerate(kinds):
        dtype = np.dtype(kind)
        if dtype.kind == "f":
            value = data.draw(st.floats(width=dtype.itemsize * 8, allow_nan=False))
        else:
            info = np.iinfo(dtype)
            value = data.draw(st.integers(int(info.min), int(info.max)))
        values.append(np.array([value], dtype))
        netcdf(place / "p" / f"{number}.nc", xr.Dataset({"n": ("x", values[-1])}))
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    if not any(
        all(holds(np.dtype(wanted), np.dtype(kind)) for kind in kinds)
        for wanted in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    ):
        with pytest.raises(DeliveryError, match="no type holds both exactly"):
            deliver(session, pipeline(**CUT), place)
        return
    deliver(session, pipeline(**CUT), place)
    found = stored(session, "item")["n"].values[:, 0].tolist()
    assert found == [value.item() for value in values]


def test_a_type_that_is_declared_is_taken_and_a_value_out_of_reach_refused(
    tmp_path, session
):
    netcdf(tmp_path / "p" / "a.nc", xr.Dataset({"n": ("x", np.array([1], "i8"))}))
    netcdf(tmp_path / "p" / "b.nc", xr.Dataset({"n": ("x", np.array([0.5], "f8"))}))
    with pytest.raises(DeliveryError, match=r"declare one type for all: 'dtypes: \{n"):
        deliver(session, pipeline(**CUT), tmp_path)
    declared = pipeline(**CUT, dtypes=(("n", "float64"),))
    deliver(session, declared, tmp_path)
    assert stored(session, "item")["n"].values.tolist() == [[1.0], [0.5]]
    netcdf(tmp_path / "p" / "a.nc", xr.Dataset({"n": ("x", np.array([2**53 + 1]))}))
    with pytest.raises(DeliveryError, match="9007199254740993"):
        deliver(session, declared, tmp_path)


def test_a_later_delivery_does_not_change_the_type_of_a_product(tmp_path, session):
    for place, kind in (("one", "i2"), ("two", "u1"), ("three", "i4")):
        content = xr.Dataset({"n": ("x", np.array([7], kind))})
        netcdf(tmp_path / place / "p" / f"{place}.nc", content)
    definition = pipeline(**CUT)
    deliver(session, definition, tmp_path / "one")
    deliver(session, definition, tmp_path / "two")
    with pytest.raises(
        DeliveryError, match="is of type int32, but int16 in the product"
    ):
        deliver(session, definition, tmp_path / "three")
    assert stored(session, "item")["n"].values.tolist() == [[7], [7]]


def test_other_units_are_refused_by_name(tmp_path, session):
    for name, units in (("a", "K"), ("b", "degC")):
        content = xr.Dataset({"sst": ("x", [280.5], {"units": units})})
        netcdf(tmp_path / "p" / f"{name}.nc", content)
    with pytest.raises(DeliveryError, match=r"p/b\.nc.*units 'degC'.*'K'"):
        deliver(session, pipeline(**CUT), tmp_path)


# What differs from file to file


def test_what_each_file_says_of_itself_is_kept_with_its_item(tmp_path, session):
    times = np.array(["2026-01-01T11:57:03.25", "2026-01-02T12:02:41.75"], "M8[ns]")
    for number, time in enumerate(times):
        content = xr.Dataset(
            {"sst": (("time", "lat"), [[280.0 + number, 281]])},
            coords={"time": [time]},
            attrs={"orbit": 100 + number},
        )
        netcdf(tmp_path / "p" / f"{number}.nc", content)
    definition = pipeline(files=r"(.+)\.nc", reader="netcdf", subtask="time")
    deliver(session, definition, tmp_path)
    layout = read_layout(session, "p", "time")
    for number, time in enumerate(times):
        item = read_slice(layout, session, slice(number, number + 1))
        assert item.attrs["orbit"] == 100 + number
        assert item["time_of_file"].values.tolist() == [time.astype(int)]
        assert item["time"].values.tolist() == [str(number)]


LEVELS = {"files": r"(.+)\.nc", "reader": "netcdf", "subtask": "time"}


@pytest.mark.parametrize("as_dimension", [True, False])
def test_what_a_file_says_of_its_own_label_is_kept_whatever_it_is(
    tmp_path, session, as_dimension
):
    dims = ("time",) if as_dimension else ()
    own = xr.Variable(dims, np.full((1,) * len(dims), 7), {"long_name": "orbit"})
    content = xr.Dataset({"v": ((*dims, "x"), np.ones((1,) * len(dims) + (2,)))})
    netcdf(tmp_path / "p" / "7.nc", content.assign_coords(time=own))
    deliver(session, pipeline(**LEVELS), tmp_path)
    found = stored(session, "time")
    assert found["time"].values.tolist() == ["7"]
    assert found["time_of_file"].values.tolist() == [7]
    assert found["time_of_file"].attrs == {"long_name": "orbit"}
    assert "time_of_file" in found.coords


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"time": ((), 5.0), "time_of_file": ("x", [1.0, 2.0])},
            "would be kept as 'time_of_file', but it has one of that name, too",
        ),
        ({"time": ((), 5.0), "w": ("time_of_file", [1.0])}, "one of that name, too"),
        ({"time": ("x", [1.0, 2.0])}, "a variable 'time' along 'x'"),
        ({"time": ("x", [1.0])}, "a variable 'time' along 'x'"),
    ],
)
def test_names_that_we_would_make_up_are_refused_where_a_file_has_them(
    tmp_path, session, content, words
):
    netcdf(tmp_path / "p" / "a.nc", xr.Dataset({"v": ("y", [1.0]), **content}))
    with pytest.raises(DeliveryError) as caught:
        deliver(session, pipeline(**LEVELS), tmp_path)
    assert "p/a.nc" in str(caught.value)
    assert words in str(caught.value)
    assert "p" not in zarr.open_group(session.store, mode="r")


# Series of files


def years(directory, count=4, start=1990):
    """Files of twelve months each, as Earth observation has them."""
    made = []
    for year in range(start, start + count):
        time = np.arange(f"{year}-01", f"{year + 1}-01", dtype="M8[M]").astype("M8[ns]")
        values = np.arange(24.0).reshape(12, 2) + 100 * year
        content = xr.Dataset(
            {"t": (("time", "x"), values, {"units": "K"})},
            coords={"time": ("time", time, {"long_name": "month"}), "x": [5, 6]},
            attrs={"title": "reanalysis"},
        )
        netcdf(directory / "p" / f"{year % 7}-{year}.nc", content)
        made.append(content)
    return xr.concat(made, "time")


def test_yearly_files_are_one_product_along_time_in_order(tmp_path, session):
    expected = years(tmp_path)
    definition = pipeline(**SERIES, chunk=12)
    assert deliver(session, definition, tmp_path) == ()
    xr.testing.assert_identical(stored(session, "time"), expected)


def test_a_later_year_is_added_and_one_that_comes_again_replaced(tmp_path, session):
    expected = years(tmp_path / "one", 2)
    definition = pipeline(**SERIES, chunk=12)
    deliver(session, definition, tmp_path / "one")
    more = years(tmp_path / "two", 2, start=1991)
    deliver(session, definition, tmp_path / "two")
    whole = xr.concat([expected.isel(time=slice(12)), more], "time")
    xr.testing.assert_identical(stored(session, "time"), whole)
    years(tmp_path / "three", 1, start=1980)
    (told,) = deliver(session, definition, tmp_path / "three")
    assert "they are not in order along 'time'" in told


def test_overlaps_are_refused_and_gaps_told(tmp_path, session):
    years(tmp_path / "gap", 4)
    (tmp_path / "gap" / "p" / f"{1992 % 7}-1992.nc").unlink()
    (told,) = deliver(session, pipeline(**SERIES), tmp_path / "gap")
    assert told.startswith("'p': gaps between its items: 1991-12-01T00:00")
    years(tmp_path / "double", 2)
    (first, _) = sorted((tmp_path / "double" / "p").iterdir())
    first.with_name("again.nc").write_bytes(first.read_bytes())
    with pytest.raises(DeliveryError, match=r"overlap: both have 199.* and 9 more"):
        deliver(session, pipeline(**SERIES), tmp_path / "double")


def test_a_file_of_a_series_without_labels_is_refused(tmp_path, session):
    netcdf(tmp_path / "p" / "a.nc", xr.Dataset({"t": ("time", [1.0])}))
    netcdf(tmp_path / "p" / "b.nc", xr.Dataset({"t": ("x", [1.0])}))
    with pytest.raises(DeliveryError) as caught:
        deliver(session, pipeline(**SERIES), tmp_path)
    assert "'p/a.nc': it has no coordinate 'time'" in str(caught.value)
    assert "'p/b.nc' has no dimension 'time'" in str(caught.value)


def test_one_file_can_hold_all_items(tmp_path, session):
    content = xr.Dataset(
        {"v": (("time", "x"), np.random.default_rng(1).random((200, 3)))},
        coords={"time": np.arange(200) * 2},
    )
    netcdf(tmp_path / "p" / "all.nc", content)
    deliver(session, pipeline(**SERIES, chunk=7), tmp_path)
    xr.testing.assert_identical(stored(session, "time"), content)


# Containers and readers of one's own


def test_a_tree_of_groups_is_an_item_of_a_collection(tmp_path, session):
    tree = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"title": "level 2"}),
            "/left": xr.Dataset({"ssha": ("n", [0.1, 0.2])}),
            "/right/deep": xr.Dataset({"ssha": ("n", [0.3])}, attrs={"k": 1}),
        }
    )
    (tmp_path / "p").mkdir()
    tree.to_netcdf(tmp_path / "p" / "a.nc", engine="h5netcdf")
    definition = pipeline(
        kind=z.ProductKind.COLLECTION,
        files=r"(.+)\.nc",
        reader="netcdf",
        reader_options=(("groups", "all"),),
    )
    deliver(session, definition, tmp_path)
    found = read_dataset_item(session, "p", "a")
    xr.testing.assert_identical(found, tree)


def test_a_directory_of_zarr_is_one_file(tmp_path, session):
    content = xr.Dataset({"v": ("x", [1.5, np.nan])}, coords={"x": [3, 1]})
    for version in (2, 3):
        content.to_zarr(
            tmp_path / "p" / f"{version}.zarr", zarr_format=version, consolidated=False
        )
    definition = pipeline(
        kind=z.ProductKind.COLLECTION, files=r"(.+)\.zarr", reader="zarr"
    )
    deliver(session, definition, tmp_path)
    for version in (2, 3):
        xr.testing.assert_identical(
            read_dataset_item(session, "p", str(version)), content
        )


def test_a_reader_that_returns_lazy_data_stores_all_of_them(
    tmp_path, session, monkeypatch
):
    monkeypatch.syspath_prepend(install_readers(tmp_path / "installed"))
    values = np.arange(1.0, 1_000_001).reshape(1000, 1000)
    for kind in ("collection", "array", "whole"):
        place = tmp_path / kind
        (place / "p").mkdir(parents=True)
        (place / "p" / "a.dat").write_text(kind)
        options = {
            "collection": {"kind": z.ProductKind.COLLECTION},
            "array": {"subtask": "item"},
            "whole": {},
        }
        definition = pipeline(files=r"(.+)\.dat", reader="lazy", **options[kind])
        repository = icechunk.Repository.create(icechunk.in_memory_storage())
        session = repository.writable_session("main")
        zarr.create_group(session.store)
        deliver(session, definition, place)
        where = "p/a" if kind == "collection" else "p"
        found = open_dataset(session, where)["v"].values.reshape(1000, 1000)
        np.testing.assert_array_equal(found, values)


def test_files_that_end_the_process_that_reads_are_named_and_few_are_tried(
    tmp_path, session, monkeypatch
):
    monkeypatch.syspath_prepend(install_readers(tmp_path / "installed"))
    place = tmp_path / "delivery"
    (place / "p").mkdir(parents=True)
    mark = tmp_path / "mark"
    for number in range(6):
        (place / "p" / f"{number}.dat").write_text(
            f"open({str(mark)!r}, 'a').write('{number}'); os.kill(os.getpid(), 11)"
        )
    definition = pipeline(files=r"(.+)\.dat", reader="does", subtask="item")
    with pytest.raises(DeliveryError) as caught:
        deliver(session, definition, place)
    assert mark.read_text() == "012"
    assert list(caught.value.faults) == [f"p/{number}.dat" for number in range(6)]
    for number, fault in enumerate(caught.value.faults.values()):
        assert ("was not tried" if number > 2 else "crashed the process") in fault


# Labels of other types


def labelled(directory, *deliveries):
    """Write files f0.nc, f1.nc ..., each with the labels that are given."""
    for number, labels in enumerate(deliveries):
        values = np.arange(len(labels)) + 10.0 * number
        content = xr.Dataset({"v": ("time", values)}, coords={"time": labels})
        netcdf(directory / "p" / f"f{number}.nc", content)


EXACT = {
    "whole numbers": (np.array([2**60 + 1], "i8"), np.array([2**60 + 7], "u8"), "i8"),
    "whole and broken": (np.array([2.0**53]), np.array([2**53 + 1], "i8"), "i8"),
    "small": (np.array([1], "i2"), np.array([2.5], "f4"), "f4"),
}
INEXACT = {
    "past both": (np.array([-1], "i8"), np.array([2**63], "u8")),
    "whole and broken": (np.array([2**53 + 1], "i8"), np.array([2.0**54, 2.0**70])),
    "numbers and times": (np.array([1], "i8"), np.array(["2020"], "M8[ns]")),
    "numbers and text": (np.array([1], "i8"), np.array(["1"])),
}


@pytest.mark.parametrize("case", EXACT)
def test_labels_of_several_types_are_kept_exactly(tmp_path, session, case):
    one, other, dtype = EXACT[case]
    labelled(tmp_path, one, other)
    deliver(session, pipeline(**SERIES), tmp_path)
    found = stored(session, "time")
    expected = np.concatenate([one.astype(dtype), other.astype(dtype)])
    assert found["time"].dtype == expected.dtype
    assert found["time"].values.tolist() == expected.tolist()
    assert found["v"].values.tolist() == [0, 10]


@pytest.mark.parametrize("case", INEXACT)
def test_labels_that_no_type_holds_are_refused_by_name(tmp_path, session, case):
    labelled(tmp_path, *INEXACT[case])
    with pytest.raises(DeliveryError) as caught:
        deliver(session, pipeline(**SERIES), tmp_path)
    assert list(caught.value.faults) == ["p/f1.nc"]
    assert "labels its items by" in str(caught.value)
    assert "'p/f0.nc' has" in str(caught.value)


def test_a_later_delivery_with_labels_of_another_type_finds_the_same_items(
    tmp_path, session
):
    ids = 5853498713190525696 + 4 * np.arange(3)
    labelled(tmp_path / "one", ids)
    deliver(session, pipeline(**SERIES), tmp_path / "one")
    labelled(tmp_path / "two", np.array([ids[1], ids[2] + 1], "u8"))
    deliver(session, pipeline(**SERIES), tmp_path / "two")
    found = stored(session, "time")
    assert found["time"].dtype == np.dtype("i8")
    assert found["time"].values.tolist() == [*ids.tolist(), int(ids[2]) + 1]
    assert found["v"].values.tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([2**53 + 1, 2**53 + 3], "i8"), np.array([0.5, 1.5])),
        (np.array([1.0, 2.0**53]), np.array([2**53 + 1], "i8")),
        (np.array(["2020"], "M8[ns]"), np.array([5], "i8")),
        (np.array([1], "i8"), np.array(["2"])),
        (np.array(["1"]), np.array([2], "i8")),
    ],
)
def test_labels_that_a_product_can_not_hold_are_refused_and_change_nothing(
    tmp_path, session, one, other
):
    labelled(tmp_path / "one", one)
    deliver(session, pipeline(**SERIES), tmp_path / "one")
    before = stored(session, "time").load()
    labelled(tmp_path / "two", other)
    with pytest.raises(DeliveryError) as caught:
        deliver(session, pipeline(**SERIES), tmp_path / "two")
    assert list(caught.value.faults) == ["p/f0.nc"]
    assert "where the product has" in str(caught.value)
    xr.testing.assert_identical(stored(session, "time"), before)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_an_item_of_a_series_without_a_label_is_refused(missing):
    labels = np.array(["a", missing, "c"], dtype=object)
    piece = xr.Dataset({"v": ("time", [1, 2, 3])}, coords={"time": labels})
    with pytest.raises(
        DeliveryError, match="1 of its 3 items have no label .* place 1"
    ):
        as_labels(piece, "time")


def test_bytes_are_no_labels():
    labels = np.array([b"a", b"c"], dtype=object)
    piece = xr.Dataset({"v": ("time", [1, 2])}, coords={"time": labels})
    with pytest.raises(DeliveryError, match="'time' holds bytes"):
        as_labels(piece, "time")


def tables(directory, *texts):
    (directory / "p").mkdir(parents=True)
    for number, text in enumerate(texts):
        (directory / "p" / f"{number}.csv").write_text(text)


TABLES = {"files": r".+\.csv", "reader": "csv", "subtask": "time"}


def test_times_out_of_reach_of_nanoseconds_are_kept_or_refused(tmp_path, session):
    tables(tmp_path / "both", "2020-01-01,1\n", "3000-01-01,2\n")
    deliver(session, pipeline(**TABLES), tmp_path / "both")
    found = stored(session, "time")
    days = found["time"].values.astype("M8[D]").astype(str)
    assert days.tolist() == ["2020-01-01", "3000-01-01"]


def test_a_later_time_that_a_product_can_not_hold_is_refused(tmp_path, session):
    tables(tmp_path / "one", "2020-01-01,1\n")
    deliver(session, pipeline(**TABLES), tmp_path / "one")
    assert stored(session, "time")["time"].dtype == np.dtype("M8[ns]")
    tables(tmp_path / "two", "3000-01-01,2\n")
    with pytest.raises(DeliveryError, match=r"the label 3000-01-01.* datetime64\[ns\]"):
        deliver(session, pipeline(**TABLES), tmp_path / "two")


def test_numbers_that_readers_take_for_several_types_stay_apart(tmp_path, session):
    ids = [2**53 - 2, 2**53 - 1, 2**53 + 1, 2**53 + 3]
    lines = [f"{one},{number}\n" for number, one in enumerate(ids)]
    tables(tmp_path, "".join(lines[:2]), "".join(lines[2:]))
    deliver(session, pipeline(**TABLES), tmp_path)
    found = stored(session, "time")
    assert [int(label) for label in found["time"].values] == ids
    assert found["flux"].values.tolist() == [0, 1, 2, 3]


# Only what was checked


def swap(path):
    """Put a link in the place of a file, as somebody could between check and store."""
    secret = path.parents[2] / "secret"
    secret.write_text("1,666\n")
    path.unlink()
    path.symlink_to(secret)


def rewrite(path):
    path.write_text("1,666\n")


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("act", [swap, rewrite, replace_by_pipe])
@pytest.mark.parametrize("kind", [z.ProductKind.COLLECTION, z.ProductKind.FILE])
def test_what_is_changed_after_the_check_is_not_stored(tmp_path, session, act, kind):
    directory = tmp_path / "delivery"
    path = directory / "p" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text("1,2\n")
    reader = "csv" if kind is z.ProductKind.COLLECTION else "bytes"
    definition = pipeline(kind=kind, files=r"(.+)\.csv", reader=reader)
    manifest = generate_manifest(directory, 1)
    found = validate(directory, manifest)
    act(path)
    with pytest.raises(DeliveryError, match=r"a\.csv"):
        store_delivery(
            lambda _: session,
            definition,
            directory,
            sort_files(definition, ["p/a.csv"]),
            origin={},
            today=datetime.date(2026, 1, 1),
            identities={file.name: file.identity for file in found.files},
        )


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [0.5, 1.5]),
        (pd.to_datetime(["2026", "2027"]), pd.to_datetime(["2026", "2027"], utc=True)),
        (
            pd.to_datetime(["2026", "2027"]).tz_localize("Asia/Tokyo"),
            pd.to_datetime(["2026", "2027"], utc=True),
        ),
        (pd.Categorical(["a", "b"]), pd.Categorical(["b", "c"])),
        (pd.array([True, None], "boolean"), [1, 0]),
    ],
)
def test_types_of_pandas_that_differ_between_files_are_refused_by_name(
    tmp_path, session, together, one, other
):
    definition = pipeline(files=r".+\.parquet", reader="parquet", subtask="time")
    places = [tmp_path / ("a" if together else name) / "p" for name in "ab"]
    for place, values, years in zip(places, (one, other), (2026, 2028), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        time = pd.to_datetime([f"{years}", f"{years + 1}"]).rename("time")
        table = pd.DataFrame({"v": values}, index=time)
        table.to_parquet(place / f"{years}.parquet")
    if not together:
        deliver(session, definition, tmp_path / "a")
    with pytest.raises(DeliveryError, match="variable 'v'") as caught:
        deliver(session, definition, places[1].parent)
    assert "p/2028.parquet" in caught.value.faults


def test_a_series_of_tables_of_pandas_types_is_stored_as_it_is(tmp_path, session):
    (tmp_path / "p").mkdir()
    definition = pipeline(files=r".+\.parquet", reader="parquet", subtask="time")
    values = pd.array([1, None, 3, 2**60 + 1], "Int64")
    time = pd.to_datetime(["2026", "2027", "2028", "2029"]).rename("time")
    whole = pd.DataFrame({"v": values}, index=time)
    whole[:2].to_parquet(tmp_path / "p" / "a.parquet")
    whole[2:].to_parquet(tmp_path / "p" / "b.parquet")
    deliver(session, definition, tmp_path)
    found = stored(session, "time")["v"]
    assert str(found.dtype) == "Int64"
    told = pd.Series(values_of(found.variable))
    pd.testing.assert_series_equal(told, pd.Series(values))
