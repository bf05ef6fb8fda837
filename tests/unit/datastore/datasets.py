"""Strategies for Datasets as users make them, and as nobody would."""

from __future__ import annotations

import datetime
import warnings

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
)
_ODD_ATTRIBUTES = (
    *("units", "long_name", "_FillValue", "missing_value", "scale_factor", "dtype"),
    *("add_offset", "calendar", "coordinates", "ziggy", "ziggy_encoding", "$"),
    *("_ARRAY_DIMENSIONS", "_Unsigned", "_Encoding", "grid_mapping", "positive"),
)
NAMES = st.one_of(st.sampled_from(_ODD_NAMES), TEXT, xrst.names())
ATTRIBUTE_NAMES = st.one_of(st.sampled_from(_ODD_ATTRIBUTES), TEXT)
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
    kind = draw(st.sampled_from(["number"] * 4 + ["text"] * 2 + list(_OBJECTS)))
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
    size = int(np.prod(shape, dtype=int))
    elements = draw(st.lists(_OBJECTS[kind], min_size=size, max_size=size))
    values = np.empty(size, dtype=object)
    values[:] = elements
    if kind == "string":
        values = values.astype(np.dtypes.StringDType())
    return values.reshape(shape)


_MISSING = st.sampled_from([None, np.nan])
_OBJECTS = {
    "string": TEXT,
    "missing text": st.one_of(TEXT, _MISSING, st.sampled_from(["", "\0", "\0NaN"])),
    "bytes": st.one_of(st.binary(max_size=4), _MISSING),
    "calendar": st.builds(
        cftime.Datetime360Day,
        st.integers(-3000, 30000),
        st.integers(1, 12),
        st.integers(1, 30),
        st.integers(0, 23),
    ),
    "anything": st.one_of(TEXT, st.integers(), st.dictionaries(TEXT, TEXT, max_size=1)),
}


@st.composite
def extensions(draw, size):
    """Return an array of pandas that NumPy does not know."""
    kind = draw(st.sampled_from(["Int64", "UInt8", "boolean", "zone", "category"]))
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
    element = st.booleans() if kind == "boolean" else st.integers(0, 255)
    values = draw(st.lists(st.none() | element, min_size=size, max_size=size))
    return pd.array(values, dtype=kind)


@st.composite
def datasets(draw, sizes=None):
    """Return a Dataset of a few variables."""
    if sizes is None:
        sizes = draw(st.dictionaries(NAMES, st.integers(0, 3), max_size=3))
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    dataset = xr.Dataset(attrs=draw(ATTRS))
    for name in names:
        dims = draw(st.permutations(list(sizes)))[: draw(st.integers(0, len(sizes)))]
        dims = [name] if name in sizes else dims
        dataset = _with(draw, dataset, name, dims, sizes)
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
            variable = xr.Variable(dims, values, draw(ATTRS))
            if name in dims or draw(st.booleans()):
                return dataset.assign_coords({name: variable})
            return dataset.assign({name: variable})
        except (ValueError, TypeError, OverflowError):  # xarray itself refuses it
            return dataset
