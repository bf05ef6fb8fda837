"""The readers of tables: comma separated values, and Parquet."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from ziggy_dask.errors import DeliveryError

_OPENERS: dict[str, Callable[[Path, str], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,  # type: ignore[dict-item]
    ".xz": lzma.open,  # type: ignore[dict-item]
}
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf(inity)?)",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"[+-]?\d+")
_TIME = re.compile(r"[+-]?\d{4,}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?Z?)?)?")
_EXACT = 2**53
_DIGITS = re.compile(r"[+-]?[0.]*[1-9]")
"""Begins a number that is neither zero nor infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    line: int
    fields: list[str]


def read_csv(path: Path) -> xr.Dataset:
    """Read a time series from a table of comma separated numbers and times.

    The first column is time. Names come from the first line if nothing in it is a
    number or a time; if everything in it is, they are ``time``, ``flux``,
    ``column_2``, and so on. Empty lines and lines that begin with ``#`` are skipped.
    The file may be compressed: ``.gz``, ``.bz2``, ``.xz``.

    Returns
    -------
    xarray.Dataset
        Variables of dimension ``time``, with coordinate ``time``: float64 for numbers,
        an empty field being NaN; int64 or uint64 where whole numbers are beyond 2**53;
        datetime64 for times, UTC, in nanoseconds, or in microseconds for times that
        these don't reach.

    Raises
    ------
    DeliveryError
        With the line, if it is short or long, has a text that is neither number nor
        time, or a number that would be changed.
    """
    rows = _rows(path)
    if not rows:
        raise DeliveryError(f"{path}: has no lines")
    names = _names(path, rows[0])
    if names is None:
        names = [
            "time",
            "flux",
            *(f"column_{i}" for i in range(2, len(rows[0].fields))),
        ]
        original, names = "time", names[: len(rows[0].fields)]
    else:
        original, names = names[0], ["time", *names[1:]]
        rows = rows[1:]
    _require_same_length(path, rows, len(names))
    columns = {
        name: _values(path, name, [(row.line, row.fields[i]) for row in rows])
        for i, name in enumerate(names)
    }
    attrs = {} if original == "time" else {"column": original}
    return xr.Dataset(
        {
            name: (("time",), values)
            for name, values in columns.items()
            if name != "time"
        },
        coords={"time": ("time", columns["time"], attrs)},
    )


def read_parquet(path: Path) -> xr.Dataset:
    """Read a Parquet table.

    Returns
    -------
    xarray.Dataset
        A variable for each column, along the column that is the table's index; with an
        index of several columns, along ``row``, with these as coordinates. What the file
        says of columns, and of itself, is attributes.

    Raises
    ------
    DeliveryError
        If pyarrow is missing, or two columns have one name.
    """
    import pandas as pd

    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DeliveryError(
            f"{path}: Parquet files are read by pyarrow, which is not installed; "
            "install it with: pip install 'ziggy-dask[parquet]'"
        ) from error
    schema = parquet.read_schema(path)
    twice = _twice(schema.names)
    if twice:
        raise DeliveryError(
            f"{path}: several columns are called {twice[0]!r}; names must differ"
        )
    _require_one_missing(path, parquet, schema)
    table = pd.read_parquet(path, engine="pyarrow", dtype_backend="numpy_nullable")
    along = [str(name) for name in table.index.names if name is not None]
    if len(along) > 1:  # to_xarray would make a dimension of each, with holes
        table = table.reset_index().rename_axis("row")
    if "row" in table.columns and table.index.name == "row":
        raise DeliveryError(
            f"{path}: its index has several columns, so that its dimension would be "
            "'row', but a column has that name, too; rename it"
        )
    dataset: xr.Dataset = table.to_xarray()
    if len(along) > 1:
        dataset = dataset.drop_vars("row").set_coords(along)
    dataset.attrs = {**_said_in(schema.metadata), **table.attrs}
    for field in schema:
        if field.name in dataset.variables:
            dataset[field.name].attrs = _said_in(field.metadata)
    return dataset


def _require_one_missing(path: Path, parquet: Any, schema: Any) -> None:
    """Refuse columns with nulls and NaN, which would be the same.

    Raises
    ------
    DeliveryError
        With the first such column.
    """
    from pyarrow import compute, types

    floats = [field.name for field in schema if types.is_floating(field.type)]
    if not floats:
        return
    with parquet.ParquetFile(path) as file:
        has_null, has_nan = set(), set()
        for batch in file.iter_batches(columns=floats):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                has_null |= {name} if column.null_count else set()
                is_nan = compute.any(compute.is_nan(column)).as_py()
                has_nan |= {name} if is_nan else set()
    both = sorted(has_null & has_nan)
    if both:
        raise DeliveryError(
            f"{path}: column {both[0]!r} has nulls and NaN, which would be the same; "
            "write one of the two, or what is null as a column of its own"
        )


def _said_in(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return what users wrote into the metadata of a Parquet file."""
    ours = (b"pandas", b"ARROW:schema", b"PARQUET:field_id", b"PANDAS_ATTRS")
    return {
        key.decode(): value.decode()
        for key, value in (metadata or {}).items()
        if key not in ours
    }


def _rows(path: Path) -> list[_Row]:
    """Return the fields of all lines but comments and empty ones."""
    opener = _OPENERS.get(path.suffix)
    try:
        with opener(path, "rb") if opener else path.open("rb") as stream:
            text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DeliveryError(
            f"{path}:{line}: is not UTF-8 text: {error.reason}"
        ) from error
    numbers: list[int] = []
    reader = csv.reader(_data_lines(text, numbers), skipinitialspace=True, strict=True)
    rows: list[_Row] = []
    begin = 0
    try:
        for fields in reader:
            rows.append(
                _Row(line=numbers[begin], fields=[one.strip() for one in fields])
            )
            begin = reader.line_num
    except csv.Error as error:
        line = numbers[begin] if begin < len(numbers) else len(numbers)
        raise DeliveryError(f"{path}:{line}: is not a sound line: {error}") from error
    return rows


def _data_lines(text: str, numbers: list[int]) -> Iterator[str]:
    """Yield the lines that hold data; `numbers` gets where they are."""
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            numbers.append(number)
            yield line


def _names(path: Path, first: _Row) -> list[str] | None:
    """Return the names in the first line, or None if it holds values."""
    are_values = [not one or _is_value(one) for one in first.fields]
    if all(are_values):
        return None
    place = f"{path}:{first.line}"
    if any(are_values):
        mixed = [
            one for one, is_one in zip(first.fields, are_values, strict=True) if is_one
        ]
        raise DeliveryError(
            f"{place}: it can't be told whether this line has names or values: "
            f"{mixed[0]!r} is not a name; give every column a name"
        )
    seen = ["time", *first.fields[1:]]
    twice = _twice(seen)
    if twice:
        raise DeliveryError(
            f"{place}: several columns are called {twice[0]!r}"
            + (", as the first one is" if twice[0] == "time" else "")
            + "; names must differ"
        )
    return first.fields


def _twice(names: Sequence[str]) -> list[str]:
    """Return the names that stand there more than once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _is_value(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _TIME.fullmatch(text))


def _require_same_length(path: Path, rows: Sequence[_Row], length: int) -> None:
    wrong = [row for row in rows if len(row.fields) != length]
    if wrong:
        more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
        raise DeliveryError(
            f"{path}:{wrong[0].line}: has {len(wrong[0].fields)} fields instead of "
            f"{length}{more}"
        )


def _values(
    path: Path, name: str, fields: list[tuple[int, str]]
) -> np.ndarray[Any, Any]:
    """Return the values of a column, exactly."""
    texts = [text for _, text in fields if text]
    if texts and all(
        _TIME.fullmatch(text) and not _WHOLE.fullmatch(text) for text in texts
    ):
        return _times(path, name, fields)
    for line, text in fields:
        if text and not _NUMBER.fullmatch(text):
            raise DeliveryError(
                f"{path}:{line}: column {name!r}: {text!r} is not a number"
                + (", as others in the column are" if _TIME.fullmatch(text) else "")
            )
    large = [
        (line, text)
        for line, text in fields
        if _WHOLE.fullmatch(text) and abs(int(text)) > _EXACT
    ]
    if large:
        return _whole(path, name, fields, *large[0])
    numbers = np.array([float(text or "nan") for _, text in fields], dtype="f8")
    for place in np.flatnonzero(np.isinf(numbers) | (numbers == 0)):
        line, text = fields[place]
        if _DIGITS.match(text):
            raise DeliveryError(
                f"{path}:{line}: column {name!r}: {text} is beyond what a float64 can "
                "hold; scale the column"
            )
    return numbers


def _times(
    path: Path, name: str, fields: Sequence[tuple[int, str]]
) -> np.ndarray[Any, Any]:
    """Return times in nanoseconds, or in microseconds where these don't reach."""
    plain = [text.removesuffix("Z").replace(" ", "T") or "NaT" for _, text in fields]
    whole = np.array(plain, dtype="M8[s]")
    years = whole[~np.isnat(whole)].astype("M8[Y]").astype(int) + 1970
    if ((years > 1677) & (years < 2262)).all():
        return np.array(plain, dtype="M8[ns]")
    for line, text in fields:
        if text.removesuffix("Z").partition(".")[2][6:].strip("0"):
            raise DeliveryError(
                f"{path}:{line}: column {name!r}: {text} has nanoseconds, which are kept "
                "from 1678 to 2261 alone, and the column has other years"
            )
    return np.array(plain, dtype="M8[us]")


def _whole(
    path: Path, name: str, fields: list[tuple[int, str]], line: int, large: str
) -> np.ndarray[Any, Any]:
    """Return whole numbers that float64 can't hold."""
    for other, text in fields:
        if not _WHOLE.fullmatch(text):
            raise DeliveryError(
                f"{path}:{line}: column {name!r}: {large} can be kept only among whole "
                f"numbers, but line {other} has {text!r}"
            )
    numbers = [int(text) for _, text in fields]
    kind = np.dtype("u8" if max(numbers) > np.iinfo("i8").max else "i8")
    if max(numbers) > np.iinfo(kind).max or min(numbers) < np.iinfo(kind).min:
        raise DeliveryError(
            f"{path}:{line}: column {name!r} has whole numbers over 64 bits, which no "
            "Dataset can hold"
        )
    return np.array(numbers, dtype=kind)
