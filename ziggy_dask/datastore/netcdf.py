"""NetCDF files of what the datastore holds: names, types and attributes of every kind.

Values are written as the datastore keeps them, see `ziggy_dask.datastore.forms`. NetCDF
has no booleans among its attributes, no slash in its names, and reserves some names. What
it can't hold is written in the nearest form that every reader understands, and noted in
the global attribute ``ziggy``, from which `open_exported` restores it exactly.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from ziggy_dask.datastore.atomic import replacing
from ziggy_dask.datastore.attributes import Unstorable, from_json, readable, to_json
from ziggy_dask.datastore.blocks import LARGE_BYTES, block_shape, is_lazy
from ziggy_dask.datastore.encoding import may_be_times, says_time, values_to_try
from ziggy_dask.datastore.forms import Form, Kind, form_of, values_of, variable_of
from ziggy_dask.datastore.spelling import spelled
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.errors import DatastoreError

_RESERVED = frozenset(
    {
        # HDF5's dimension scales and NetCDF itself.
        *("CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST"),
        *("_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid", "_nc3_strict"),
        # The CF conventions: xarray writes these, and changes values by them when it reads.
        *("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"),
        *(
            "_Encoding",
            "coordinates",
            "bounds",
            "grid_mapping",
            "dtype",
            "calendar",
            ATTRIBUTE,
        ),
    }
)
_DECODED_BY = ("_FillValue", "missing_value", "scale_factor", "add_offset", "calendar")
"""Attributes by which xarray changes values when it reads them."""
_NOTE = "netcdf"
_HISTORY = "history"
_NUMBERS = "bBhHiIlLqQfd"
"""Types of NumPy that attributes of NetCDF can have."""
_MOST_ATTRIBUTE_BYTES = 32_000
"""Arrays that are larger don't fit into the header of HDF5."""
_OURS = frozenset({ATTRIBUTE, "coordinates"})
_NUL, _NUL_SIGN = "\0", "\u2400"


@dataclass(frozen=True, slots=True)
class _Note:
    """What a file can't say itself."""

    names: dict[str, str] = field(default_factory=dict)
    """True names of variables and dimensions."""
    coordinates: list[str] = field(default_factory=list)
    """All coordinates, by their names in the file."""
    forms: dict[str, Any] = field(default_factory=dict)
    """How values of all variables are stored, by name in the file."""
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Exact attributes, where the file's differ: by variable, empty for the Dataset."""
    history: str = ""
    """The line that was added to the attribute ``history``; empty: none was."""


def write_netcdf(
    dataset: xr.Dataset, path: Path, origin: Mapping[str, Any] | None = None
) -> Path:
    """Write a Dataset into a NetCDF file, whole or not at all; return its path.

    Large variables that are not in memory are read and written block by block.

    Parameters
    ----------
    dataset
        What to write.
    path
        The file; one that is there is replaced, its directory is made.
    origin
        What it says of where it comes from, in the global attribute ``ziggy``.

    Raises
    ------
    DatastoreError
        If something in it can't be written; with its name.
    """
    form = netcdf_form(dataset, origin)
    with replacing(path) as partial, _block_by_block():
        form.to_netcdf(partial, engine="h5netcdf")
    return path


def write_zarr(dataset: xr.Dataset, path: Path) -> Path:
    """Write a Dataset into a Zarr directory, in the same form; return its path.

    Large variables that are not in memory are read and written block by block.

    Raises
    ------
    DatastoreError
        If something in it can't be written; with its name.
    """
    form = netcdf_form(dataset, is_json=True)
    for variable in form.variables.values():
        variable.encoding = {}
    with _block_by_block():
        # Zarr may take -0 for the fill value 0, and leave its chunk out.
        form.to_zarr(path, consolidated=False, zarr_format=3, write_empty_chunks=True)
    return path


@contextmanager
def _block_by_block() -> Iterator[None]:
    """Write block by block, without needless warnings; one is read while one is written."""
    blocks = dask.config.set(scheduler="threads", num_workers=2)
    with blocks, warnings.catch_warnings():
        # Coordinates with spaces in their names are noted in the attribute ``ziggy``.
        warnings.filterwarnings("ignore", "coordinate .* has a space in its name")
        yield


def netcdf_form(
    dataset: xr.Dataset,
    origin: Mapping[str, Any] | None = None,
    *,
    is_json: bool = False,
) -> xr.Dataset:
    """Return a Dataset that NetCDF can hold, with a note of what it stands for.

    Parameters
    ----------
    dataset
        The Dataset.
    origin
        What it says of where it comes from.
    is_json
        Whether its attributes will be JSON, which does not keep types of NumPy.

    Raises
    ------
    DatastoreError
        If it has a variable that NetCDF can't hold.
    """
    names = {name: spelled(str(name)) for name in (*dataset.variables, *dataset.dims)}
    forms: dict[str, Any] = {}
    attributes: dict[str, dict[str, Any]] = {}
    variables: dict[Hashable, xr.Variable] = {}
    for name, variable in dataset.variables.items():
        key = names[name]
        try:
            form = form_of(variable)
        except Unstorable as error:
            raise DatastoreError(f"variable {name!r} {error}") from error
        grid = variable.attrs.get("grid_mapping")
        is_grid = isinstance(grid, str) and names.get(grid) == grid
        reserved = _RESERVED - {"grid_mapping"} if is_grid else _RESERVED
        if not _may_be_times(variable, form):
            reserved = reserved | {"units"}
        attrs, attributes[key] = _plain_attributes(
            variable.attrs, _said_by(form), is_json, reserved
        )
        dims = [names[dim] for dim in variable.dims]
        variables[key] = xr.Variable(
            dims,
            _plain_values(variable, form),
            attrs,
            {} if "_FillValue" in attrs else {"_FillValue": None},
        )
        forms[key] = form.to_json()
    attrs, attributes[""] = _plain_attributes(dataset.attrs, {}, is_json)
    coordinates = [names[name] for name in dataset.coords]
    note = {
        "names": {new: old for old, new in names.items() if new != old},
        "coordinates": coordinates,
        "forms": forms,
        "attributes": {name: some for name, some in attributes.items() if some},
        "history": _add_history(attrs, origin or {}),
    }
    kept = {key: value for key, value in note.items() if value}
    attrs[ATTRIBUTE] = json.dumps({**(origin or {}), _NOTE: kept})
    data = {name: v for name, v in variables.items() if name not in coordinates}
    coords = xr.Coordinates({n: variables[n] for n in coordinates}, indexes={})
    return xr.Dataset(data, coords=coords, attrs=attrs)


def _add_history(attrs: dict[str, Any], origin: Mapping[str, Any]) -> str:
    """Add a line to the history of a file, as CF wants it, and return it."""
    before = attrs.get(_HISTORY)
    line = history_line(origin)
    if not line or not isinstance(before, str | None):
        return ""
    attrs[_HISTORY] = line if before is None else f"{line}\n{before}"
    return line


def history_line(origin: Mapping[str, Any]) -> str:
    """Return one line of CF's ``history`` for what a product says of where it comes from.

    Examples
    --------
    >>> history_line({"product": "a/b", "node": "flip", "unit": "[a]", "instance": 2,
    ...               "task": 3, "pipeline": "sample", "published": "2026-11-30T12:00:00"})
    '2026-11-30T12:00:00 ziggy-dask: a/b by flip [a], task 3, instance 2 of sample'
    """
    if not origin.get("published") or not origin.get("node"):
        return ""
    item = f" {origin['item']}" if origin.get("item") else ""
    code = f", code {origin['code_version']}" if origin.get("code_version") else ""
    return " ".join(
        f"{origin['published']} ziggy-dask: {origin.get('product')}{item} by "
        f"{origin['node']} {origin.get('unit')}, task {origin.get('task')}, instance "
        f"{origin.get('instance')} of {origin.get('pipeline')}{code}".split()
    )


def _without_history(attrs: Mapping[Any, Any], line: str) -> dict[Any, Any]:
    """Return attributes without the line that `_add_history` added."""
    history = attrs.get(_HISTORY)
    kept = {key: value for key, value in attrs.items() if key != _HISTORY}
    if not line or not isinstance(history, str) or history == line:
        return kept if line and history == line else dict(attrs)
    if not history.startswith(f"{line}\n"):
        return dict(attrs)
    return {**attrs, _HISTORY: history[len(line) + 1 :]}


def open_exported(path: Path) -> xr.Dataset | None:
    """Open a file that `write_netcdf` wrote, as what it was made of; None: it is another.

    Plain numbers are read when they are needed.
    """
    raw = xr.open_dataset(path, engine="h5netcdf", phony_dims="sort", decode_cf=False)
    return as_it_was(raw)


def as_it_was(raw: xr.Dataset) -> xr.Dataset | None:
    """Return what a Dataset of `netcdf_form` stands for; None, and close it: it is another.

    What was changed since, by whoever copied the note with it, counts as it is now.

    Parameters
    ----------
    raw
        The Dataset as it was opened, without decoding.
    """
    note = _note_in(raw.attrs.get(ATTRIBUTE))
    if note is None:
        raw.close()
        return None
    forms = {key: Form.from_json(said) for key, said in note.forms.items()}
    kept = [
        key
        for key, form in forms.items()
        if _is_as_written(raw.variables.get(key), form)
    ]
    others = xr.decode_cf(raw.drop_vars(kept))
    variables: dict[Hashable, xr.Variable] = {}
    noted = [key for key in forms if key in raw.variables]
    for key in dict.fromkeys([*noted, *raw.variables]):  # in the order that is noted
        variable = raw.variables[key]
        if key in kept:
            made = _restored(variable, forms[str(key)])
            ours = {*forms[str(key)].attrs, "dtype", "coordinates", "_FillValue"}
        else:
            made, ours = others.variables[key], set()
        dims = [note.names.get(str(dim), str(dim)) for dim in made.dims]
        attrs = _exact_attributes(made.attrs, note.attributes.get(str(key), {}), ours)
        name = note.names.get(str(key), str(key))
        variables[name] = variable_of(dims, made._data, attrs, made.encoding)
    coordinates = {note.names.get(key, key) for key in note.coordinates}
    coordinates |= {note.names.get(str(key), str(key)) for key in others.coords}
    said = _without_history(raw.attrs, note.history)
    attrs = _exact_attributes(said, note.attributes.get("", {}), _OURS)
    coordinates |= {str(name) for name, v in variables.items() if v.dims == (name,)}
    # xarray makes numbers with a fraction of nullable labels that are not given as such.
    made_of = xr.Dataset(
        {name: v for name, v in variables.items() if name not in coordinates},
        coords={name: v for name, v in variables.items() if name in coordinates},
        attrs=attrs,
    )
    made_of.set_close(raw.close)
    return made_of


def is_noted(raw: xr.Dataset) -> bool:
    """Tell whether a Dataset is of `netcdf_form`, as it was opened, without decoding."""
    return _note_in(raw.attrs.get(ATTRIBUTE)) is not None


def _is_as_written(variable: xr.Variable | None, form: Form) -> bool:
    """Tell whether a variable in a file is still encoded as it was written."""
    if variable is None:
        return False
    wanted = {key: v for key, v in _said_by(form).items() if key != "dtype"}
    looked_at = {*_DECODED_BY, *wanted}
    found = {
        key: value
        for key, value in variable.attrs.items()
        if key in looked_at and not _is_nan(value)  # to mask NaN changes nothing
    }
    is_same = found.keys() == wanted.keys() and all(
        np.array_equal(found[key], wanted[key]) for key in wanted
    )
    if form.stored_dtype.kind == "T":
        return is_same and (variable.dtype.kind in "OTU" or not variable.size)
    return is_same and variable.dtype == _held(np.empty(0, form.stored_dtype)).dtype


def _said_by(form: Form) -> dict[str, Any]:
    """Return the attributes by which others see the same times and missing numbers."""
    return {} if form.stored_dtype.kind == "T" else form.attrs


def _may_be_times(variable: xr.Variable, form: Form) -> bool:
    """Tell whether plain xarray opens a file in which a variable has its unit."""
    if form.stored_dtype.kind not in "iuf":
        return not says_time(variable.attrs)
    units: Any = variable.attrs.get("units")  # none of the others has its name there
    some = values_to_try(variable, lambda part: _held(form.encode(values_of(part))))
    return may_be_times({"units": units, **form.attrs}, some)


def _restored(variable: xr.Variable, form: Form) -> xr.Variable:
    """Return a variable with its values as they were."""
    if variable.dtype == form.memory_dtype and form.kind is Kind.NUMBER:
        return variable
    values = variable.values
    if form.stored_dtype.kind == "T":  # of no text xarray does not tell the type
        values = _with_nul(values) if values.size else values.astype(object)
    stored = values.astype(form.stored_dtype)
    if values.dtype.kind == "f" and not np.array_equal(stored, values, equal_nan=True):
        return variable  # float16 that was changed, and is none any more
    values = form.decode(stored)
    return variable_of(variable.dims, values, variable.attrs, variable.encoding)


def _note_in(text: object) -> _Note | None:
    try:
        said = json.loads(text) if isinstance(text, str) else None
        return _Note(**said[_NOTE]) if isinstance(said, dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def _plain_values(variable: xr.Variable, form: Form) -> Any:
    """Return values as NetCDF holds them; large ones that are not in memory, lazily."""
    if is_lazy(variable) and variable.nbytes > LARGE_BYTES and variable.dtype != object:
        variable = variable.chunk(block_shape(variable))
    if variable.chunks is None:
        return _held(form.encode(values_of(variable)))
    return da.map_blocks(
        lambda block: _held(form.encode(block)),
        variable.data,
        dtype=_held(np.zeros(1, form.stored_dtype)).dtype,
    )


def _held(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return stored values in a type that NetCDF has."""
    if values.dtype.kind == "T":
        return _without_nul(values)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values


def _without_nul(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return text in which NUL, where NetCDF ends it, is a sign that can be seen."""
    plain = texts.astype(object)
    if any(_NUL in text or _NUL_SIGN in text for text in plain.flat):
        replaced = [
            text.replace(_NUL_SIGN, 2 * _NUL_SIGN).replace(_NUL, f"{_NUL_SIGN}0")
            for text in plain.flat
        ]
        plain = np.array([*replaced, None], dtype=object)[:-1].reshape(texts.shape)
    return plain


def _with_nul(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return text as it was before `_without_nul`."""
    restored = [
        _NUL_SIGN.join(
            part.replace(f"{_NUL_SIGN}0", _NUL) for part in text.split(2 * _NUL_SIGN)
        )
        for text in texts.flat
    ]
    return np.array([*restored, None], dtype=object)[:-1].reshape(texts.shape)


def _plain_attributes(
    attrs: Mapping[Any, Any],
    ours: Mapping[str, Any],
    is_json: bool,
    reserved: Set[str] = _RESERVED,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attributes that NetCDF can hold, and what is needed to restore them.

    Parameters
    ----------
    attrs
        The attributes.
    ours
        Attributes that tell how values are stored.
    is_json
        Whether attributes will be JSON.
    reserved
        Names that attributes can't have.
    """
    plain: dict[str, Any] = {}
    note: dict[str, Any] = {}
    taken = {spelled(str(key)) for key in attrs}
    for key, value in attrs.items():
        new = spelled(str(key))
        if new in reserved or new in ours:
            while new in reserved or new in ours or new in taken:
                new += "_"
            taken.add(new)
        held = _plain_value(value)
        is_typed = is_json and isinstance(value, np.generic | np.ndarray)
        if new != key or held is not value or is_typed:
            note[new] = [to_json(key), to_json(value)]
        plain[new] = held
    return {**plain, **ours}, note


def _plain_value(value: Any) -> Any:
    """Return an attribute as NetCDF holds it; the value itself if it comes back the same."""
    if isinstance(value, str):
        is_same = value and _NUL not in value and readable(value) == value
        # h5netcdf takes no text of NumPy's.
        return str(value) if is_same else readable(value).replace(_NUL, _NUL_SIGN)
    if isinstance(value, bool | np.bool_):
        return np.int8(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return np.int64(value)
    if type(value) is float:
        return np.float64(value)
    if isinstance(value, np.generic | np.ndarray) and value.dtype.char in _NUMBERS:
        if value.ndim == 0 and isinstance(value, np.generic):
            return value
        if value.ndim == 1 and value.size > 1 and value.nbytes < _MOST_ATTRIBUTE_BYTES:
            return value
    if isinstance(value, list | tuple) and len(value) > 1 and _are_numbers(value):
        return np.asarray(value)
    said = readable(value)
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return text.replace(_NUL, _NUL_SIGN)


def _are_numbers(values: Sequence[Any]) -> bool:
    kinds = {type(value) for value in values}
    return len(values) < _MOST_ATTRIBUTE_BYTES // 8 and (
        kinds == {float} or (kinds == {int} and all(abs(v) < 2**63 for v in values))
    )


def _exact_attributes(
    attrs: Mapping[Any, Any], note: Mapping[str, Any], ours: Set[str]
) -> dict[str, Any]:
    """Return attributes as they were before `_plain_attributes`, if they still are."""
    exact: dict[str, Any] = {}
    for key, value in attrs.items():
        if key in note:
            name, was = (from_json(part) for part in note[key])
            is_same = np.array_equal(
                _plain_value(was), value, equal_nan=_is_float(value)
            )
            exact[name] = was if is_same else value
        elif key not in ours:
            exact[str(key)] = value
    return exact


def _is_nan(value: object) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _is_float(value: object) -> bool:
    return np.asarray(value).dtype.kind == "f"
