"""Attributes of any type, as JSON that others can read and that we can undo exactly.

A store keeps attributes as JSON, which knows neither NaN nor bytes, dates, NumPy's types
or large integers. Each attribute is stored twice where that is needed: in a form that
other programs understand, and *typed*, in a form of ours that gives the value back.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ziggy_dask.errors import DatastoreError

_TAG = "$"
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""Integers that JSON keeps in a store."""
_RAW_KINDS = "biufcSUMm"
"""Kinds of NumPy's types whose bytes are the values."""


class Unstorable(DatastoreError):
    """A value that the datastore can't keep as it is; the text says why and the fix."""


def to_json(value: object) -> Any:
    """Return a value as JSON from which `from_json` makes an equal one of equal type.

    Raises
    ------
    Unstorable
        If the value is of a type that can't be kept.
    """
    if isinstance(value, np.generic | np.ndarray):
        return _numpy_to_json(value)
    if value is None or type(value) is bool:
        return value
    for kind, convert in _CONVERT.items():
        if type(value) is kind:
            return convert(value)
    raise Unstorable(
        f"is {_a(value)}, which can't be stored; make it text, a number, a date, "
        "an array, or a list or dict of these"
    )


def from_json(content: Any) -> Any:
    """Return the value that `to_json` described."""
    if isinstance(content, list):
        return [from_json(value) for value in content]
    if not isinstance(content, dict):
        return content
    if _TAG not in content:
        return {key: from_json(value) for key, value in content.items()}
    return _RESTORE[content[_TAG]](content)


def readable(value: object) -> Any:
    """Return a value as other programs see it: JSON without our tags."""
    if isinstance(value, np.ndarray | np.generic):
        is_time = value.dtype.kind in "mM"
        return readable(value.astype(str).tolist() if is_time else value.tolist())
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int):
        return value if _LEAST <= value <= _MOST else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _float_name(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(key): readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def same(one: object, other: object) -> bool:
    """Tell whether two storable values are equal and of equal type."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, str | int):
        return one == other
    # As text, in which 1, 1.0 and true, and 0.0 and -0.0, differ.
    return dumps(to_json(one)) == dumps(to_json(other))


def differing(attrs: Mapping[Any, Any], others: Mapping[Any, Any]) -> dict[str, Any]:
    """Return those of some attributes that others lack or have with another value."""
    return {
        str(name): value
        for name, value in attrs.items()
        if name not in others or not same(value, others[name])
    }


def dumps(content: object) -> str:
    """Return JSON as compact text, in which equal contents are equal."""
    return json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _float_name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text_to_json(value: str) -> Any:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        data = value.encode("utf-8", "surrogatepass")
        return {_TAG: "text", "data": _base64(data)}
    return value


def _int_to_json(value: int) -> Any:
    return value if _LEAST <= value <= _MOST else {_TAG: "int", "text": str(value)}


def _float_to_json(value: float) -> Any:
    return (
        value if math.isfinite(value) else {_TAG: "float", "text": _float_name(value)}
    )


def _dict_to_json(value: dict[Any, Any]) -> Any:
    if _TAG not in value and all(_is_plain_text(key) for key in value):
        return {key: to_json(item) for key, item in value.items()}
    items = [[to_json(key), to_json(item)] for key, item in value.items()]
    return {_TAG: "dict", "items": items}


def _is_plain_text(value: object) -> bool:
    return type(value) is str and _text_to_json(value) is value


def _datetime_to_json(value: datetime) -> Any:
    zone = value.tzinfo
    if zone is not None and type(zone) not in (ZoneInfo, timezone):
        raise Unstorable(
            f"is a time with {_a(zone)}, which can't be stored; use zoneinfo.ZoneInfo"
        )
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    content = {_TAG: "datetime", "text": naive, "fold": value.fold}
    if isinstance(zone, ZoneInfo):
        if zone.key is None:
            raise Unstorable("is a time in a zone without a name; name it")
        return {**content, "zone": zone.key}
    if zone is not None:
        offset: Any = zone.utcoffset(None)
        return {**content, "offset": offset / timedelta(microseconds=1)}
    return content


def _datetime_from_json(content: Mapping[str, Any]) -> datetime:
    zone: ZoneInfo | timezone | None = None
    if "zone" in content:
        zone = ZoneInfo(content["zone"])
    elif "offset" in content:
        offset = timedelta(microseconds=content["offset"])
        zone = UTC if not offset else timezone(offset)
    naive = datetime.fromisoformat(content["text"])
    return naive.replace(tzinfo=zone, fold=content["fold"])


def _time_to_json(value: time) -> Any:
    if value.tzinfo is not None:
        raise Unstorable("is a time of day with a zone; store it as text")
    return {_TAG: "time", "text": value.isoformat(), "fold": value.fold}


def _timestamp_to_json(value: pd.Timestamp) -> Any:
    zone = None if value.tz is None else str(value.tz)
    restored = _timestamp(value.as_unit(value.unit)._value, value.unit, zone)
    if restored != value or str(restored.tz) != str(value.tz):
        raise Unstorable("is a pandas time in a zone without a name; name it")
    return {
        _TAG: "pandas.Timestamp",
        "value": int(value._value),
        "unit": value.unit,
        "zone": zone,
    }


def _timestamp(value: int, unit: Any, zone: str | None) -> pd.Timestamp:
    time = pd.Timestamp(np.datetime64(int(value), unit))
    return time if zone is None else time.tz_localize("UTC").tz_convert(zone)


def _timedelta_to_json(value: pd.Timedelta) -> Any:
    return {
        _TAG: "pandas.Timedelta",
        "value": int(value._value),
        "unit": value.unit,
    }


def _numpy_to_json(value: np.ndarray[Any, Any] | np.generic) -> Any:
    kind = value.dtype.kind
    if type(value) not in (np.ndarray, value.dtype.type):
        raise Unstorable(f"is {_a(value)}; make it a plain NumPy array")
    shape = list(value.shape) if isinstance(value, np.ndarray) else None
    content = {_TAG: "numpy", "shape": shape}
    if kind in _RAW_KINDS and value.dtype.char not in "gG":
        dtype = value.dtype.str
        return {**content, "dtype": dtype, "data": _base64(value.tobytes())}
    if kind == "T" and getattr(value.dtype, "na_object", "") == "":
        kind_name = "text"
    elif kind == "O":
        kind_name = "object"
    else:
        raise Unstorable(
            f"is an array of type {value.dtype}, which can't be stored; make it an "
            "array of numbers, text or times"
        )
    values = [to_json(item) for item in np.asarray(value).ravel().tolist()]
    return {**content, "dtype": kind_name, "values": values}


def _numpy_from_json(content: Mapping[str, Any]) -> Any:
    shape = content["shape"]
    if "data" in content:
        raw = base64.b64decode(content["data"])
        dtype = np.dtype(content["dtype"])
        if not dtype.itemsize:
            return np.empty(shape or (), dtype)
        values = np.frombuffer(raw, dtype).copy()
        return values[0] if shape is None else values.reshape(shape)
    restored = np.empty(len(content["values"]), dtype=object)
    restored[:] = [from_json(item) for item in content["values"]]
    if content["dtype"] == "text":
        restored = restored.astype(np.dtypes.StringDType())
    return restored.reshape(shape)


_CONVERT: Mapping[type, Any] = {
    str: _text_to_json,
    int: _int_to_json,
    float: _float_to_json,
    list: lambda value: [to_json(item) for item in value],
    dict: _dict_to_json,
    tuple: lambda value: {_TAG: "tuple", "items": [to_json(item) for item in value]},
    bytes: lambda value: {_TAG: "bytes", "data": _base64(value)},
    complex: lambda value: {
        _TAG: "complex",
        "parts": [to_json(value.real), to_json(value.imag)],
    },
    datetime: _datetime_to_json,
    date: lambda value: {_TAG: "date", "text": value.isoformat()},
    time: _time_to_json,
    timedelta: lambda value: {
        _TAG: "timedelta",
        "parts": [value.days, value.seconds, value.microseconds],
    },
    pd.Timestamp: _timestamp_to_json,
    pd.Timedelta: _timedelta_to_json,
    type(pd.NaT): lambda _: {_TAG: "pandas.NaT"},
    type(pd.NA): lambda _: {_TAG: "pandas.NA"},
}

_RESTORE: Mapping[str, Any] = {
    "text": lambda content: base64.b64decode(content["data"]).decode(
        "utf-8", "surrogatepass"
    ),
    "int": lambda content: int(content["text"]),
    "float": lambda content: float(content["text"]),
    "dict": lambda content: {
        from_json(key): from_json(item) for key, item in content["items"]
    },
    "tuple": lambda content: tuple(from_json(item) for item in content["items"]),
    "bytes": lambda content: base64.b64decode(content["data"]),
    "complex": lambda content: complex(*(from_json(part) for part in content["parts"])),
    "datetime": _datetime_from_json,
    "date": lambda content: date.fromisoformat(content["text"]),
    "time": lambda content: time.fromisoformat(content["text"]).replace(
        fold=content["fold"]
    ),
    "timedelta": lambda content: timedelta(*content["parts"]),
    "pandas.Timestamp": lambda content: _timestamp(
        content["value"], content["unit"], content["zone"]
    ),
    "pandas.Timedelta": lambda content: pd.Timedelta(
        np.timedelta64(content["value"], content["unit"])
    ),
    "pandas.NaT": lambda _: pd.NaT,
    "pandas.NA": lambda _: pd.NA,
    "numpy": _numpy_from_json,
}
