"""What the stored numbers of a FITS file mean: scales, offsets and null values.

astropy computes all scaled numbers of 8 and 16 bits as float32 and of 64 bits as float64,
forgets null values of unsigned numbers, and scales arrays of different lengths in the type
that they are stored in. So numbers are taken as they are stored, and computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ziggy_dask.errors import DeliveryError

Values = np.ndarray[Any, np.dtype[Any]]
EXACT = 2**53
"""Up to here every whole number is a float64."""
_OFFSETS = {"u1": -(2**7), "i2": 2**15, "i4": 2**31, "i8": 2**63}
"""Offsets by which numbers with or without a sign are stored (4.4.2.5, 5.2.5, 7.3.2)."""
_OTHERS = {"u1": "i1", "i2": "u2", "i4": "u4", "i8": "u8"}


def native(values: Any) -> Values:
    """Return values in the byte order of this machine; FITS has the other one (5)."""
    plain = np.asarray(values)
    return np.ascontiguousarray(plain, dtype=plain.dtype.newbyteorder("="))


def is_other_sign(stored: Values, scale: float, zero: float) -> bool:
    """Tell whether whole numbers are stored with an offset only for their sign."""
    return scale == 1 and _OFFSETS.get(stored.dtype.str[1:]) == zero


def meant(
    stored: Values,
    scale: float,
    zero: float,
    missing: Values | None,
    where: str,
    *,
    is_image: bool = False,
) -> Values:
    """Return what stored numbers mean.

    Parameters
    ----------
    stored
        Numbers as they are stored, in native byte order.
    scale, zero
        BSCALE and BZERO, or TSCAL and TZERO.
    missing
        Which of them stand for no value, which is NaN then; None: none.
    where
        What they are, for messages.
    is_image
        If so, numbers of 8 and 16 bits become float32 where that tells all of them apart,
        as astropy has it.

    Raises
    ------
    DeliveryError
        If 64-bit whole numbers would be rounded.
    """
    values: Values
    if is_other_sign(stored, scale, zero):
        kind = stored.dtype.str[1:]
        lowest = np.array(1 << (8 * stored.dtype.itemsize - 1), f"u{kind[1]}")
        values = (stored.view(lowest.dtype) ^ lowest).view(_OTHERS[kind])
    elif scale == 1 and zero == 0:
        values = stored
    elif stored.dtype.kind in "iu":
        _require_exact(stored, missing, where, "scaled")
        wide = _wide(stored.dtype, scale, zero, is_image=is_image)
        values = _scaled(stored.astype(wide), scale, zero)
    elif stored.dtype.kind in "fc":
        wide = np.dtype("c16" if stored.dtype.kind == "c" else "f8")
        values = _scaled(stored.astype(wide), scale, zero)
    else:
        raise DeliveryError(f"{where} has a scale, but no numbers; write it without")
    if missing is None or not missing.any():
        return values
    if values.dtype.kind in "iu":
        _require_exact(values, missing, where, "null values among")
        is_small = is_image and values.dtype.itemsize <= 2
        values = values.astype("f4" if is_small else "f8")
    return np.where(missing, np.array(np.nan, values.dtype), values)


def _scaled(values: Values, scale: float, zero: float) -> Values:
    if scale != 1:
        values *= scale
    if zero != 0:
        values += zero
    return values


def _wide(
    dtype: np.dtype[Any], scale: float, zero: float, *, is_image: bool
) -> np.dtype[Any]:
    """Return the type in which scaled numbers stay apart."""
    limits = np.iinfo(dtype)
    ends = [zero + scale * end for end in (int(limits.min), int(limits.max))]
    step = float(np.spacing(np.float32(max(map(abs, ends)))))
    is_enough = is_image and dtype.itemsize <= 2 and step <= abs(scale) / 2
    return np.dtype("f4" if is_enough else "f8")


def _require_exact(
    stored: Values, missing: Values | None, where: str, what: str
) -> None:
    if stored.dtype.itemsize < 8:
        return
    present = stored if missing is None else stored[~missing]
    large = (present > EXACT) | (
        (present < -EXACT) if stored.dtype.kind == "i" else False
    )
    if large.any():
        raise DeliveryError(
            f"{where} has {what} 64-bit whole numbers beyond 2**53, which would be rounded; "
            "write them as they are, or as text"
        )


def scales_of(header: Any) -> Mapping[int, tuple[float, float]]:
    """Take the scales of columns out of the header of a table; return them by number.

    Without them, astropy reads columns as they are stored.
    """
    count = int(header.get("TFIELDS", 0))
    found = {}
    for number in range(1, count + 1):
        scale, zero = header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0)
        for keyword in (f"TSCAL{number}", f"TZERO{number}"):
            header.remove(keyword, ignore_missing=True)
        found[number - 1] = (scale, zero)
    return found
