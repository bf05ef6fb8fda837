"""What a program is told: a JSON file, and the HDF5 file of the original Ziggy."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ziggy_dask.definitions import Parameter, ParameterSet, ParameterType
from ziggy_dask.workers.work import Work

_TYPES = {
    ParameterType.BOOLEAN: ("i1", 2),
    ParameterType.BYTE: ("i1", 2),
    ParameterType.SHORT: ("i2", 3),
    ParameterType.INT: ("i4", 4),
    ParameterType.LONG: ("i8", 5),
    ParameterType.FLOAT: ("f4", 6),
    ParameterType.DOUBLE: ("f8", 7),
    ParameterType.STRING: ("O", 8),
}
"""NumPy type and ``DATA_TYPE`` number of each parameter type."""
_STRUCT = 9
_hdf5 = threading.Lock()


def interface_name(name: str) -> str:
    """Return a name as programs see it: with underscores for spaces."""
    return name.replace(" ", "_")


def described_in(node: str) -> tuple[str, str]:
    """Return the names of both descriptions."""
    stem = f"{interface_name(node)}-inputs"
    return f"{stem}.json", f"{stem}.h5"


def describe(
    work: Work,
    subtask: int,
    directory: Path,
    inputs: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
) -> tuple[str, str]:
    """Write both descriptions into a working directory; return their names.

    Parameters
    ----------
    work
        The task.
    subtask
        Number of the subtask.
    directory
        Where to.
    inputs
        Names of the files of each input, by data type.
    models
        Names of the model files, by model type.
    """
    as_json, as_hdf5 = described_in(work.node)
    names = list(dict.fromkeys(name for some in inputs.values() for name in some))
    content = _content(work, subtask, inputs, models)
    text = json.dumps(content, indent=2)
    (directory / as_json).write_text(text + "\n", encoding="utf-8")
    empty = _without_data_files(work.token, tuple(models.values()), work.sets)
    _write_hdf5(directory / as_hdf5, empty, names)
    return as_json, as_hdf5


def _content(
    work: Work,
    subtask: int,
    inputs: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
) -> dict[str, Any]:
    labels = work.labels.take(work.items(subtask)).texts() if work.labels else []
    return {
        "instance": work.instance,
        "task": work.task,
        "subtask": subtask,
        "node": work.node,
        "unit_of_work": {"name": work.unit_name, "values": dict(work.unit)},
        "items": labels,
        "event_labels": list(work.event_labels),
        "inputs": {name: list(files) for name, files in inputs.items()},
        "outputs": {
            one.data_type: {"files": one.pattern.name, "kind": one.kind.value}
            for one in work.sinks
        },
        "models": dict(models),
        "parameters": {
            _set_name(one): {
                interface_name(p.name): list(p.value)
                if isinstance(p.value, tuple)
                else p.value
                for p in one.parameters
            }
            for one in work.sets
        },
    }


def _set_name(one: ParameterSet) -> str:
    return interface_name(one.interface_name or one.name)


def _write_hdf5(path: Path, empty: bytes, data_files: Sequence[str]) -> None:
    """Write a file that lacks nothing but the names of data files, and those."""
    path.write_bytes(empty)
    with _hdf5, h5py.File(path, "r+") as file:
        _fill(file["dataFilenames"], "dataFilenames", _names(data_files))


@lru_cache(maxsize=64)
def _without_data_files(
    _token: str, model_files: tuple[str, ...], sets: tuple[ParameterSet, ...]
) -> bytes:
    """Return the part of a file that all subtasks of a task have in common."""
    content = io.BytesIO()
    with _hdf5, h5py.File(content, "w") as file:
        group = file.create_group("dataFilenames")
        _mark(group, 8, 0)
        group.attrs["STRING_ARRAY"] = np.int8(1)
        _write_field(file, "modelFilenames", _names(model_files), 8, 1)
        parameters = file.create_group("algorithmParameters")
        _mark(parameters, _STRUCT, 2)
        for order, one in enumerate(sets):
            _write_set(parameters, one, order)
    return content.getvalue()


def _write_set(above: h5py.Group, one: ParameterSet, order: int) -> None:
    group = above.create_group(_set_name(one))
    _mark(group, _STRUCT, order)
    group.attrs["PARAMETER_SET_ORIGINAL_NAME"] = one.name
    group.attrs["ALGORITHM_INTERFACE_NAME"] = one.interface_name
    for place, parameter in enumerate(one.parameters):
        _write_parameter(group, parameter, place)


def _write_parameter(above: h5py.Group, one: Parameter, order: int) -> None:
    kind, number = _TYPES[one.type]
    elements = one.value if isinstance(one.value, tuple) else (one.value,)
    group = _write_field(
        above, interface_name(one.name), np.array(elements, dtype=kind), number, order
    )
    if one.type is ParameterType.BOOLEAN:
        group.attrs["LOGICAL_BOOLEAN_ARRAY"] = np.int8(1)
    if not one.is_array:
        group.attrs["SCALAR_PARAMETER_ATT_NAME"] = np.int8(1)


def _write_field(
    above: h5py.Group,
    name: str,
    values: np.ndarray[Any, np.dtype[Any]],
    number: int,
    order: int,
) -> h5py.Group:
    """Write a group that holds a dataset of its own name."""
    group = above.create_group(name)
    _mark(group, number, order)
    if values.dtype.kind == "O":
        group.attrs["STRING_ARRAY"] = np.int8(1)
    _fill(group, name, values)
    return group


def _fill(group: h5py.Group, name: str, values: np.ndarray[Any, np.dtype[Any]]) -> None:
    if not values.size:
        group.attrs["EMPTY_FIELD"] = np.int8(1)
    elif values.dtype.kind == "O":
        group.create_dataset(name, data=values, dtype=h5py.string_dtype())
    else:
        group.create_dataset(name, data=values)


def _mark(group: h5py.Group, number: int, order: int) -> None:
    group.attrs["DATA_TYPE"] = np.int32(number)
    group.attrs["FIELD_ORDER"] = np.int32(order)


def _names(names: Sequence[str]) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(list(names), dtype="O")
