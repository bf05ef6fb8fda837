"""The columns of FITS tables, with what is missing in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ziggy_dask.datastore.readers.fits_header import decoded
from ziggy_dask.datastore.readers.fits_numbers import is_other_sign, meant, native
from ziggy_dask.errors import DeliveryError

Values = np.ndarray[Any, np.dtype[Any]]
_FALSE, _TRUE = b"F", b"T"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as it was read."""

    values: Values
    """Values by row; if lengths differ, all elements one after another."""
    lengths: Values | None = None
    """Number of elements in each row, if they differ."""
    null: Any = None
    """What stands for no value where that may still stand in it; None: nothing does."""


def read_column(
    path: Path, unit: Any, number: int, scale: tuple[float, float] = (1, 0)
) -> Column:
    """Read a column of a table; null values are missing (4.4.2, 7.2.2, 7.3.2).

    Parameters
    ----------
    path
        The file, for messages.
    unit
        The table, without scales in its header, and with logical values as bytes.
    number
        Number of the column, from 0.
    scale
        Its TSCAL and TZERO.

    Raises
    ------
    DeliveryError
        If it has numbers that would be rounded, or what no Dataset can hold.
    """
    column = unit.columns[number]
    where = f"{path}: column {column.name!r} of {unit.name or 'a table'}"
    raw = _raw(unit, column.name)
    if raw is not None and raw.dtype.kind == "S" and "A" in str(column.format):
        return Column(values=_texts(raw, unit.data.field(number)))
    values = np.asarray(unit.data.field(number))
    if values.dtype == object:
        return _ragged(where, column, values, scale)
    if values.dtype.kind == "S":
        return Column(values=_logical(values, where))
    values = native(values)
    missing = _nulls(column, raw, values)
    if missing is None or not missing.any():
        null = _null(column, values, scale)
        return Column(values=meant(values, *scale, None, where), null=null)
    return Column(values=meant(values, *scale, missing, where))


def _null(column: Any, stored: Values, scale: tuple[float, float]) -> Any:
    """Return what stands for no value among what stored numbers mean."""
    if column.null is None or not is_other_sign(stored, *scale):
        return column.null
    return int(column.null) + int(scale[1])


def _logical(values: Values, where: str) -> Values:
    """Return logical values; 1, 0 and NaN, if a zero byte stands for none (7.3.3.1).

    Raises
    ------
    DeliveryError
        If there is anything else.
    """
    missing = values == b""
    wrong = values[~missing & (values != _TRUE) & (values != _FALSE)]
    if wrong.size:
        first = wrong.ravel()[0].decode("latin-1")
        raise DeliveryError(
            f"{where} has the logical value {first!r}; it can only be T, F or a zero "
            "byte, for none"
        )
    if not missing.any():
        return np.asarray(values == _TRUE)
    return np.where(missing, np.nan, values == _TRUE)


def _raw(unit: Any, name: str) -> Values | None:
    """Return a column as its bytes lie in the table."""
    plain = np.asarray(unit.data).view(np.ndarray)
    return plain[name] if plain.dtype.names and name in plain.dtype.names else None


def _texts(raw: Values, shown: Any) -> Values:
    """Return text without the blanks and zeros at its end (7.3.3.1)."""
    shape = np.shape(shown)
    cut = [one.split(b"\0", 1)[0].rstrip() for one in raw.ravel().tolist()]
    joined = b"".join(cut)
    if joined.isascii():
        texts = [one.decode("ascii") for one in cut]
    else:
        texts = [decoded(one) for one in cut]
    values = np.array(texts, dtype=str) if texts else np.empty(0, dtype="U1")
    if values.size != int(np.prod(shape, dtype="i8")):
        return np.asarray(shown).astype(str)
    return values.reshape(shape)


def _nulls(column: Any, raw: Values | None, values: Values) -> Values | None:
    """Return where values are missing; None if the table knows of no such thing."""
    if column.null is None or raw is None:
        return None
    if raw.dtype.kind == "S":
        blank = str(column.null).strip().encode()
        flags = [one.strip() == blank for one in raw.ravel().tolist()]
        return np.array(flags, dtype=bool).reshape(raw.shape)
    if raw.dtype.kind in "iu" and raw.shape == values.shape:
        return np.asarray(raw == int(column.null))
    return None


def _ragged(
    where: str, column: Any, rows: Values, scale: tuple[float, float]
) -> Column:
    """Return arrays of different lengths one after another (7.3.5)."""
    parts = [np.asarray(row) for row in rows]
    if "A" in str(column.format).partition("(")[0]:
        texts = [
            "".join(part.ravel().astype(str).tolist()) if part.ndim else str(part)
            for part in parts
        ]
        return Column(values=np.array(texts, dtype=str))
    if any(part.ndim != 1 or part.dtype == object for part in parts):
        raise DeliveryError(
            f"{where} has arrays of different shapes, which no Dataset can hold; write a "
            "reader of your own for it"
        )
    lengths = np.array([len(part) for part in parts], dtype="i8")
    joined = np.concatenate(parts) if parts else np.empty(0, dtype="f8")
    if joined.dtype.kind == "S":
        return Column(values=_logical(joined, where), lengths=lengths)
    stored = native(joined)
    is_scaled = any(one != other for one, other in zip(scale, (1, 0), strict=True))
    missing = None
    if is_scaled and column.null is not None and stored.dtype.kind in "iu":
        missing = np.asarray(stored == int(column.null))
    values = meant(stored, *scale, missing, where)
    null = None if values.dtype.kind == "f" else _null(column, stored, scale)
    return Column(values=values, lengths=lengths, null=null)
