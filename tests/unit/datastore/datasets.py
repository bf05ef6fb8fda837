"""Strategies for Datasets as users make them, and as nobody would."""

from __future__ import annotations

import datetime
import warnings
from decimal import Decimal

import cftime
import hypothesis.extra.numpy as npst
import numpy as np
import pandas as pd
import xarray as xr
import xarray.testing.strategies as xrst
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_ODD_NAMES = (
    *("flux", "x", "A", "a", "c", "ø", "", " ", ".", "..", "zarr.json", ".zattrs"),
    *("dT/dt", "wind speed (m/s)", "a%2Fb", "a\\b", "__a", "ziggy", "coordinates"),
    *("NO2/strat", "../x", "x.", "c/0", "/", "time", "item", "ziggy_encoding", "%"),
)
_ODD_ATTRIBUTES = (
    *("units", "long_name", "_FillValue", "missing_value", "scale_factor", "dtype"),
    *("add_offset", "calendar", "coordinates", "ziggy", "ziggy_encoding", "$"),
    *("_ARRAY_DIMENSIONS", "_Unsigned", "_Encoding", "grid_mapping", "positive"),
    *("NAME", "NAME_", "ziggy_name", "grid_mapping_"),
)
NAMES = st.one_of(
    st.sampled_from(_ODD_NAMES), st.sampled_from(_ODD_NAMES), TEXT, xrst.names()
)
LABELS = st.one_of(
    st.sampled_from(["a", "EPIC 2013", "1+12", "zarr.json", "..", "c", "x y", "a%2Fb"]),
    TEXT,
).filter(lambda name: name and not {"/", "\0"} & set(name))
"""Names that a file may have, and thus an item that is delivered."""
ATTRIBUTE_NAMES = st.one_of(st.sampled_from(_ODD_ATTRIBUTES), TEXT)
_YEAR_1600 = datetime.datetime(1600, 1, 1)  # noqa: DTZ001 - as arrays have them
_NUMBERS = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    npst.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    st.sampled_from([f"M8[{unit}]" for unit in ("s", "ms", "us", "ns")]).map(np.dtype),
    st.sampled_from([f"m8[{unit}]" for unit in ("s", "ms", "us", "ns")]).map(np.dtype),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.dates(),
    st.datetimes(timezones=st.one_of(st.none(), st.timezones())),
    st.sampled_from(["days since 2009-01-01", "m/s", "days since launch", "seconds"]),
    _NUMBERS.flatmap(npst.from_dtype),
    _NUMBERS.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(max_side=2))),
    st.sampled_from([np.array(["a", "bb"]), np.array([b"a"]), datetime.timedelta(1)]),
    st.sampled_from([{1, 2}, object, np.zeros(1, "g"), np.zeros(1, [("a", "i2")])]),
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
    max_leaves=4,
)
ATTRS = st.dictionaries(ATTRIBUTE_NAMES, VALUES, max_size=3)


@st.composite
def arrays(draw, shape):
    """Return an array of any type, most of which can be stored."""
    plain = ["number"] * 6 + ["time"] * 2 + ["text"] * 3 + ["letters", "structured"]
    kind = draw(st.sampled_from(plain + list(_OBJECTS)))
    if kind == "structured":
        return np.zeros(shape, [("ra", "f8"), ("dec", "f4")])
    if kind == "letters":
        return draw(npst.arrays("S1", shape))
    if kind == "time":
        times = st.datetimes(_YEAR_1600).map(np.datetime64)
        unit = draw(st.sampled_from(["s", "ms", "us"]))
        elements = times | st.just(np.datetime64("NaT"))
        found = draw(npst.arrays("M8[us]", shape, elements=elements))
        return found.astype(f"M8[{unit}]")
    if kind == "number":
        dtype = draw(_NUMBERS)
        return draw(npst.arrays(dtype, shape, elements=npst.from_dtype(dtype)))
    if kind == "text":
        dtype = draw(
            st.one_of(
                npst.unicode_string_dtypes(max_len=4),
                npst.byte_string_dtypes(max_len=4),
            )
        )
        return draw(npst.arrays(dtype, shape))
    return _objects(draw, kind, shape)


_MISSING = st.sampled_from([None, np.nan, pd.NA, pd.NaT])
_CALENDARS = st.sampled_from(
    [
        *(cftime.Datetime360Day, cftime.DatetimeNoLeap, cftime.DatetimeAllLeap),
        *(cftime.DatetimeJulian, cftime.DatetimeGregorian),
        cftime.DatetimeProlepticGregorian,
    ]
)
_UNSTORABLE = st.sampled_from([Decimal("0.1"), {"a": 1}, pd.Interval(0, 1), (1, 2), 3])
_OBJECTS = {
    "string": TEXT,
    "missing text": st.one_of(TEXT, _MISSING, st.sampled_from(["", "\0", "\0NaN"])),
    "bytes": st.one_of(st.binary(max_size=4), _MISSING),
    "calendar": st.tuples(
        st.integers(-3000, 30000).filter(bool),
        st.integers(1, 12),
        st.integers(1, 28),
        st.integers(0, 23),
        st.integers(0, 59),
        st.integers(0, 59),
        st.sampled_from([0, 1, 999_999]),
    ),
    "zoned": st.one_of(
        st.integers(0, 4 * 10**9).map(
            lambda seconds: pd.Timestamp(seconds, unit="s", tz="Asia/Tokyo")
        ),
        st.just(pd.NaT),
    ),
    "anything": st.one_of(TEXT, _UNSTORABLE, st.integers()),
}


def _objects(draw, kind, shape):
    size = int(np.prod(shape, dtype=int))
    elements = draw(st.lists(_OBJECTS[kind], min_size=size, max_size=size))
    if kind == "calendar":
        calendar = draw(_CALENDARS)
        is_missing = draw(st.sampled_from([False, False, True]))
        elements = [
            None if is_missing and not number else calendar(*element)
            for number, element in enumerate(elements)
        ]
    values = np.empty(size, dtype=object)
    for place, element in enumerate(elements):
        values[place] = element
    if kind == "string":
        values = values.astype(np.dtypes.StringDType())
    return values.reshape(shape)


@st.composite
def extensions(draw, size):
    """Return an array of pandas that NumPy does not know."""
    nullable = ["Int64", "UInt64", "Int8", "UInt8", "Float32", "Float64", "boolean"]
    others = ["zone", "category", "interval", "period", "numbers"]
    kind = draw(st.sampled_from(nullable + others))
    if kind == "interval":
        return pd.interval_range(0, size)
    if kind == "period":
        return pd.period_range("2026-01", periods=size, freq="M")
    if kind == "numbers":
        return pd.Categorical([number % 2 for number in range(size)])
    if kind == "zone":
        whole = st.integers(-(10**9), 4 * 10**9)
        times = draw(st.lists(whole, min_size=size, max_size=size))
        index = pd.DatetimeIndex(np.array(times, "M8[s]")).tz_localize("UTC")
        return index.tz_convert(
            draw(st.sampled_from(["Europe/Brussels", "Asia/Tokyo"]))
        )
    if kind == "category":
        names = st.sampled_from(["lo", "hi", "\0", None])
        values = draw(st.lists(names, min_size=size, max_size=size))
        return pd.Categorical(values, ["lo", "hi", "\0"], ordered=draw(st.booleans()))
    element = st.booleans() if kind == "boolean" else st.integers(0, 127)
    values = draw(st.lists(st.none() | element, min_size=size, max_size=size))
    return pd.array(values, dtype=kind)


_AT_LEAST = st.sampled_from([1, 1, 1, 2, 0])
_CF_ATTRS = st.sampled_from(
    [
        {"units": "days since 2009-01-01"},
        {"units": "BJD - 2454833, days since launch"},
        {"units": "seconds"},
        {"units": "hours since 1858-11-17", "calendar": "noleap"},
        {"scale_factor": 0.1, "add_offset": 273.15},
        {"scale_factor": np.float32(2), "_FillValue": np.int16(-32768)},
        {"_FillValue": np.nan, "units": "K"},
        {"_FillValue": 0, "missing_value": 0},
        {"missing_value": np.array([1, 2])},
        {"_Unsigned": "true", "_FillValue": np.int8(-1)},
        {"dtype": "bool"},
        {"dtype": "timedelta64[ns]", "units": "nanoseconds"},
        {"coordinates": "x y", "grid_mapping": "flux"},
        {"actual_range": np.array([np.nan, np.inf]), "valid_min": -np.inf},
        {"flag_values": np.array([0, 1], "i1"), "flag_meanings": "good bad"},
        {"NAME": 1, "NAME_": 2, "NAME__": 3},
        {"_FillValue_": 2, "_FillValue": 1, "coordinates": "x", "coordinates_": "y"},
    ]
).map(dict)
"""Attributes by which xarray changes what it reads; of a Dataset in memory they don't."""
_ENCODINGS = st.sampled_from(
    [{}] * 6
    + [
        {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -9},
        {"dtype": "int8"},
        {"dtype": "float32", "_FillValue": 0.0},
        {"units": "days since 1900-01-01", "calendar": "noleap", "dtype": "int64"},
        {"chunks": (7,), "chunksizes": (7,), "preferred_chunks": {"x": 7}},
        {"dtype": "S1", "char_dim_name": "x"},
        {"coordinates": "nowhere", "grid_mapping": "none"},
        {"zlib": True, "complevel": 9, "contiguous": False, "source": "a.nc"},
        {"_Unsigned": "true"},
    ]
).map(dict)
"""How a variable was stored where it came from; no part of the Dataset's values."""
_DATASET_ENCODINGS = st.sampled_from(
    [{}, {}, {"unlimited_dims": {"x"}, "source": "a.nc"}, {"coordinates": "flux"}]
)


@st.composite
def datasets(draw, sizes=None):
    """Return a Dataset of a few variables."""
    may_stack = sizes is None and draw(st.integers(0, 15)) == 0
    if sizes is None:
        sizes = draw(st.dictionaries(NAMES, st.integers(0, 3), max_size=3))
    names = draw(st.lists(NAMES, min_size=draw(_AT_LEAST), max_size=4, unique=True))
    dataset = xr.Dataset(attrs=draw(ATTRS))
    dataset.encoding = dict(draw(_DATASET_ENCODINGS))
    for name in names:
        dims = draw(st.permutations(list(sizes)))[: draw(st.integers(0, len(sizes)))]
        dims = [name] if name in sizes else dims
        dataset = _with(draw, dataset, name, dims, sizes)
    # xarray can't stack arrays of pandas.
    is_plain = all(isinstance(v.dtype, np.dtype) for v in dataset.variables.values())
    may_stack &= is_plain and all(dataset.sizes.values())
    if may_stack and len(dataset.dims) > 1:
        return dataset.stack(levels=list(dataset.dims)[:2])
    return dataset


def _with(draw, dataset, name, dims, sizes):
    if len(dims) == 1 and draw(st.integers(0, 7)) == 0:
        values = draw(extensions(sizes[dims[0]]))
    else:
        values = draw(arrays(tuple(sizes[dimension] for dimension in dims)))
    if isinstance(values, np.ndarray) and values.dtype == "f2" and dims == [name]:
        values = values.astype("f4")  # pandas has no index of that type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            attrs = draw(_CF_ATTRS if draw(st.integers(0, 3)) == 0 else ATTRS)
            variable = xr.Variable(dims, values, attrs, draw(_ENCODINGS))
            if name in dims or draw(st.booleans()):
                return dataset.assign_coords({name: variable})
            return dataset.assign({name: variable})
        except (ValueError, TypeError, OverflowError):  # xarray itself refuses it
            return dataset
