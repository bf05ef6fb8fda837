"""The columns of FITS tables, with what is missing in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ziggy_dask.datastore.readers.fits_header import decoded
from ziggy_dask.errors import DeliveryError

Values = np.ndarray[Any, np.dtype[Any]]
_EXACT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as it was read."""

    values: Values
    """Values by row; if lengths differ, all elements one after another."""
    lengths: Values | None = None
    """Number of elements in each row, if they differ."""
    keeps_null: bool = True
    """Whether the number for no value may still stand in it."""


def read_column(path: Path, unit: Any, number: int) -> Column:
    """Read a column of a table; null values are missing (4.4.2, 7.2.2, 7.3.2).

    Raises
    ------
    DeliveryError
        If it has null values, and numbers that would be rounded among them.
    """
    column = unit.columns[number]
    raw = _raw(unit, column.name)
    if raw is not None and raw.dtype.kind == "S" and "A" in str(column.format):
        return Column(values=_texts(raw, unit.data.field(number)))
    values = np.asarray(unit.data.field(number))
    if values.dtype == object:
        return _ragged(path, unit, column, values)
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    missing = _nulls(column, raw, values)
    if missing is None or not missing.any():
        return Column(values=values)
    if values.dtype.kind in "iu":
        present = values[~missing]
        if ((present > _EXACT) | (present < -_EXACT)).any():
            raise DeliveryError(
                f"{path}: column {column.name!r} of {unit.name or 'a table'} has null "
                "values among whole numbers beyond 2**53, which would be rounded"
            )
        values = values.astype("f8")
    return Column(values=np.where(missing, np.nan, values), keeps_null=False)


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


def _ragged(path: Path, unit: Any, column: Any, rows: Values) -> Column:
    """Return arrays of different lengths one after another (7.3.5)."""
    parts = [np.asarray(row) for row in rows]
    where = f"{path}: column {column.name!r} of {unit.name or 'a table'}"
    if any(part.dtype.kind in "SU" for part in parts):
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
    values = np.ascontiguousarray(joined, dtype=joined.dtype.newbyteorder("="))
    return Column(values=values, lengths=lengths)
