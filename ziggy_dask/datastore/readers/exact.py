"""Whole numbers that decoding would round: refused, or read as they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    """Refuse 64-bit numbers that became float64 for a fill value, and are not the same.

    Parameters
    ----------
    path
        The file, for the message.
    reader
        Name of the reader, whose option ``unmasked`` is the way out.
    decoded, raw
        What it holds, and how it is stored.
    """
    changed = [
        str(name)
        for name, variable in decoded.variables.items()
        if variable.dtype.kind == "f"
        and name in raw.variables
        and raw.variables[name].dtype.kind in "iu"
        and raw.variables[name].dtype.itemsize == 8
        and not {"scale_factor", "add_offset"} & set(variable.encoding)
        and _has_large(raw.variables[name], variable.encoding)
    ]
    if changed:
        raise DeliveryError(
            f"{path}: {listed(changed)}: 64-bit whole numbers beyond 2**53 with a fill "
            "value would be rounded when they are masked; read them as they are by "
            f"'reader: {{{reader}: {{unmasked: [{', '.join(changed)}]}}}}'"
        )


def _has_large(raw: xr.Variable, encoding: Mapping[Hashable, Any]) -> bool:
    """Tell whether any value but the fill values is beyond 2**53."""
    fills = [encoding[k] for k in ("_FillValue", "missing_value") if k in encoding]
    rows = max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(raw.shape[1:], dtype="i8"))))
    starts = range(0, raw.shape[0], rows) if raw.ndim else (0,)
    for start in starts:
        part = raw[start : start + rows] if raw.ndim else raw
        values = np.asarray(part.values)
        large = (values > _EXACT) | (
            values < -_EXACT if values.dtype.kind == "i" else False
        )
        if large.any() and not np.isin(values[large], fills).all():
            return True
    return False
