"""Forms: how the values of a variable are stored, so that each type comes back.

Zarr knows booleans, numbers and text. A form says how values of another type become
such, one by one and in the same shape, which types a reader gets back, and what a plain
xarray needs to see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ziggy_dask.datastore.attributes import Unstorable, from_json, to_json

Values = np.ndarray[Any, Any]
_NAT = np.iinfo("i8").min
_STRING = np.dtypes.StringDType()
_NOT_MADE = "\0NaN"
_UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_MISSING = {"None": None, "NaN": np.nan, "NA": pd.NA, "NaT": pd.NaT}
_NULLABLE = ("Int", "UInt", "Float", "boolean")


class Kind(StrEnum):
    """How values are stored."""

    NUMBER = "number"
    """Booleans, numbers, and text of variable width: as they are."""
    TIME = "time"
    """Times and durations of NumPy, as whole numbers since 1970 or zero."""
    FIXED_TEXT = "fixed text"
    """NumPy's text and bytes of fixed width, as text."""
    TEXT = "text"
    """Python's text, perhaps missing."""
    BYTES = "bytes"
    """Python's bytes, perhaps missing, as text of their Latin-1 characters."""
    CALENDAR = "calendar"
    """Times of cftime, as microseconds since 1970 in their calendar."""
    ZONED = "zoned time"
    """Times of pandas in a time zone, as whole numbers since 1970, UTC."""
    NULLABLE = "nullable"
    """Nullable numbers and booleans of pandas."""
    CATEGORY = "category"
    """Categories of pandas that are text."""


@dataclass(frozen=True, slots=True)
class Form:
    """How values of a variable are stored."""

    kind: Kind
    """Which of the ways."""
    dtype: str
    """Type of the values in memory, e.g. ``>f8``, ``<M8[s]``, ``<U5``, ``Int64``."""
    detail: tuple[tuple[str, Any], ...] = ()
    """What else is needed to restore them, as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"kind": self.kind.value, "dtype": self.dtype, **dict(self.detail)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Form:
        """Return the form that `to_json` described."""
        rest = {k: v for k, v in content.items() if k not in ("kind", "dtype")}
        return cls(Kind(content["kind"]), content["dtype"], tuple(rest.items()))

    @property
    def memory_dtype(self) -> np.dtype[Any]:
        """Type of the NumPy array that `decode` returns."""
        if self.kind in (Kind.NUMBER, Kind.TIME, Kind.FIXED_TEXT):
            return _STRING if self.dtype == "T" else np.dtype(self.dtype)
        return _STRING if self.dtype == "T" else np.dtype(object)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Type of the stored array."""
        if self.kind is Kind.NUMBER:
            native = self.memory_dtype
            return native if native.kind == "T" else native.newbyteorder("=")
        if self.kind in (Kind.TIME, Kind.CALENDAR, Kind.ZONED):
            return np.dtype("i8")
        if self.kind is Kind.NULLABLE:
            return _nullable_dtype(self.dtype)
        return _STRING

    @property
    def fill_value(self) -> Any:
        """What a stored array has where nothing was written."""
        stored = self.stored_dtype
        if stored.kind == "f":
            return np.nan
        if stored.kind == "c":
            return complex(np.nan, np.nan)
        if self.kind in (Kind.TIME, Kind.CALENDAR, Kind.ZONED):
            return _NAT
        if self.kind is Kind.NULLABLE:
            return _nullable_fill(stored)
        if self.kind in (Kind.TEXT, Kind.BYTES, Kind.CATEGORY):
            return _NOT_MADE
        return "" if stored.kind == "T" else stored.type(0)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes by which plain xarray sees the same times and missing values."""
        detail = dict(self.detail)
        if self.kind in (Kind.TIME, Kind.ZONED):
            dtype = np.dtype(detail.get("utc", self.dtype))
            unit = _UNITS[np.datetime_data(dtype)[0]]
            if dtype.kind == "m":
                name = f"timedelta64[{np.datetime_data(dtype)[0]}]"
                return {"units": unit, "dtype": name, "_FillValue": _NAT}
            return {
                "units": f"{unit} since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "_FillValue": _NAT,
            }
        if self.kind is Kind.CALENDAR:
            units, calendar = "microseconds since 1970-01-01", detail["calendar"]
            # xarray can't make times of such calendars if some are missing.
            front = "time_" if detail["missing"] else ""
            return {f"{front}units": units, f"{front}calendar": calendar}
        if self.kind in (Kind.TEXT, Kind.BYTES, Kind.CATEGORY):
            missing = [f"\0{name}" for name in detail.get("missing", ())]
            if not missing:
                return {}
            return {"missing_value": missing[0] if len(missing) == 1 else missing}
        if self.kind is Kind.NULLABLE and self.stored_dtype.kind in "iu":
            return {"_FillValue": _nullable_fill(self.stored_dtype)}
        return {}

    @property
    def is_lazy(self) -> bool:
        """Whether values come back as NumPy arrays, so that they can be read later."""
        return self.kind not in (Kind.ZONED, Kind.NULLABLE, Kind.CATEGORY)

    def for_items(self) -> Form:
        """Return this form for a product to whose items more values come later."""
        if self.kind not in (Kind.TEXT, Kind.BYTES, Kind.CATEGORY, Kind.CALENDAR):
            return self
        kept = tuple(pair for pair in self.detail if pair[0] != "missing")
        return replace(self, detail=(*kept, ("missing", ("NaN", "None"))))

    def automatic(self) -> Form:
        """Return this form with text as wide as its longest value."""
        if self.kind is not Kind.FIXED_TEXT:
            return self
        return replace(self, dtype=np.dtype(self.dtype).kind)

    def encode(self, values: Any) -> Values:
        """Return values as they are stored.

        Raises
        ------
        Unstorable
            If they are not of this form.
        """
        return _ENCODE[self.kind](self, values)

    def decode(self, stored: Values) -> Any:
        """Return the values that were stored."""
        return _DECODE[self.kind](self, stored)


_PLAIN_ARRAYS = (np.ndarray, np.memmap, np.char.chararray, np.recarray, np.matrix)
"""Kinds of arrays that are nothing but their values."""


def form_of(variable: xr.Variable) -> Form:
    """Return how a variable is stored.

    Values are looked at only if their type does not tell, so that arrays of objects
    have to be in memory.

    Raises
    ------
    Unstorable
        If it can't be stored; the text says why, and the fix.
    """
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):
        return _extension_form(variable)
    _require_plain(variable)
    if any(size != size for size in variable.shape):
        raise Unstorable(
            "has blocks of unknown length, as Dask makes where values are chosen by a "
            "condition; let it count them: .data.compute_chunk_sizes()"
        )
    if dtype.kind in "biufc":
        if dtype.char in "gG":
            wide = "complex128" if dtype.kind == "c" else "float64"
            raise Unstorable(
                f"is of type {dtype}, which differs between machines; "
                f"make it {wide}: .astype({wide!r})"
            )
        return Form(Kind.NUMBER, dtype.str)
    if dtype.kind in "mM":
        if np.datetime_data(dtype)[1] != 1 or np.datetime_data(dtype)[0] not in _UNITS:
            raise Unstorable(
                f"is of type {dtype}; make it {dtype.kind}8[ns] or coarser"
            )
        return Form(Kind.TIME, dtype.str)
    if dtype.kind in "US":
        return Form(Kind.FIXED_TEXT, dtype.str)
    if dtype.kind == "T":
        if hasattr(dtype, "na_object"):
            raise Unstorable(
                "is text of a type that can have missing values; "
                "make it .astype(object)"
            )
        # Zarr cuts closing NULs from scalars.
        return Form(Kind.NUMBER if variable.ndim else Kind.TEXT, "T")
    if dtype.kind == "O":
        if variable.chunks:
            return Form(Kind.TEXT, "O").for_items()
        return _object_form(np.asarray(variable.values, dtype=object))
    if dtype.kind == "V":
        fields = ", ".join(dtype.names or ()) or "raw bytes"
        raise Unstorable(
            f"is of a structured type ({fields}); "
            "split it into a variable for each field"
        )
    raise Unstorable(f"is of type {dtype}, which can't be stored; convert it")


def _require_plain(variable: xr.Variable) -> None:
    """Refuse arrays that are more than their numbers, such as those with a unit."""
    data = variable._data
    require_plain(getattr(data, "_meta", data))  # of blocks that Dask makes


def require_plain(data: Any) -> None:
    """Refuse an array that is more than its numbers, such as one with a unit or a mask."""
    is_foreign = (
        type(data) not in _PLAIN_ARRAYS
        if isinstance(data, np.ndarray)
        else hasattr(data, "__array_function__")
    )
    if not is_foreign:
        return
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    unit = getattr(data, "units", getattr(data, "unit", None))
    told = f" in {str(unit)!r}" if unit is not None else ""
    fix = ", with its unit in the attribute 'units'" if unit is not None else ""
    raise Unstorable(
        f"is an array of {kind}{told}, of which only the numbers could be stored; "
        f"make it a plain NumPy array{fix}"
    )


def values_of(variable: xr.Variable) -> Any:
    """Return the values of a variable: a NumPy array, or one of pandas.

    Raises
    ------
    Unstorable
        If they have to be computed, and are not what the variable said; see
        `require_as_told`.
    """
    if isinstance(variable.dtype, np.dtype):
        if variable._in_memory:
            return variable.values
        values = variable.data.compute() if variable.chunks else variable.values
        require_as_told(values, variable.dtype, variable.shape)
        return np.asarray(values)
    if isinstance(variable, xr.IndexVariable):
        return variable.to_index().array
    return getattr(variable.data, "array", variable.data)


def variable_of(
    dims: Sequence[Hashable],
    values: Any,
    attrs: Mapping[Any, Any],
    encoding: Mapping[Any, Any] | None = None,
) -> xr.Variable:
    """Return a variable of the very values; of None among text xarray would make NaN."""
    is_plain = type(values) is np.ndarray
    return xr.Variable(tuple(dims), values, dict(attrs), encoding, fastpath=is_plain)


def require_as_told(values: Any, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
    """Refuse values that are not what a lazy array said before they were computed.

    Whoever makes one can say anything: Dask believes the type that `map_blocks` and
    `apply_ufunc` are told, or guesses it from empty blocks.

    Parameters
    ----------
    values
        What came out.
    dtype, shape
        What was told.

    Raises
    ------
    Unstorable
        If storing them would cast them, cut them short, repeat them or drop a mask.
    """
    require_plain(values)
    found = np.asarray(values)
    if found.shape != tuple(shape):
        raise Unstorable(
            f"says that it has the shape {tuple(shape)}, but is computed as {found.shape}; "
            "tell map_blocks what comes out, by 'chunks'"
        )
    if dtype.kind == "O":
        return  # each object is looked at where it is encoded
    if dtype.kind in "US" and dtype.kind == found.dtype.kind:
        fits = not dtype.itemsize or found.dtype.itemsize <= dtype.itemsize
    elif "T" in (dtype.kind, found.dtype.kind):
        fits = dtype.kind == found.dtype.kind
    else:  # the other byte order holds the same values
        fits = found.dtype.newbyteorder("=") == dtype.newbyteorder("=")
    if not fits:
        raise Unstorable(
            f"says that it is of type {dtype}, but is computed as {found.dtype}; tell "
            "Dask what comes out, by 'dtype', 'output_dtypes' or 'meta', or convert it: "
            ".astype(...)"
        )


def misfit(form: Form, variable: xr.Variable) -> str:
    """Return why a variable can't be stored in a form; empty: it can."""
    try:
        given = form_of(variable)
    except Unstorable as error:
        return str(error)
    if _comparable(given) == _comparable(form):
        return ""
    if variable.dtype == object and form.kind in (Kind.BYTES, Kind.CALENDAR, Kind.TEXT):
        try:
            form.encode(variable.values)
        except Unstorable:
            pass
        else:
            return ""
    return f"is of type {_told(given)}, not {_told(form)}"


def _comparable(form: Form) -> Form:
    """Return a form without what may differ between the items of a product."""
    if form.kind is Kind.FIXED_TEXT:
        return replace(form, dtype=np.dtype(form.dtype).kind)
    if form.kind in (Kind.NUMBER, Kind.TIME) and form.dtype != "T":
        return replace(form, dtype=np.dtype(form.dtype).newbyteorder("=").str)
    return form.for_items()


def _told(form: Form) -> str:
    detail = ", ".join(f"{key} {value}" for key, value in form.detail)
    if form.kind in (Kind.NUMBER, Kind.TIME, Kind.FIXED_TEXT):
        return "text" if form.dtype == "T" else str(np.dtype(form.dtype))
    name = form.kind.value if form.dtype == "O" else form.dtype
    return f"{name} ({detail})" if detail else name


def _object_form(values: Values) -> Form:
    flat = values.ravel().tolist()
    kinds = {type(value) for value in flat if not _is_missing(value)}
    missing = {_missing_name(value) for value in flat if _is_missing(value)}
    detail = (("missing", tuple(sorted(missing))),)
    if kinds <= {str, np.str_}:
        return Form(Kind.TEXT, "O", detail)
    if kinds <= {bytes, np.bytes_}:
        return Form(Kind.BYTES, "O", detail)
    if kinds <= {pd.Timestamp}:
        return _zoned_objects(flat)
    if all(kind.__module__.startswith("cftime") for kind in kinds):
        return _calendar_form(flat)
    raise Unstorable(_no_objects(kinds))


def _no_objects(kinds: set[type]) -> str:
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    if any(
        issubclass(kind, np.ndarray | list | tuple | xr.DataArray) for kind in kinds
    ):
        fix = "arrays of different lengths need 'kind: collection', an item for each"
    elif all(issubclass(kind, bool | int | float | np.generic) for kind in kinds):
        fix = "make it numbers of one type, with NaN where a value is missing"
    else:
        fix = "make it numbers, text or times, or put what it says into attributes"
    return f"is an array of objects ({names}); {fix}"


def _is_missing(value: object) -> bool:
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and value != value)
    )


def _calendar_form(flat: list[Any]) -> Form:
    found = {
        (type(v).__name__, v.calendar, bool(v.has_year_zero))
        for v in flat
        if not _is_missing(v)
    }
    if len(found) > 1:
        names = ", ".join(sorted(calendar for _, calendar, _ in found))
        raise Unstorable(
            f"has times of several calendars ({names}); convert them to one"
        )
    ((name, calendar, has_year_zero),) = found
    if not calendar:
        raise Unstorable("has times of cftime without a calendar; give them one")
    detail: dict[str, Any] = {"class": name, "calendar": calendar}
    detail["has_year_zero"] = has_year_zero
    detail["missing"] = any(_is_missing(value) for value in flat)
    return Form(Kind.CALENDAR, "O", tuple(detail.items()))


def _zoned_objects(flat: list[Any]) -> Form:
    times = [value for value in flat if not _is_missing(value)]
    found = {(value.unit, str(value.tz)) for value in times}
    if len(found) > 1 or any(value.tz is None for value in times):
        raise Unstorable(
            "has pandas times of several zones or resolutions, or without a zone; "
            "convert them to one: pandas.to_datetime(..., utc=True)"
        )
    if any(value is not pd.NaT for value in flat if _is_missing(value)):
        raise Unstorable("has missing times that are not pandas.NaT; make them NaT")
    ((unit, zone),) = found
    return _zoned(unit, zone, "objects")


def _zoned(unit: str, zone: str, dtype: str) -> Form:
    try:
        pd.DatetimeTZDtype(unit, zone)
    except (ValueError, TypeError, KeyError):
        raise Unstorable(f"has times in the zone {zone}, which has no name") from None
    return Form(Kind.ZONED, dtype, (("utc", f"<M8[{unit}]"), ("zone", zone)))


def _extension_form(variable: xr.Variable) -> Form:
    dtype: Any = variable.dtype
    name = str(dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _zoned(dtype.unit, str(dtype.tz), "extension")
    if isinstance(dtype, pd.CategoricalDtype):
        return _category_form(dtype)
    if name.startswith(_NULLABLE):
        return Form(Kind.NULLABLE, name)
    fixes = {
        "interval": "store the bounds as two variables",
        "period": "store the start of each period as a time",
    }
    fix = fixes.get(name.partition("[")[0], "make it a NumPy array: .to_numpy()")
    raise Unstorable(f"is of pandas' type {name}; {fix}")


def _category_form(dtype: pd.CategoricalDtype) -> Form:
    categories = list(dtype.categories)
    if not all(type(value) is str for value in categories):
        raise Unstorable(
            "has categories that are not text; store them as numbers, or make the "
            "categories text"
        )
    detail = {"categories": [to_json(c) for c in categories], "ordered": dtype.ordered}
    detail["of"] = str(dtype.categories.dtype)
    detail["missing"] = ("NaN",)
    return Form(Kind.CATEGORY, "category", tuple(detail.items()))


def _nullable_dtype(name: str) -> np.dtype[Any]:
    if name.startswith("Float"):
        return np.dtype(name.lower())
    return np.dtype("u8" if name == "UInt64" else "i8")


def _nullable_fill(stored: np.dtype[Any]) -> Any:
    if stored.kind == "f":
        return np.nan
    return int(np.iinfo(stored).max if stored.kind == "u" else _NAT)


def _encode_number(form: Form, values: Any) -> Values:
    array = np.asarray(values)
    stored = form.stored_dtype
    if stored.kind != "T":
        _require_type(array, stored)
    return array if array.dtype == stored else array.astype(stored)


def _require_type(array: Values, wanted: np.dtype[Any]) -> None:
    """Refuse values that NumPy would cast; the byte order may differ."""
    if array.dtype.newbyteorder("=") != wanted:
        raise Unstorable(
            f"is of type {array.dtype}, but is stored as {wanted}; convert it: "
            ".astype(...)"
        )


def _encode_time(form: Form, values: Any) -> Values:
    array, wanted = np.asarray(values), np.dtype(form.dtype).newbyteorder("=")
    _require_type(array, wanted)
    native = array.astype(wanted, copy=False)
    return np.ascontiguousarray(native).reshape(native.shape).view("i8")


def _encode_fixed(form: Form, values: Any) -> Values:
    array = np.asarray(values)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "latin-1") if array.size else array.astype("U")
    # NumPy takes text in the other byte order for invalid.
    return _as_strings(array.astype(array.dtype.newbyteorder("="), copy=False))


def _as_strings(array: Any) -> Values:
    try:
        return np.asarray(array).astype(_STRING)
    except (UnicodeEncodeError, TypeError):
        raise Unstorable(
            "has text with half of a surrogate pair, which is not valid Unicode; "
            "repair it, or store bytes"
        ) from None


def _encode_objects(values: Any, convert: Callable[[Any], str]) -> Values:
    array = np.asarray(values, dtype=object)
    texts = np.empty(array.size, dtype=object)
    texts[:] = [
        f"\0{_missing_name(value)}" if _is_missing(value) else convert(value)
        for value in array.ravel().tolist()
    ]
    return _as_strings(texts.reshape(array.shape))


def _missing_name(value: object) -> str:
    if isinstance(value, float):
        return "NaN"
    return "None" if value is None else "NA" if value is pd.NA else "NaT"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unstorable(_no_objects({str, type(value)}))
    if value.startswith("\0") or value.endswith("\0"):
        return f"\0\0{value}."
    return value


def _bytes(value: Any) -> str:
    if not isinstance(value, bytes):
        raise Unstorable(_no_objects({bytes, type(value)}))
    return _text(value.decode("latin-1"))


def _encode_calendar(form: Form, values: Any) -> Values:
    import cftime

    array = np.asarray(values, dtype=object)
    detail = dict(form.detail)
    stored = np.full(array.size, _NAT, dtype="i8")
    for place, value in enumerate(array.ravel().tolist()):
        if value is None:
            continue
        is_such = getattr(value, "calendar", None) == detail["calendar"]
        if not is_such or bool(value.has_year_zero) != detail["has_year_zero"]:
            raise Unstorable(
                f"has {value!r}, which is not a time of the calendar "
                f"{detail['calendar']!r}; a missing time is None"
            )
        try:
            stored[place] = cftime.date2num(
                value,
                "microseconds since 1970-01-01",
                calendar=detail["calendar"],
                has_year_zero=detail["has_year_zero"],
            )
        except OverflowError:
            raise Unstorable(
                f"has {value!r}, and times of cftime are counted in microseconds, which "
                "reach 290,000 years; store the years as numbers"
            ) from None
    return stored.reshape(array.shape)


def _encode_zoned(form: Form, values: Any) -> Values:
    detail = dict(form.detail)
    array = np.asarray(values, dtype=object) if form.dtype == "objects" else values
    shape = np.shape(array)
    flat = array.ravel() if form.dtype == "objects" else array
    times = pd.DatetimeIndex(flat)
    utc = times.tz_convert("UTC").tz_localize(None).as_unit(detail["utc"][4:-1])
    return np.asarray(utc.values).astype(detail["utc"]).view("i8").reshape(shape)


def _encode_nullable(form: Form, values: Any) -> Values:
    stored = form.stored_dtype
    array = pd.array(values, dtype=form.dtype)
    fill = _nullable_fill(stored)
    is_missing = np.asarray(array.isna())
    plain = np.asarray(array.to_numpy(dtype=stored, na_value=fill))
    clash = np.isnan(plain) if stored.kind == "f" else plain == fill
    if (clash & ~is_missing).any():
        raise Unstorable(
            f"has the value {fill}, which stands for a missing one; "
            "store values and what is missing as two variables"
        )
    return plain


def _encode_category(form: Form, values: Any) -> Values:
    return _encode_objects(np.asarray(values, dtype=object), _text)


def _decode_number(form: Form, stored: Values) -> Values:
    array = np.asarray(stored)
    wanted = form.memory_dtype
    return array if array.dtype == wanted else array.astype(wanted)


def _decode_time(form: Form, stored: Values) -> Values:
    native = np.dtype(form.dtype).newbyteorder("=")
    values = np.ascontiguousarray(stored).reshape(np.shape(stored)).view(native)
    return values.astype(np.dtype(form.dtype), copy=False)


def _decode_fixed(form: Form, stored: Values) -> Values:
    array = np.asarray(stored)
    wanted = np.dtype(form.dtype)
    if not wanted.itemsize:
        widest = max((len(text) for text in array.ravel().tolist()), default=1)
        wanted = np.dtype(f"{wanted.kind}{max(widest, 1)}")
    if wanted.kind == "U":
        return array.astype(wanted.newbyteorder("=")).astype(wanted, copy=False)
    texts = array.astype(f"U{max(wanted.itemsize, 1)}")
    return np.char.encode(texts, "latin-1").astype(wanted)


def _decode_objects(stored: Values, convert: Callable[[str], Any]) -> Values:
    array = np.asarray(stored)
    values = np.empty(array.size, dtype=object)
    values[:] = [
        _MISSING[text[1:]]
        if text[:1] == "\0" and text[1:2] != "\0"
        else convert(text[2:-1] if text[:2] == "\0\0" else text)
        for text in array.ravel().tolist()
    ]
    return values.reshape(array.shape)


def _decode_calendar(form: Form, stored: Values) -> Values:
    import cftime

    detail = dict(form.detail)
    array = np.asarray(stored)
    values = np.empty(array.size, dtype=object)
    kind = getattr(cftime, detail["class"])
    for place, number in enumerate(array.ravel().tolist()):
        if number == _NAT:
            continue
        time = cftime.num2date(
            number,
            "microseconds since 1970-01-01",
            calendar=detail["calendar"],
            has_year_zero=detail["has_year_zero"],
        )
        if type(time) is not kind:
            told = {"has_year_zero": detail["has_year_zero"]}
            if kind is cftime.datetime:  # whose calendar is not that of its class
                told["calendar"] = detail["calendar"]
            time = kind(*time.timetuple()[:6], time.microsecond, **told)
        values[place] = time
    return values.reshape(array.shape)


def _decode_zoned(form: Form, stored: Values) -> Any:
    detail = dict(form.detail)
    flat = np.asarray(stored).astype("i8").ravel().view(detail["utc"])
    times = pd.DatetimeIndex(flat).tz_localize("UTC").tz_convert(detail["zone"])
    if form.dtype == "extension":
        return times
    values = np.empty(len(times), dtype=object)
    values[:] = list(times)
    return values.reshape(np.shape(stored))


def _decode_nullable(form: Form, stored: Values) -> Any:
    fill = _nullable_fill(form.stored_dtype)
    is_missing = np.isnan(stored) if stored.dtype.kind == "f" else stored == fill
    if form.dtype == "boolean":
        return pd.arrays.BooleanArray((stored == 1), is_missing)
    kind = {"I": pd.arrays.IntegerArray, "U": pd.arrays.IntegerArray}.get(
        form.dtype[0], pd.arrays.FloatingArray
    )
    plain = np.where(is_missing, np.zeros_like(stored), stored)
    return kind(plain.astype(form.dtype.lower()), is_missing)


def _decode_category(form: Form, stored: Values) -> Any:
    detail = dict(form.detail)
    index = pd.Index([from_json(c) for c in detail["categories"]], dtype=detail["of"])
    values = _decode_objects(stored, str)
    return pd.Categorical(values, categories=index, ordered=detail["ordered"])


_ENCODE: Mapping[Kind, Callable[[Form, Any], Values]] = {
    Kind.NUMBER: _encode_number,
    Kind.TIME: _encode_time,
    Kind.FIXED_TEXT: _encode_fixed,
    Kind.TEXT: lambda _, values: _encode_objects(values, _text),
    Kind.BYTES: lambda _, values: _encode_objects(values, _bytes),
    Kind.CALENDAR: _encode_calendar,
    Kind.ZONED: _encode_zoned,
    Kind.NULLABLE: _encode_nullable,
    Kind.CATEGORY: _encode_category,
}

_DECODE: Mapping[Kind, Callable[[Form, Values], Any]] = {
    Kind.NUMBER: _decode_number,
    Kind.TIME: _decode_time,
    Kind.FIXED_TEXT: _decode_fixed,
    Kind.TEXT: lambda form, stored: _decode_objects(stored, str).astype(
        form.memory_dtype
    ),
    Kind.BYTES: lambda _, stored: _decode_objects(
        stored, lambda text: text.encode("latin-1")
    ),
    Kind.CALENDAR: _decode_calendar,
    Kind.ZONED: _decode_zoned,
    Kind.NULLABLE: _decode_nullable,
    Kind.CATEGORY: _decode_category,
}
