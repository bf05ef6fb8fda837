"""Whole numbers that decoding would round: refused, or read as they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.readers.parts import listed
from ziggy_dask.errors import DeliveryError

_EXACT = 2**53
"""Up to here every whole number is a float64."""
_BLOCK_ELEMENTS = 4_000_000


def as_names(unmasked: str | Sequence[str]) -> list[str]:
    """Return the names of variables whose fill values stay as they are."""
    return [unmasked] if isinstance(unmasked, str) else list(unmasked)


def require_exact(
    path: Path, reader: str, decoded: xr.Dataset, raw: xr.Dataset
) -> None:
    """Refuse whole numbers that became floats, and are not told apart by these any more.

    64-bit ones become float64 for a fill value; packed ones what their scale and offset
    are, perhaps float32.

    Parameters
    ----------
    path
        The file, for the message.
    reader
        Name of the reader, whose option ``unmasked`` is the way out.
    decoded, raw
        What it holds, and how it is stored.
    """
    pairs = {
        str(name): (variable, raw.variables[name])
        for name, variable in decoded.variables.items()
        if variable.dtype.kind == "f"
        and name in raw.variables
        and raw.variables[name].dtype.kind in "iu"
    }
    changed = [name for name, pair in pairs.items() if _is_rounded(*pair)]
    merged = [name for name, pair in pairs.items() if _are_merged(*pair)]
    way_out = "read them as they are by 'reader: {{{reader}: {{unmasked: [{names}]}}}}'"
    if changed:
        fix = way_out.format(reader=reader, names=", ".join(changed))
        raise DeliveryError(
            f"{path}: {listed(changed)}: 64-bit whole numbers beyond 2**53 with a fill "
            f"value would be rounded when they are masked; {fix}"
        )
    if merged:
        fix = way_out.format(reader=reader, names=", ".join(merged))
        raise DeliveryError(
            f"{path}: {listed(merged)}: packed numbers that differ would be the same when "
            f"they are unpacked, as their scale and offset want it; {fix}"
        )


def _is_packed(variable: xr.Variable) -> bool:
    return bool({"scale_factor", "add_offset"} & set(variable.encoding))


def _is_rounded(decoded: xr.Variable, raw: xr.Variable) -> bool:
    """Tell whether masking rounds whole numbers."""
    return (
        raw.dtype.itemsize == 8
        and not _is_packed(decoded)
        and _has_large(raw, decoded.encoding)
    )


def _are_merged(decoded: xr.Variable, raw: xr.Variable) -> bool:
    """Tell whether floats that unpacking gives are too coarse for the packed numbers."""
    if not _is_packed(decoded) or not raw.size:
        return False
    limits = np.iinfo(raw.dtype)
    if not _is_too_coarse(decoded, limits.min, limits.max):
        return False
    fills = _fills(decoded.encoding)
    return any(
        _is_too_coarse(decoded, int(present.min()), int(present.max()))
        for values in _blocks(raw)
        if (present := values[~np.isin(values, fills)]).size
    )


def _is_too_coarse(decoded: xr.Variable, least: int, most: int) -> bool:
    scale = float(decoded.encoding.get("scale_factor", 1))
    offset = float(decoded.encoding.get("add_offset", 0))
    ends = [abs(offset + scale * end) for end in (least, most)]
    return bool(
        np.spacing(decoded.dtype.type(max(ends))) > abs(scale) and least != most
    )


def _has_large(raw: xr.Variable, encoding: Mapping[Hashable, Any]) -> bool:
    """Tell whether any value but the fill values is beyond 2**53."""
    fills = _fills(encoding)
    for values in _blocks(raw):
        large = (values > _EXACT) | (
            values < -_EXACT if values.dtype.kind == "i" else False
        )
        if large.any() and not np.isin(values[large], fills).all():
            return True
    return False


def _fills(encoding: Mapping[Hashable, Any]) -> list[Any]:
    """Return all numbers that stand for none; there may be several of each kind."""
    given = [encoding[k] for k in ("_FillValue", "missing_value") if k in encoding]
    found = [one for value in given for one in np.ravel(value).tolist()]
    return [one for one in found if isinstance(one, int | float)]


def _blocks(raw: xr.Variable) -> Iterator[np.ndarray[Any, Any]]:
    """Yield all values, some rows at a time."""
    rows = max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(raw.shape[1:], dtype="i8"))))
    starts = range(0, raw.shape[0], rows) if raw.ndim else (0,)
    for start in starts:
        part = raw[start : start + rows] if raw.ndim else raw
        yield np.asarray(part.values)
