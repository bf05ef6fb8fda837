"""Runs a Ziggy-style Python function in its working directory.

Started with the Python of the algorithm's own environment, which needs nothing
of ours: ``python runner.py ROOT MODULE FUNCTION STEP``. The function gets one dict,
read from ``STEP-inputs.h5``. An exception is written to ``STEP-error.h5``.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import h5py
import numpy as np


def read_inputs(path: str) -> dict[str, Any]:
    """Return the dict that an inputs file holds."""
    with h5py.File(path, "r") as file:
        inputs = {name: _read(file[name]) for name in _in_order(file)}
    for name in ("dataFilenames", "modelFilenames"):
        if inputs.get(name) == ():
            inputs[name] = ""
    return inputs


def _in_order(group: Any) -> list[str]:
    return sorted(group, key=lambda name: group[name].attrs["FIELD_ORDER"])


def _read(group: Any) -> Any:
    if group.attrs["DATA_TYPE"] == 9:
        return {name: _read(group[name]) for name in _in_order(group)}
    if "EMPTY_FIELD" in group.attrs:
        return ()
    dataset = group[group.name.rpartition("/")[2]]
    values = dataset.asstr()[...] if "STRING_ARRAY" in group.attrs else dataset[...]
    if "LOGICAL_BOOLEAN_ARRAY" in group.attrs:
        values = values.astype(bool)
    elements = tuple(values.ravel())
    return elements[0] if len(elements) == 1 else elements


def write_error(path: str, error: Exception) -> None:
    """Write an exception where the pipeline finds it."""
    frames = traceback.extract_tb(error.__traceback__)
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file["message"] = str(error) or type(error).__name__
        file["identifier"] = type(error).__name__
        stack = file.create_group("stack")
        stack.create_dataset("file", data=[f.filename for f in frames], dtype=text)
        stack.create_dataset("name", data=[f.name for f in frames], dtype=text)
        stack["line"] = np.array([f.lineno or 0 for f in frames], dtype="i4")


def main(root: str, module: str, function: str, step: str) -> int:
    """Run the function; return the exit code."""
    # Python put the directory of this file first, whose modules have names like users'.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [root, *(one for one in sys.path if os.path.abspath(one) != here)]  # noqa: PTH100
    try:
        loaded = importlib.import_module(module)
        called = getattr(loaded, function, None) or getattr(
            loaded, function.replace("-", "_").replace(" ", "_")
        )
        called(read_inputs(f"{step}-inputs.h5"))
    except Exception as error:  # noqa: BLE001 -- algorithms raise anything
        traceback.print_exc()
        write_error(f"{step}-error.h5", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
