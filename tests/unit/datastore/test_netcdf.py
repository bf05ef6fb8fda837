"""NetCDF files of everything that the datastore can hold."""

import datetime
import json
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.unit.datastore.exactness import differences
from ziggy_dask.datastore.attributes import to_json
from ziggy_dask.datastore.netcdf import open_exported, write_netcdf, write_zarr
from ziggy_dask.datastore.readers import open_file
from ziggy_dask.errors import DatastoreError, DeliveryError

text = st.text(st.characters(codec="utf-8"), max_size=8)
names = text | st.sampled_from(
    [
        *("a/b", "..", ".", "zarr.json", "NAME", "_FillValue", "units", "coordinates"),
        "x y",
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | text
    | st.binary(max_size=5)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(
        [np.float32(1.5), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1)]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=2)
    ),
) | npst.arrays(
    st.sampled_from(["i4", "f8", "?", "U3", "S2", "M8[s]", ">f4"]),
    st.sampled_from([(), (0,), (1,), (3,), (2, 2)]),
)
attributes = st.dictionaries(names, values, max_size=4)
DTYPES = [
    *("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", ">i4", ">f8"),
    *("M8[s]", "M8[ns]", "m8[ms]", "U4", "S3"),
]


@st.composite
def datasets(draw):
    """Draw Datasets of all types that can be stored."""
    sizes = draw(st.dictionaries(names, st.integers(0, 3), min_size=1, max_size=3))
    variables = {}
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        dims = draw(st.lists(st.sampled_from(sorted(sizes)), unique=True, max_size=2))
        if name in sizes:
            dims = [name]
        shape = tuple(sizes[dim] for dim in dims)
        kind = draw(st.sampled_from([*DTYPES, "T", "O"]))
        if kind in "TO":
            of = text if kind == "T" else text | st.none()
            flat = draw(
                st.lists(of, min_size=math.prod(shape), max_size=math.prod(shape))
            )
            made = np.array([*flat, None], dtype=object)[:-1]
            made = made.astype(np.dtypes.StringDType()) if kind == "T" else made
            made = made.reshape(shape)
        else:
            made = draw(npst.arrays(kind, shape, elements=text_of(kind)))
        variables[name] = xr.Variable(dims, made, draw(attributes))
    coords = draw(st.sets(st.sampled_from(sorted(variables)), max_size=2))
    coords |= {name for name in variables if name in sizes}
    data = {name: one for name, one in variables.items() if name not in coords}
    held = xr.Coordinates({name: variables[name] for name in coords}, indexes={})
    return xr.Dataset(data, coords=held, attrs=draw(attributes))


def text_of(kind):
    """Return what NumPy's text of fixed width keeps: nothing that ends in NUL."""
    if kind[0] == "U":
        return st.text(
            st.characters(codec="utf-8", exclude_characters="\0"), max_size=4
        )
    return None


@pytest.mark.filterwarnings("ignore:.*float16.*:FutureWarning")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets())
def test_what_is_exported_comes_back_as_it_was(tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("out") / "a.nc"
    write_netcdf(dataset, path, {"instance": 3})
    with open_exported(path) as found:
        require_same(dataset, found.load())
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as plain:
        assert json.loads(plain.attrs["ziggy"])["instance"] == 3


def require_same(dataset, found):
    """Compare all but the indexes, which only some coordinates have."""
    assert set(found.variables) == set(dataset.variables)
    assert set(found.coords) == set(dataset.coords)
    assert to_json(found.attrs) == to_json(dict(dataset.attrs))
    for name, variable in dataset.variables.items():
        other = found.variables[name]
        assert other.dims == variable.dims
        assert other.dtype == variable.dtype
        assert to_json(dict(other.attrs)) == to_json(dict(variable.attrs))
        assert to_json(other.values) == to_json(variable.values)


def test_programs_hand_back_exactly_what_they_were_given(tmp_path):
    dataset = xr.Dataset(
        {
            "dT/dt": ("time", [1.5, np.nan], {"checked": True, "NAME": None}),
            "text": ("time", np.array(["a", None], dtype=object)),
            "flag": ("time", [True, False]),
            "half": ("time", np.array([1, 2], "f2")),
        },
        coords={"time": np.array(["1600-01-01", "NaT"], "M8[s]"), "x y": 3},
        attrs={
            "gain": np.float32(0.1),
            "limits": np.array([np.nan, 1], "f4"),
            "counts": np.arange(3, dtype="i2"),
            "id": np.uint64(2**64 - 1),
        },
    )
    write_netcdf(dataset, tmp_path / "a.nc")
    write_zarr(dataset, tmp_path / "a.zarr")
    for kind in ("nc", "zarr"):
        reader = {"nc": "netcdf", "zarr": "zarr"}[kind]
        with open_file(reader, tmp_path / f"a.{kind}") as reading:
            require_same(dataset, reading.content.load())


def test_names_that_we_make_up_give_way_to_those_that_are_there(tmp_path):
    clashing = {"NAME__": 3, "NAME": 1, "NAME_": 2, "grid_mapping_": "mine"}
    dataset = xr.Dataset(
        {
            "v": ("a/b", [1], {**clashing, "grid_mapping": "crs"}),
            "w": ("a%2Fb", [2, 3], {**clashing, "grid_mapping": "none"}),
            "dT/dt": ("string2", [1, 2, 3]),
            "dT%2Fdt": ("x", np.array([b"ab"])),
        },
        coords={"crs": 0},
        attrs=clashing | {"ziggy": "mine", "ziggy_": 1},
    )
    write_netcdf(dataset, tmp_path / "a.nc")
    write_zarr(dataset, tmp_path / "a.zarr")
    for reader, name in (("netcdf", "a.nc"), ("zarr", "a.zarr")):
        with open_file(reader, tmp_path / name) as reading:
            require_same(dataset, reading.content.load())
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as plain:
        assert plain["v"].attrs["grid_mapping"] == "crs"


def test_a_group_that_was_added_to_what_we_wrote_is_not_dropped(tmp_path):
    made = xr.Dataset({"flux": ("x", [1.0, 2.0], {"ok": True})})
    write_netcdf(made, tmp_path / "a.nc")
    made["flux"].attrs.clear()
    made.to_netcdf(tmp_path / "a.nc", mode="a", group="more", engine="h5netcdf")
    made["flux"].attrs["ok"] = True
    with (
        pytest.raises(DeliveryError, match="groups that would not be read: /more"),
        open_file("netcdf", tmp_path / "a.nc"),
    ):
        pass
    with open_file("netcdf", tmp_path / "a.nc", {"other_parts": "warn"}) as reading:
        assert reading.warnings == ("groups not read: /more",)
        require_same(made, reading.content.load())


@pytest.mark.parametrize("change", ["packed", "times", "attribute"])
def test_what_others_changed_counts_as_it_is_now(tmp_path, change):
    times = np.array(["2020-01-01", "2020-01-02"], "M8[s]")
    made = xr.Dataset({"flux": ("time", [1.0, 2.0], {"ok": True})}, {"time": times})
    write_netcdf(made, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as opened:
        other = opened.load()
    encoding = {}
    if change == "packed":
        encoding = {"flux": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}}
    elif change == "times":
        encoding = {"time": {"units": "hours since 2000-01-01", "dtype": "i4"}}
    else:
        other["flux"].attrs["ok"] = 0
    other.to_netcdf(tmp_path / "b.nc", engine="h5netcdf", encoding=encoding)
    with open_exported(tmp_path / "b.nc") as found:
        np.testing.assert_array_equal(found["flux"], made["flux"])
        np.testing.assert_array_equal(found["time"], made["time"])
        assert found["flux"].attrs["ok"] == (change != "attribute")


def test_other_programs_see_values_and_times(tmp_path):
    times = np.array(["1600-01-01", "NaT"], "M8[s]")
    dataset = xr.Dataset(
        {
            "dT/dt": ("time", [1.5, np.nan], {"units": "K/s", "checked": True}),
            "seen": ("time", [True, False]),
            "name": ("time", np.array(["a", None], dtype=object)),
            "null": ("time", pd.array([1, None], dtype="Int64")),
        },
        coords={"time": times},
        attrs={"made": datetime.date(2024, 2, 3)},
    )
    write_netcdf(dataset, tmp_path / "a.nc")
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    with xr.open_dataset(
        tmp_path / "a.nc", engine="h5netcdf", decode_times=coder
    ) as seen:
        np.testing.assert_array_equal(seen["dT%2Fdt"], [1.5, np.nan])
        assert seen["dT%2Fdt"].attrs == {"units": "K/s", "checked": 1}
        np.testing.assert_array_equal(seen["time"], times)
        assert seen["seen"].dtype == bool
        assert seen["name"].values[0] == "a"
        np.testing.assert_array_equal(seen["null"], [1, np.nan])
        assert seen.attrs["made"] == "2024-02-03"


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        (
            ("x", np.array([{}, []], dtype=object)),
            "variable 'odd' is an array of objects",
        ),
        (("x", np.zeros(2, "i4,f8")), "variable 'odd' is of a structured type"),
        (("x", np.zeros(2, "g")), "variable 'odd' is of type"),
    ],
)
def test_what_can_t_be_written_is_named_and_the_old_file_stays(
    tmp_path, variable, told
):
    path = tmp_path / "a.nc"
    write_netcdf(xr.Dataset({"a": 1}), path)
    before = path.read_bytes()
    with pytest.raises(DatastoreError, match=told):
        write_netcdf(xr.Dataset({"odd": variable}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_half_way_leaves_nothing(tmp_path):
    class Broken(xr.backends.BackendArray):
        shape, dtype = (3,), np.dtype("f8")

        def __getitem__(self, key):
            raise OSError("the disk is gone")

    lazy = xr.core.indexing.LazilyIndexedArray(Broken())
    dataset = xr.Dataset({"a": ("x", [1.0, 2.0, 3.0]), "b": ("x", lazy)})
    with pytest.raises(OSError, match="the disk is gone"):
        write_netcdf(dataset, tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def test_large_variables_are_written_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("ziggy_dask.datastore.netcdf.LARGE_BYTES", 4000)
    monkeypatch.setattr("ziggy_dask.datastore.blocks.LARGE_BYTES", 4000)
    dataset = xr.Dataset(
        {
            "flux": (("time", "x"), np.random.default_rng(1).random((100, 50))),
            "when": ("time", np.arange(1000, 1100).astype("M8[s]")),
        }
    )
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    most = []
    read = xr.backends.h5netcdf_.H5NetCDFArrayWrapper._getitem

    def noted(self, key):
        found = read(self, key)
        most.append(found.nbytes)
        return found

    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as lazy:
        monkeypatch.setattr(
            xr.backends.h5netcdf_.H5NetCDFArrayWrapper, "_getitem", noted
        )
        write_netcdf(lazy, tmp_path / "b.nc")
    assert max(most) <= 4000
    with open_exported(tmp_path / "b.nc") as found:
        xr.testing.assert_equal(found.load(), dataset)


def test_other_programs_find_the_grid_mapping(tmp_path):
    attrs = {"grid_mapping_name": "latitude_longitude"}
    dataset = xr.Dataset(
        {"sst": ("x", [1.0, 2.0], {"grid_mapping": "crs"}), "crs": ((), 7, attrs)}
    )
    file = write_netcdf(dataset, tmp_path / "sst.nc")
    with xr.open_dataset(file, engine="h5netcdf") as seen:
        assert seen["sst"].attrs["grid_mapping"] == "crs"
    xr.testing.assert_identical(open_exported(file).load(), dataset)


@pytest.mark.parametrize("own", [None, "", "made by hand\nand foot", 7])
def test_a_line_of_history_is_added_and_taken_away_again(tmp_path, own):
    origin = {
        "product": "a/b",
        "node": "flip",
        "unit": "[a]",
        "published": "2026-11-30",
    }
    dataset = xr.Dataset(
        {"x": ("t", [1.0, 2.0])}, attrs={"z": 1, "history": own, "a": 2}
    )
    if own is None:
        del dataset.attrs["history"]
    path = write_netcdf(dataset, tmp_path / "a.nc", origin)
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        lines = str(plain.attrs["history"]).splitlines()
    if own == 7:
        assert lines == ["7"]
    else:
        assert lines[0].startswith("2026-11-30 ziggy-dask: a/b by flip [a]")
        assert lines[1:] == (own or "").splitlines()
    again = open_exported(path)
    assert again.load().identical(dataset)
    assert list(again.attrs) == list(dataset.attrs)
    again.close()


def test_text_of_numpy_among_attributes_is_exported_and_comes_back(tmp_path):
    attrs = {"star": np.array(["Vega"])[0], "bands": [np.str_("u"), "g"]}
    given = xr.Dataset({"v": ("x", [1.0], attrs)}, attrs=attrs)
    write_netcdf(given, tmp_path / "a.nc")
    found = open_exported(tmp_path / "a.nc")
    assert differences(given, found.load()) == []
    found.close()


@pytest.mark.parametrize("reader", ["netcdf", "zarr"])
def test_missing_text_is_none_where_it_was_none(tmp_path, reader):
    values = np.array(["a", None, "b", np.nan], dtype=object)
    text = xr.Variable(("x",), values, fastpath=True)  # xarray would make NaN of None
    write = write_netcdf if reader == "netcdf" else write_zarr
    write(xr.Dataset({"v": text}), tmp_path / "a")
    with open_file(reader, tmp_path / "a") as reading:
        found = reading.content["v"].values.tolist()
    assert found[:3] == ["a", None, "b"]
    assert np.isnan(found[3])
