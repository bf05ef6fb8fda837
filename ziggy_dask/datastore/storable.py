"""What may be stored: the one place that decides it.

Receipt, functions, programs' outputs and export all ask here. The answer names all
faults of a Dataset at once. What has no fault comes back from the datastore exactly as it
was: names, values, types, dimensions, coordinates and attributes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from xarray.indexes import PandasMultiIndex

from ziggy_dask.datastore.attributes import Unstorable, to_json
from ziggy_dask.datastore.forms import Kind, form_of, values_of

ITEM_ATTRS = "ziggy_item_attrs"
"""Name of the coordinate that says what differs between the items of a product."""
ITEM_ATTRS_MARK = "attributes of each item that others do not have, as JSON"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of a Dataset that can't be stored as it is."""

    place: str
    """The variable, attribute or dimension, e.g. ``variable 'flux'``."""
    problem: str
    """What is wrong with it, and the fix."""

    def __str__(self) -> str:
        """Return both as one clause."""
        return f"{self.place} {self.problem}"


def faults_of(dataset: xr.Dataset) -> tuple[Fault, ...]:
    """Return everything of a Dataset that can't be stored as it is."""
    found = [*_attribute_faults("", dataset.attrs)]
    for name, variable in dataset.variables.items():
        place = f"variable {name!r}"
        found += _name_faults(place, name)
        if name == ITEM_ATTRS and not is_item_attrs(variable):
            found.append(Fault(place, "has a name of ours; rename it"))
        if not variable.dims and name in dataset.dims:
            found.append(Fault(place, "has the name of a dimension; rename it"))
        if isinstance(dataset.xindexes.get(name), PandasMultiIndex):
            fix = f"take it apart: .reset_index({variable.dims[0]!r})"
            found.append(Fault(place, f"is part of a multi-index; {fix}"))
        else:
            found += _values_faults(place, variable)
        found += _attribute_faults(f"{place}, ", variable.attrs)
    for dimension in dataset.dims:
        found += _name_faults(f"dimension {dimension!r}", dimension)
    return tuple(found)


def require_storable(dataset: xr.Dataset, what: str) -> None:
    """Refuse a Dataset that can't be stored as it is.

    Parameters
    ----------
    dataset
        What is to be stored.
    what
        What it is, e.g. ``item 'a'``, for the message.

    Raises
    ------
    Unstorable
        With all faults.
    """
    faults = faults_of(dataset)
    if faults:
        raise Unstorable(told(what, faults))


def with_dimension(dataset: xr.Dataset, dimension: str, what: str) -> xr.Dataset:
    """Return a Dataset as a piece of one item along a dimension that it does not have.

    Raises
    ------
    Unstorable
        If data are arrays of pandas, which can't have a further dimension.
    """
    fix = f"can't have the dimension {dimension!r}, too; make it a NumPy array"
    faults = [
        Fault(f"variable {name!r}", f"is of pandas' type {variable.dtype} and {fix}")
        for name, variable in dataset.data_vars.variables.items()
        if not isinstance(variable.dtype, np.dtype)
    ]
    if faults:
        raise Unstorable(told(what, faults))
    return dataset.expand_dims(dimension)


def told(what: str, faults: Iterable[Fault | str]) -> str:
    """Return faults as one message."""
    return f"{what} can't be stored: {'; '.join(str(fault) for fault in faults)}"


def is_item_attrs(variable: xr.Variable) -> bool:
    """Tell whether a variable is the coordinate of ours with items' attributes."""
    return variable.attrs.get("long_name") == ITEM_ATTRS_MARK


def _name_faults(place: str, name: Hashable) -> list[Fault]:
    if not isinstance(name, str):
        kind = type(name).__name__
        return [Fault(place, f"has a name that is not text, but {kind}; rename it")]
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return [Fault(place, "has a name that is not valid Unicode; rename it")]
    return []


def _values_faults(place: str, variable: xr.Variable) -> list[Fault]:
    try:
        form = form_of(variable)
        is_text = form.stored_dtype.kind == "T" and form.dtype != "T"
        is_seen = form.kind in (Kind.NULLABLE, Kind.CALENDAR)
        if is_seen or (is_text and variable._in_memory):
            form.encode(values_of(variable))
    except Unstorable as error:
        return [Fault(place, str(error))]
    return []


def _attribute_faults(place: str, attrs: Mapping[Hashable, object]) -> list[Fault]:
    found = []
    for name, value in attrs.items():
        where = f"{place}attribute {name!r}"
        found += _name_faults(where, name)
        try:
            to_json(value)
        except Unstorable as error:
            found.append(Fault(where, str(error)))
        except RecursionError:
            found.append(Fault(where, "is nested too deeply; make it flat"))
    return found
