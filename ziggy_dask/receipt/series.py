"""Series of files: pieces along one dimension, each with labels of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore import Labels
from ziggy_dask.errors import DeliveryError

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
    labels = Labels(np.asarray(own.values))
    values = labels.values
    if values.dtype.kind in "iufM" and (values[1:] < values[:-1]).any():
        raise DeliveryError(f"its items are not in order along {dimension!r}")
    return labels


def in_order(
    by_file: Mapping[str, Labels],
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return files in the order of their labels, gaps to tell of, and faults.

    Parameters
    ----------
    by_file
        Labels of the items of each file.

    Returns
    -------
    list
        Names of the files, in order; text stays in the order of names.
    list
        Where steps are missing between the labels.
    dict
        What is wrong, by file: another one has the same labels, or reaches into it.
    """
    sorts = {labels.values.dtype.kind for labels in by_file.values()}
    if len({"n" if kind in "iuf" else kind for kind in sorts}) > 1:
        names = list(by_file)
        first = by_file[names[0]].values.dtype
        return (
            names,
            [],
            {
                name: f"the file {name!r} labels its items by {labels.values.dtype}, "
                f"where {names[0]!r} has {first}"
                for name, labels in by_file.items()
                if labels.values.dtype.kind != first.kind
            },
        )
    order = [name for name in by_file if len(by_file[name])]
    if "U" not in sorts:
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
    for before, after in pairwise(order) if "U" not in sorts else ():
        is_within = by_file[before].values[-1] > by_file[after].values[0]
        if is_within and after not in faults:
            faults[after] = (
                f"the files {before!r} and {after!r} overlap: the first one goes to "
                f"{by_file[before].texts()[-1]}, the second one begins at "
                f"{by_file[after].texts()[0]}"
            )
    good = [by_file[name].values for name in order if name not in faults]
    gaps = _gaps(np.concatenate(good)) if good and "U" not in sorts else []
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
