"""Groups of a file as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ziggy_dask.datastore.attributes import same
from ziggy_dask.errors import DeliveryError


def as_tree(path: Path, parts: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Return the groups of a file as a tree.

    A tree hands coordinates down: a group with the same values for one as the group above
    has it from there, with that one's type and attributes.

    Parameters
    ----------
    path
        The file, for messages.
    parts
        Its groups by path.

    Raises
    ------
    DeliveryError
        If a coordinate of a group would not be what it is in the file.
    """
    tree = xr.DataTree.from_dict(parts)
    changed = [
        f"the coordinate {name!r} of the group {place!r}"
        for place, part in parts.items()
        for name in _changed(part, tree[place].to_dataset())
    ]
    if changed:
        raise DeliveryError(
            f"{path}: {'; '.join(changed)} has the values of that in the group above, but "
            "another type or other attributes, and would get those from there; name one "
            "group, or rename it"
        )
    return tree


def _changed(part: xr.Dataset, found: xr.Dataset) -> Iterator[str]:
    for name, given in part.coords.variables.items():
        other = found.variables[name]
        attrs, others = given.attrs, other.attrs
        is_same = (
            given.dtype == other.dtype
            and attrs.keys() == others.keys()
            and all(same_attribute(attrs[key], others[key]) for key in attrs)
        )
        if not is_same:
            yield str(name)


def same_attribute(one: object, other: object) -> bool:
    """Tell whether two attributes are the same, whatever they are made of."""
    if isinstance(one, np.void | np.ndarray) and one.dtype.kind == "V":
        return type(one) is type(other) and np.array_equal(one, np.asarray(other))
    return same(one, other)
