"""Series of files: pieces along one dimension, each with labels of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ziggy_dask.datastore import Labels, common_type
from ziggy_dask.errors import DatastoreError, DeliveryError

_MOST_TOLD = 3
_GAP = 1.5
"""A step that is so many times the usual one is a gap."""


def as_labels(piece: xr.Dataset, dimension: str) -> Labels:
    """Return the labels that a file gives its items.

    Raises
    ------
    DeliveryError
        If it has none, or they are not in order.
    DatastoreError
        If they can't tell items apart.
    """
    own = piece.variables.get(dimension)
    if own is None:
        raise DeliveryError(
            f"it has no coordinate {dimension!r}, which would name its items"
        )
    if own.dtype.kind not in "iufUTOM":
        raise DeliveryError(
            f"its coordinate {dimension!r} is of type {own.dtype}; labels are text, "
            "numbers or times"
        )
    given = np.asarray(own.values)
    _require_telling(given, dimension)
    labels = Labels(given)
    values = labels.values
    if values.dtype.kind in "iufM" and (values[1:] < values[:-1]).any():
        raise DeliveryError(f"its items are not in order along {dimension!r}")
    return labels


def _require_telling(given: np.ndarray[Any, Any], dimension: str) -> None:
    """Refuse objects that would become text which they are not."""
    if given.dtype.kind not in "OT":
        return
    objects = given.astype(object).ravel()
    missing = np.flatnonzero(pd.isna(objects))
    if missing.size:
        raise DeliveryError(
            f"{missing.size} of its {objects.size} items have no label along "
            f"{dimension!r}, the first at place {missing[0]}; give each one of its own"
        )
    if any(isinstance(one, bytes) for one in objects):
        raise DeliveryError(
            f"its coordinate {dimension!r} holds bytes; labels are text, numbers or times"
        )


def in_one_type(
    by_file: Mapping[str, Labels], stored: Labels | None
) -> tuple[dict[str, Labels], dict[str, str]]:
    """Return labels of files in the one type that a product has, and faults.

    Parameters
    ----------
    by_file
        Labels of the items of each file.
    stored
        Those that the product has already; None: it is new.

    Returns
    -------
    dict
        The labels by file, each exactly what it was.
    dict
        What is wrong, by file: labels of a type that the others can't be brought to.
    """
    if not by_file:
        return {}, {}
    if stored is not None:
        whose, dtype = "the product", stored.values.dtype
    else:
        first = next(
            (name for name, one in by_file.items() if len(one)), next(iter(by_file))
        )
        whose, dtype = repr(first), by_file[first].values.dtype
        dtype = common_type(by_file.values()) or dtype
    good, faults = {}, {}
    for name, labels in by_file.items():
        try:
            good[name] = labels.as_type(dtype)
        except DatastoreError as error:
            faults[name] = (
                f"the file {name!r} labels its items by {labels.values.dtype}, where "
                f"{whose} has {dtype}: {error}; give all labels one type"
            )
    return good, faults


def in_order(
    by_file: Mapping[str, Labels],
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return files in the order of their labels, gaps to tell of, and faults.

    Parameters
    ----------
    by_file
        Labels of the items of each file, of one type.

    Returns
    -------
    list
        Names of the files, in order; text stays in the order of names.
    list
        Where steps are missing between the labels.
    dict
        What is wrong, by file: another one has the same labels, or reaches into it.
    """
    is_text = any(labels.values.dtype.kind == "U" for labels in by_file.values())
    order = [name for name in by_file if len(by_file[name])]
    if not is_text:
        order.sort(key=lambda name: by_file[name].values[0])
    empty = [name for name in by_file if not len(by_file[name])]
    faults = {name: f"the file {name!r} holds no items" for name in empty}
    seen: dict[str, str] = {}
    for name in order:
        again = [text for text in by_file[name] if text in seen]
        if again:
            faults[name] = (
                f"the files {seen[again[0]]!r} and {name!r} overlap: both have "
                f"{_few(again)}"
            )
        seen |= dict.fromkeys(by_file[name], name)
    for before, after in pairwise(order) if not is_text else ():
        is_within = by_file[before].values[-1] > by_file[after].values[0]
        if is_within and after not in faults:
            faults[after] = (
                f"the files {before!r} and {after!r} overlap: the first one goes to "
                f"{by_file[before].texts()[-1]}, the second one begins at "
                f"{by_file[after].texts()[0]}"
            )
    good = [by_file[name].values for name in order if name not in faults]
    gaps = _gaps(np.concatenate(good)) if good and not is_text else []
    return order, gaps, faults


def _gaps(values: np.ndarray[Any, Any]) -> list[str]:
    if len(values) < _MOST_TOLD:
        return []
    steps = np.diff(values)
    usual = np.median(steps.astype("f8"))
    wide = np.flatnonzero(steps.astype("f8") > _GAP * usual)
    if not len(wide):
        return []
    shown = ", ".join(f"{values[i]!s} to {values[i + 1]!s}" for i in wide[:_MOST_TOLD])
    more = f" and {len(wide) - _MOST_TOLD} more" if len(wide) > _MOST_TOLD else ""
    return [f"gaps between its items: {shown}{more}"]


def _few(texts: list[str]) -> str:
    more = f" and {len(texts) - _MOST_TOLD} more" if len(texts) > _MOST_TOLD else ""
    return f"{', '.join(texts[:_MOST_TOLD])}{more}"
