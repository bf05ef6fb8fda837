"""What differs from item to item of an array product, beside its values.

An array product is cut along its subtask dimension, and many write it. What each of them
says of its own items (headers, units of work, a file's own coordinates) is kept per item,
as the difference from what the product was allocated with. Whoever reads one item gets
what was said of it. Whoever reads several gets what is true of all of them, and the rest
as JSON in the coordinate `ITEM_ATTRS`, which goes back to the items when it is stored again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.attributes import (
    Unstorable,
    differing,
    dumps,
    from_json,
    same,
    to_json,
)
from ziggy_dask.datastore.forms import Form, form_of, values_of, variable_of
from ziggy_dask.datastore.storable import ITEM_ATTRS, ITEM_ATTRS_MARK

_MEANING = {
    "units",
    "unit",
    "bunit",
    "calendar",
    "scale_factor",
    "add_offset",
    "_fillvalue",
    "missing_value",
    "_unsigned",
    "positive",
    "bscale",
    "bzero",
    "blank",
    "flag_values",
    "flag_masks",
    "flag_meanings",
}
"""Attributes of variables, in small letters, without which their numbers mean nothing."""
_LARGEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said of an item, beside the values of its own."""

    attrs: Mapping[str, Any]
    """Attributes of the Dataset."""
    of: Mapping[str, Mapping[str, Any]]
    """Attributes of each variable."""
    shared: Mapping[str, xr.Variable]
    """Variables without the subtask dimension."""
    coordinates: frozenset[str]
    """Which of those are coordinates."""
    dtypes: Mapping[str, str]
    """Types of text of fixed width, and of numbers, where items may differ."""


def say(
    dataset: xr.Dataset, dimension: str, dtypes: Mapping[str, str]
) -> Sequence[Said]:
    """Return what a slice of a product says of each of its items."""
    count = dataset.sizes[dimension]
    told = dataset.variables.get(ITEM_ATTRS)
    lean = dataset.drop_vars(ITEM_ATTRS) if told is not None else dataset
    shared = {
        str(name): variable
        for name, variable in lean.variables.items()
        if dimension not in variable.dims
    }
    common = Said(
        attrs={str(name): value for name, value in lean.attrs.items()},
        of={
            str(name): {str(key): value for key, value in variable.attrs.items()}
            for name, variable in lean.variables.items()
        },
        shared=shared,
        coordinates=frozenset(name for name in shared if name in lean.coords),
        dtypes=dtypes,
    )
    if told is None:
        return [common] * count
    texts = [str(text) for text in np.asarray(told.values).ravel()]
    return [
        _with_told(common, lean, dimension, place, json.loads(text) if text else {})
        for place, text in enumerate(texts)
    ]


def _with_told(
    common: Said,
    dataset: xr.Dataset,
    dimension: str,
    place: int,
    told: Mapping[str, Any],
) -> Said:
    shared = dict(common.shared)
    coordinates = set(common.coordinates)
    of = dict(common.of)
    for name in told.get("stacked", ()):
        variable = dataset.variables.get(name)
        if variable is not None and dimension in variable.dims:
            shared[name] = variable.isel({dimension: place})
            coordinates |= {name} & {str(key) for key in dataset.coords}
    for name, content in told.get("shared", {}).items():
        if content is not None and name not in dataset.variables:
            shared[name] = _variable(content)
            of[name] = dict(shared[name].attrs)
            coordinates |= {name} if content["coordinate"] else set()
    for name, attrs in told.get("of", {}).items():
        if name in of:
            of[name] = {**of[name], **from_json(attrs)}
    return Said(
        attrs={**common.attrs, **from_json(told.get("attrs", {}))},
        of=of,
        shared=shared,
        coordinates=frozenset(coordinates),
        dtypes=common.dtypes,
    )


def stacked_names(dataset: xr.Dataset) -> frozenset[str]:
    """Return variables that have the subtask dimension only since items differ in them."""
    told = dataset.variables.get(ITEM_ATTRS)
    if told is None:
        return frozenset()
    texts = {str(text) for text in np.asarray(told.values).ravel()}
    return frozenset(
        name for text in texts if text for name in json.loads(text).get("stacked", ())
    )


def record(said: Said, template: Said) -> str:
    """Return as JSON how an item differs from the product; empty: it does not.

    Raises
    ------
    Unstorable
        If it differs in something that can't be kept for each item.
    """
    content: dict[str, Any] = {}
    attrs = _difference(said.attrs, template.attrs)
    if attrs:
        content["attrs"] = attrs
    of = {
        name: found
        for name, known in template.of.items()
        if name in said.of and (found := _difference(said.of[name], known))
    }
    if of:
        content["of"] = of
    shared = _shared_difference(said, template)
    if shared:
        content["shared"] = shared
    dtypes = {
        name: dtype
        for name, dtype in said.dtypes.items()
        if template.dtypes.get(name) != dtype
    }
    if dtypes:
        content["dtypes"] = dtypes
    return dumps(content) if content else ""


def meaning_faults(said: Said, template: Said) -> list[str]:
    """Return in which attributes that give numbers their meaning an item differs."""
    found = []
    for name, known in template.of.items():
        if name in said.shared or name not in said.of or said.of[name] is known:
            continue
        given = said.of[name]
        for key in sorted(differing(given, known).keys() | differing(known, given)):
            if key.lower() in _MEANING:
                found.append(
                    f"variable {name!r} has {key} {given.get(key, 'not at all')!r}, "
                    f"where other items have {known.get(key, 'nothing')!r}; "
                    "convert the values, or use 'kind: collection'"
                )
    return found


def _difference(
    attrs: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any] | None:
    if not attrs and not known:
        return None
    try:
        changed = differing(attrs, known)
        told = to_json(changed)
    except Unstorable:
        _require_storable_attributes(attrs)
        raise
    gone = [name for name in known if name not in attrs]
    if not changed and not gone:
        return None
    return {"set": told, "unset": gone}


def _require_storable_attributes(attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        try:
            to_json(value)
        except Unstorable as error:
            raise Unstorable(f"attribute {name!r} {error}") from None


def _shared_difference(said: Said, template: Said) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in template.shared:
        if name not in said.shared:
            found[name] = None
    for name, variable in said.shared.items():
        known = template.shared.get(name)
        is_same_kind = (name in said.coordinates) == (name in template.coordinates)
        try:
            if known is not None and is_same_kind and _is_equal(variable, known):
                continue
            found[name] = _variable_to_json(
                variable, said.of[name], name in said.coordinates
            )
        except Unstorable as error:
            raise Unstorable(f"variable {name!r} {error}") from None
    return found


def _is_equal(variable: xr.Variable, other: xr.Variable) -> bool:
    """Tell whether two variables have the same values to the last bit."""
    if variable is other:
        return True
    if variable.dims != other.dims or variable.shape != other.shape:
        return False
    if variable.dtype != other.dtype:
        return False
    if _is_plain(variable) and variable.dtype.kind != "T":
        values, others = np.asarray(variable.values), np.asarray(other.values)
        return values.tobytes() == others.tobytes()
    return bool(_values_to_json(variable) == _values_to_json(other))


def _is_plain(variable: xr.Variable) -> bool:
    """Tell whether values are of a type that attributes have too."""
    return isinstance(variable.dtype, np.dtype) and variable.dtype != object


def _values_to_json(variable: xr.Variable) -> dict[str, Any]:
    if _is_plain(variable):
        return {"values": to_json(np.asarray(variable.values))}
    form = form_of(variable)
    stored = to_json(np.asarray(form.encode(values_of(variable))))
    return {"values": stored, "form": form.to_json()}


def _variable_to_json(
    variable: xr.Variable, attrs: Mapping[str, Any], is_coordinate: bool
) -> dict[str, Any]:
    if variable.nbytes > _LARGEST_BYTES:
        raise Unstorable(
            f"differs between items and takes {variable.nbytes} bytes; give "
            "it the subtask dimension"
        )
    return {
        "dims": [str(dimension) for dimension in variable.dims],
        **_values_to_json(variable),
        "attrs": to_json(dict(attrs)),
        "coordinate": is_coordinate,
    }


def _variable(content: Mapping[str, Any]) -> xr.Variable:
    values = from_json(content["values"])
    if "form" in content:
        values = Form.from_json(content["form"]).decode(values)
    return variable_of(content["dims"], values, from_json(content["attrs"]))


def recorded(template: Said, text: str) -> Said:
    """Return what is said of an item whose difference from the product is known."""
    if not text:
        return template
    content = json.loads(text)
    shared = dict(template.shared)
    of = dict(template.of)
    coordinates = set(template.coordinates)
    for name, change in content.get("of", {}).items():
        of[name] = _changed(of[name], change)
    for name, told in content.get("shared", {}).items():
        shared.pop(name, None)
        coordinates.discard(name)
        if told is not None:
            shared[name] = _variable(told)
            of[name] = dict(shared[name].attrs)
            coordinates |= {name} if told["coordinate"] else set()
    return Said(
        attrs=_changed(template.attrs, content.get("attrs", {})),
        of=of,
        shared=shared,
        coordinates=frozenset(coordinates),
        dtypes={**template.dtypes, **content.get("dtypes", {})},
    )


def _changed(attrs: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    gone = set(change.get("unset", ()))
    kept = {name: value for name, value in attrs.items() if name not in gone}
    return {**kept, **from_json(change.get("set", {}))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """What is said of several items together."""

    common: Said
    """What is true of all of them."""
    stacked: Mapping[str, xr.Variable]
    """Variables that differ, with the subtask dimension."""
    texts: Sequence[str] | None
    """What is true of each alone, as JSON; None: nothing is."""


def combine(said: Sequence[Said], dimension: str) -> Combined:
    """Return what is said of several items together."""
    kinds = list({id(one): one for one in said}.values())
    first = kinds[0]
    if len(kinds) == 1:
        return Combined(common=first, stacked={}, texts=None)
    attrs = _common([one.attrs for one in kinds])
    of = {
        name: _common([one.of[name] for one in kinds if name in one.of])
        for name in first.of
    }
    equal = {
        name
        for name, variable in first.shared.items()
        if all(
            name in one.shared
            and (one.shared[name] is variable or _is_equal(one.shared[name], variable))
            and (name in one.coordinates) == (name in first.coordinates)
            for one in kinds
        )
    }
    others = {name for one in kinds for name in one.shared} - equal
    able = {
        name
        for name in others
        if _can_stack([one.shared.get(name) for one in kinds])
        and len({name in one.coordinates for one in kinds}) == 1
    }
    stacked = {
        name: variable_of(
            (dimension, *first.shared[name].dims),
            np.stack([np.asarray(one.shared[name].values) for one in said]),
            of[name],
        )
        for name in sorted(able)
    }
    by_id = {
        id(one): _own(one, attrs, of, others - able, sorted(able)) for one in kinds
    }
    texts = [by_id[id(one)] for one in said]
    common = Said(
        attrs=attrs,
        of=of,
        shared={name: first.shared[name] for name in first.shared if name in equal},
        coordinates=first.coordinates,
        dtypes=_common_dtypes([one.dtypes for one in kinds]),
    )
    return Combined(common=common, stacked=stacked, texts=texts if any(texts) else None)


def _own(
    said: Said,
    attrs: Mapping[str, Any],
    of: Mapping[str, Mapping[str, Any]],
    alone: Iterable[str],
    stacked: Sequence[str],
) -> str:
    content: dict[str, Any] = {}
    if own := differing(said.attrs, attrs):
        content["attrs"] = to_json(own)
    owns = {
        name: to_json(found)
        for name, known in of.items()
        if name in said.of and (found := differing(said.of[name], known))
    }
    if owns:
        content["of"] = owns
    shared = {
        name: _variable_to_json(
            said.shared[name], said.of[name], name in said.coordinates
        )
        for name in sorted(alone)
        if name in said.shared
    }
    if shared:
        content["shared"] = shared
    if stacked:
        content["stacked"] = list(stacked)
    return dumps(content) if content else ""


def _common(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = several
    return {
        name: value
        for name, value in first.items()
        if all(name in other and same(value, other[name]) for other in others)
    }


def _can_stack(variables: Sequence[xr.Variable | None]) -> bool:
    first = variables[0]
    return first is not None and all(
        variable is not None
        and isinstance(variable.dtype, np.dtype)
        and variable.dims == first.dims
        and variable.shape == first.shape
        and variable.dtype == first.dtype
        and (variable.dtype != object or _is_alike(variable, first))
        for variable in variables
    )


def _is_alike(variable: xr.Variable, other: xr.Variable) -> bool:
    """Tell whether objects are stored in the same way."""
    return form_of(variable).for_items() == form_of(other).for_items()


def _common_dtypes(several: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in several[0]:
        dtypes = [np.dtype(one[name]) for one in several]
        if dtypes[0].kind in "US":
            found[name] = max(dtypes, key=lambda dtype: dtype.itemsize).str
        elif any(dtype != dtypes[0] for dtype in dtypes):
            found[name] = dtypes[0].newbyteorder("=").str
        else:
            found[name] = dtypes[0].str
    return found


def settled(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset in which what `ITEM_ATTRS` says of its only item is true of it."""
    told = dataset.variables.get(ITEM_ATTRS)
    if told is None or told.size != 1:
        return dataset
    text = str(np.asarray(told.values).ravel()[0])
    content = json.loads(text) if text else {}
    lean = dataset.drop_vars(ITEM_ATTRS).copy()
    lean.attrs = {**lean.attrs, **from_json(content.get("attrs", {}))}
    for name, attrs in content.get("of", {}).items():
        if name in lean.variables:
            lean[name].attrs = {**lean[name].attrs, **from_json(attrs)}
    for name in content.get("stacked", ()):
        variable = lean.variables.get(name)
        if variable is not None and told.dims and told.dims[0] in variable.dims:
            lean = _replaced(lean, name, variable.isel({told.dims[0]: 0}))
    for name, saved in content.get("shared", {}).items():
        if name not in lean.variables:
            lean = _replaced(lean, name, _variable(saved), saved["coordinate"])
    return lean


def _replaced(
    dataset: xr.Dataset,
    name: str,
    variable: xr.Variable,
    is_coordinate: bool | None = None,
) -> xr.Dataset:
    if is_coordinate is None:
        is_coordinate = name in dataset.coords
    lean = dataset.drop_vars(name, errors="ignore")
    if is_coordinate:
        return lean.assign_coords({name: variable})
    return lean.assign({name: variable})


def item_attrs_variable(dimension: str, texts: Sequence[str]) -> xr.Variable:
    """Return the coordinate that says what is true of each item alone."""
    values = np.array(list(texts), dtype=np.dtypes.StringDType())
    return xr.Variable((dimension,), values, {"long_name": ITEM_ATTRS_MARK})
