"""How a Dataset is described in a store: arrays, their names, types and attributes.

What others see are plain arrays with attributes of CF. What we did to get there is kept in
the attribute `ENCODING` of each array and group, so that reading undoes it and nothing
else. Groups without it were written by earlier versions, and are left to xarray.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ziggy_dask.datastore.attributes import from_json, readable, to_json
from ziggy_dask.datastore.forms import Form, Kind, Values
from ziggy_dask.datastore.spelling import spelled
from ziggy_dask.datastore.storable import ITEM_ATTRS

ENCODING = "ziggy_encoding"
"""Name of the attribute that says what we did."""
ORIGIN = "ziggy"
"""Name of the group attribute in which products carry where they come from."""
_NAME = "ziggy_name"
"""Name of the attribute with the true name of an array, where it is stored as another."""
_VERSION = 1
_PACKING = ("scale_factor", "add_offset", "missing_value")
_TIMES = (Kind.TIME, Kind.CALENDAR, Kind.ZONED)


@dataclass(frozen=True, slots=True)
class Described:
    """A group's description of a Dataset."""

    names: Mapping[str, str]
    """True names of variables and dimensions by stored name, where these differ."""
    coordinates: frozenset[str]
    """Stored names of the coordinates."""
    order: tuple[str, ...]
    """Stored names of the variables, in order."""
    attrs: Mapping[str, Any]
    """Attributes of the Dataset."""
    dimension: str
    """Subtask dimension along which others may add to it; empty if it was made whole."""

    def name(self, key: str) -> str:
        """Return the true name of a variable or dimension."""
        return self.names.get(key, key)

    @property
    def coordinate_names(self) -> frozenset[str]:
        """True names of the coordinates."""
        return frozenset(self.name(key) for key in self.coordinates)

    def dims_of(self, array: zarr.Array[Any]) -> tuple[str, ...]:
        """Return the true names of an array's dimensions."""
        metadata: Any = array.metadata
        return tuple(self.name(key) for key in metadata.dimension_names or ())


def stored_name(name: Hashable) -> str:
    """Return the name of a variable's array in a store."""
    return ITEM_ATTRS if name == ITEM_ATTRS else spelled(str(name))


def describe_group(
    attrs: Mapping[Hashable, Any],
    coordinates: Iterable[Hashable],
    order: Iterable[Hashable],
    dims: Iterable[Hashable],
    dimension: str,
) -> dict[str, Any]:
    """Return the attributes of a group that stands for a Dataset."""
    order, coordinates, dims = list(order), list(coordinates), list(dims)
    seen, exact = _split(attrs, {ORIGIN, ENCODING, "coordinates"})
    names = {stored_name(name): name for name in (*order, *dims)}
    outer = [stored_name(name) for name in coordinates if name not in dims]
    if outer:
        seen["coordinates"] = " ".join(name for name in outer if " " not in name)
    return {
        **seen,
        ENCODING: {
            "version": _VERSION,
            "names": {stored: name for stored, name in names.items() if stored != name},
            "coordinates": [stored_name(name) for name in coordinates],
            "order": [stored_name(name) for name in order],
            "attrs": exact,
            "ours": ["coordinates"] if outer else [],
            "dimension": dimension,
        },
    }


def read_group(stored: Mapping[str, Any]) -> Described | None:
    """Return what a group says of its Dataset; None: an earlier version wrote it."""
    ours: Any = stored.get(ENCODING)
    if ours is None:
        return None
    hidden = {ORIGIN, ENCODING, *ours["ours"]}
    return Described(
        names=ours["names"],
        coordinates=frozenset(ours["coordinates"]),
        order=tuple(ours["order"]),
        attrs=_joined(stored, ours["attrs"], hidden),
        dimension=ours["dimension"],
    )


def describe_array(
    name: Hashable, attrs: Mapping[Hashable, Any], form: Form, some: Values
) -> dict[str, Any]:
    """Return the attributes of an array that stands for a variable.

    Parameters
    ----------
    name, attrs
        Of the variable.
    form
        How its values are stored.
    some
        Some of these values, see `values_to_try`.
    """
    ours = form.attrs
    hidden = misleading(attrs, form, some)
    seen, exact = _split(attrs, {ENCODING, _NAME, *ours, *hidden})
    if form.stored_dtype.kind in "iuf" and "_FillValue" in seen:
        seen["_FillValue"] = _fill_value(seen["_FillValue"], form.stored_dtype)
        exact["_FillValue"] = to_json(attrs["_FillValue"])
    stored = stored_name(name)
    named = {_NAME: str(name)} if stored != name else {}
    told: dict[str, Any] = {"form": form.to_json()}
    if exact:
        told["attrs"] = exact
    if ours or named:
        told["ours"] = [*ours, *named]
    return {**seen, **ours, **named, ENCODING: told}


def read_array(stored: Mapping[str, Any]) -> tuple[Form, dict[str, Any]]:
    """Return the form and the attributes of a variable."""
    told: Any = stored[ENCODING]
    hidden = {ENCODING, *told.get("ours", ())}
    attrs = _joined(stored, told.get("attrs", {}), hidden)
    return Form.from_json(told["form"]), attrs


def _split(
    attrs: Mapping[Hashable, Any], hidden: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attributes as others see them, and those that JSON does not keep."""
    seen: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for key, value in attrs.items():
        name, typed = str(key), to_json(value)
        if name not in hidden:
            seen[name] = readable(value)
        if name not in seen or not _is_equal_json(seen[name], typed):
            exact[name] = typed
    return seen, exact


def _is_equal_json(seen: Any, typed: Any) -> bool:
    """Tell whether JSON is the same, with 1, 1.0 and true apart."""
    if type(seen) is not type(typed):
        return False
    if isinstance(seen, list):
        return len(seen) == len(typed) and all(map(_is_equal_json, seen, typed))
    if isinstance(seen, dict):
        return seen.keys() == typed.keys() and all(
            _is_equal_json(seen[key], typed[key]) for key in seen
        )
    return bool(seen == typed)


def _joined(
    stored: Mapping[str, Any], exact: Mapping[str, Any], hidden: set[str]
) -> dict[str, Any]:
    attrs = {
        name: from_json(exact[name]) if name in exact else value
        for name, value in stored.items()
        if name not in hidden
    }
    for name, value in exact.items():
        if name not in attrs:
            attrs[name] = from_json(value)
    return attrs


def misleading(attrs: Mapping[Hashable, Any], form: Form, some: Values) -> set[str]:
    """Return attributes that plain xarray would take for what they are not.

    It could not open the array, or would scale what we made numbers, such as times.
    """
    is_number = form.stored_dtype.kind in "iuf"
    hidden = {"dtype", "_Encoding", "_ARRAY_DIMENSIONS"}
    for name in (*_PACKING, "_FillValue"):
        if name in attrs and (
            form.attrs or not (is_number and _is_number(attrs[name]))
        ):
            hidden.add(name)
    if form.stored_dtype.kind in "iu" and not _fits(attrs, form.stored_dtype):
        hidden |= {"_FillValue", "missing_value"}
    if form.attrs or form.stored_dtype.kind not in "iu" or not _is_yes_or_no(attrs):
        hidden.add("_Unsigned")
    if form.kind in _TIMES:
        hidden |= {"units", "calendar"}
    if not isinstance(attrs.get("coordinates", ""), str):
        hidden.add("coordinates")
    told = {str(key): value for key, value in attrs.items() if key not in hidden}
    can_be_times = is_number and may_be_times({**told, **form.attrs}, some)
    if says_time(attrs) and not can_be_times:
        hidden.add("units")
    return hidden


def _is_number(value: object) -> bool:
    """Tell whether a value is one number that a float can be, and neither true nor a time."""
    if not isinstance(value, int | float | np.number | np.ndarray):
        return False
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array))


def _fits(attrs: Mapping[Hashable, Any], dtype: np.dtype[Any]) -> bool:
    """Tell whether values that stand for missing ones are of an integer type."""
    found = [attrs[name] for name in ("_FillValue", "missing_value") if name in attrs]
    limits = np.iinfo(dtype)
    return all(
        _is_number(value)
        and int(value) == value
        and limits.min <= int(value) <= limits.max
        for value in found
    )


def _is_yes_or_no(attrs: Mapping[Hashable, Any]) -> bool:
    said = attrs.get("_Unsigned")
    return isinstance(said, str) and said in ("true", "false")


def says_time(attrs: Mapping[Any, Any]) -> bool:
    """Tell whether plain xarray makes times of numbers with these attributes."""
    return "since" in str(attrs.get("units", ""))


def values_to_try(
    variable: xr.Variable, encode: Callable[[xr.Variable], Any]
) -> Values:
    """Return a few values of a variable that says that its numbers are times.

    Parameters
    ----------
    variable
        The variable.
    encode
        Returns the values of a variable as they are stored.

    Returns
    -------
    numpy.ndarray
        The least, the largest and one that is no number, if they are in memory; else the
        first and the last, or 0 if Dask would have to compute them.
    """
    if not says_time(variable.attrs) or not variable.size:
        return np.zeros(0)
    if not variable._in_memory:
        if variable.chunks is not None:
            return np.zeros(1)
        ends = [dict.fromkeys(variable.dims, place) for place in (0, -1)]
        return np.stack([encode(variable.isel(end)) for end in ends])
    values = np.ravel(encode(variable))
    if values.dtype.kind not in "iuf":
        return values[:0]
    no_number = values[np.isnan(values).argmax()]
    return np.stack([np.fmin.reduce(values), np.fmax.reduce(values), no_number])


def may_be_times(attrs: Mapping[str, Any], some: Values) -> bool:
    """Tell whether plain xarray opens numbers with these attributes, as times or as such."""
    if not says_time(attrs):
        return True
    read_by = ("units", "calendar", "_FillValue", *_PACKING)
    told = {key: attrs[key] for key in read_by if key in attrs}
    try:
        xr.decode_cf(xr.Dataset({"t": ("t_", some, told)})).load()
    except Exception:  # noqa: BLE001 - whatever it raises, it can't open such an array
        return False
    return True


def _fill_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a fill value as xarray writes it into Zarr's format 3."""
    from xarray.backends.zarr import FillValueCoder

    return FillValueCoder.encode(
        float(value) if dtype.kind == "f" else int(value), dtype
    )
