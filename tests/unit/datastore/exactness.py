"""What "the same" means, judged without any code of the datastore."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr


def differences(given: xr.Dataset, found: xr.Dataset) -> list[str]:
    """Return in what two Datasets differ: names, order, values, types, attributes."""
    wrong = []
    if list(given.data_vars) != list(found.data_vars):
        wrong.append(f"variables {list(given.data_vars)} -> {list(found.data_vars)}")
    if list(given.coords) != list(found.coords):
        wrong.append(f"coordinates {list(given.coords)} -> {list(found.coords)}")
    if dict(given.sizes) != dict(found.sizes):
        wrong.append(f"sizes {dict(given.sizes)} -> {dict(found.sizes)}")
    if not same_value(dict(given.attrs), dict(found.attrs)):
        wrong.append(f"attributes {given.attrs} -> {found.attrs}")
    for name in set(given.variables) & set(found.variables):
        one, other = given.variables[name], found.variables[name]
        wrong += [f"{name!r}: {text}" for text in variable_differences(one, other)]
    return wrong


def variable_differences(given: xr.Variable, found: xr.Variable) -> list[str]:
    """Return in what two variables differ."""
    wrong = []
    if given.dims != found.dims:
        wrong.append(f"dims {given.dims} -> {found.dims}")
    if given.dtype != found.dtype:
        wrong.append(f"dtype {given.dtype} -> {found.dtype}")
    if not same_value(dict(given.attrs), dict(found.attrs)):
        wrong.append(f"attributes {given.attrs} -> {found.attrs}")
    one, other = _plain(given), _plain(found)
    if one.shape != other.shape or not same_array(one, other):
        wrong.append(f"values {one!r} -> {other!r}")
    return wrong


def _plain(variable: xr.Variable) -> np.ndarray:
    if isinstance(variable.dtype, np.dtype):
        return np.asarray(variable.values)
    return np.asarray(pd.array(np.asarray(variable.data, dtype=object)), dtype=object)


def same_array(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether arrays have the same values; not-a-number is as good as another."""
    if one.dtype.kind in "OT":
        return all(map(same_value, one.ravel().tolist(), other.ravel().tolist()))
    if one.dtype.kind == "c":
        return same_array(one.real, other.real) and same_array(one.imag, other.imag)
    if one.dtype.kind in "f":
        both_nan = np.isnan(one) & np.isnan(other)
        signs = np.signbit(one) == np.signbit(other)
        return bool((both_nan | ((one == other) & signs)).all())
    if one.dtype.kind in "mM":
        return np.array_equal(one.astype("i8"), other.astype("i8"))
    return np.array_equal(one, other)


def same_value(one: object, other: object) -> bool:
    """Tell whether two values are of the same type and equal."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and same_array(one, other)
        )
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and same_array(np.array(one), np.array(other))
    if isinstance(one, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, complex):
        return same_value(one.real, other.real) and same_value(one.imag, other.imag)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same_value(one[key], other[key]) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if one is pd.NA or one is pd.NaT:
        return one is other
    return bool(one == other)
