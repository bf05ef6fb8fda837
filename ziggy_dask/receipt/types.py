"""The types that variables of a product get when the files of a delivery differ."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

Dtype = np.dtype[Any]
_EXACT_BITS = {2: 11, 4: 24, 8: 53}
"""Bits of a whole number that a float of so many bytes holds exactly."""
_TEXT, _BYTES = frozenset("UT"), frozenset("S")
"""Kinds of types that may be of any width; each item keeps its own."""


def common_types(
    seen: Mapping[str, Mapping[Hashable, Dtype]],
    stored: Mapping[Hashable, Dtype],
    declared: frozenset[str],
) -> tuple[dict[Hashable, Dtype], dict[str, str]]:
    """Return the type that each variable gets, and what is wrong with which file.

    The order of files makes no difference.

    Parameters
    ----------
    seen
        Types of the variables, by name of file.
    stored
        Types that the product has already.
    declared
        Variables whose types the data type declares, which are not looked at.

    Returns
    -------
    dict
        Types of the variables that are not of one type everywhere, and can be.
    dict
        Faults by name of file.
    """
    types: dict[Hashable, Dtype] = {}
    faults: dict[str, str] = {}
    names = dict.fromkeys(name for found in seen.values() for name in found)
    for name in names:
        by_file = {file: found[name] for file, found in seen.items() if name in found}
        if name in declared:
            continue
        wanted = stored.get(name) or _common(set(by_file.values()))
        for file, dtype in by_file.items():
            if wanted is not None and holds(wanted, dtype):
                if wanted != dtype:
                    types[name] = wanted
                continue
            is_new = name not in stored
            where = _example(by_file, dtype) if is_new else f"{wanted} in the product"
            faults.setdefault(
                file,
                f"variable {name!r} is of type {dtype}, but {where}; convert it, or "
                f"declare one type for all: 'dtypes: {{{name}: ...}}'",
            )
    return types, faults


def holds(wanted: Dtype, dtype: Dtype) -> bool:
    """Tell whether a type holds every value of another one, exactly.

    Examples
    --------
    >>> holds(np.dtype("f8"), np.dtype("i4")), holds(np.dtype("f8"), np.dtype("i8"))
    (True, False)
    """
    if not _are_numpy([wanted, dtype]):
        return bool(wanted == dtype)  # of pandas; nothing is converted to or from these
    kinds = {wanted.kind, dtype.kind}
    if wanted == dtype or kinds <= _TEXT or kinds <= _BYTES:
        return True
    if wanted.kind == "M" and dtype.kind == "M":
        return True  # whether times are in reach is seen when they are converted
    if wanted.kind in "fc" and dtype.kind in "iu":
        size = wanted.itemsize if wanted.kind == "f" else wanted.itemsize // 2
        bits = dtype.itemsize * 8 - (dtype.kind == "i")
        return bits <= _EXACT_BITS.get(size, 64)
    is_number = wanted.kind in "iufc" and dtype.kind in "iufc"
    return is_number and bool(np.can_cast(dtype, wanted, "safe"))


def converted(dataset: xr.Dataset, types: Mapping[Hashable, Dtype]) -> xr.Dataset:
    """Return a Dataset whose variables have these types.

    Raises
    ------
    ValueError
        If a time is out of reach of its new type.
    """
    changed = {}
    for name, dtype in types.items():
        variable = dataset.variables.get(name)
        if variable is None or variable.dtype == dtype or dtype.kind in "UTS":
            continue
        changed[name] = variable.astype(dtype)
        if dtype.kind == "M":
            back = changed[name].astype(variable.dtype)
            if not _same_times(back.values, variable.values):
                raise ValueError(f"variable {name!r} has times out of reach of {dtype}")
    return dataset.assign(changed) if changed else dataset


def _same_times(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return bool(((one == other) | (np.isnat(one) & np.isnat(other))).all())


def _common(dtypes: set[Dtype]) -> Dtype | None:
    """Return the smallest type that holds all values of all of these; None: none does."""
    kinds = {dtype.kind for dtype in dtypes}
    if len(dtypes) == 1:
        return next(iter(dtypes))
    if not _are_numpy(dtypes):
        return None
    if kinds <= _TEXT or kinds <= _BYTES:
        return next(iter(dtypes))
    if not (kinds <= set("iufc") or kinds == {"M"}):
        return None
    wanted: Dtype = np.result_type(*dtypes)
    return wanted if all(holds(wanted, dtype) for dtype in dtypes) else None


def _are_numpy(dtypes: Iterable[Any]) -> bool:
    """Tell whether types are of NumPy; some are of pandas."""
    return all(isinstance(dtype, np.dtype) for dtype in dtypes)


def _example(by_file: Mapping[str, Dtype], dtype: Dtype) -> str:
    file, other = next(
        (file, other) for file, other in by_file.items() if other != dtype
    )
    return f"{other} in {file!r}, and no type holds both exactly"
