"""Readers of tests, installed as those of users are."""

from __future__ import annotations

from pathlib import Path

READERS = """
import os
import pickle
import signal

import dask.array
import numpy as np
import xarray as xr


def lazy(path):
    values = np.arange(1.0, 1_000_001).reshape(1000, 1000)
    blocks = dask.array.from_array(values, chunks=(130, 170))
    return xr.Dataset({"v": (("y", "x"), blocks)})


def given(path):
    return pickle.loads(path.read_bytes())


def does(path):
    exec(path.read_text())
    return xr.Dataset({"v": ("x", np.arange(3.0))})
"""


NAMES = ("lazy", "given", "does")


def install_readers(place: Path) -> str:
    """Install three readers, and the package that they are in.

    'lazy' returns an array of Dask, 'given' what was pickled into the file, and 'does'
    does what is in the file.

    Returns
    -------
    str
        What must be on the path of modules.
    """
    info = place / "test_readers-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: r\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[ziggy_dask.readers]\n"
        + "".join(f"{name} = readers_of_tests:{name}\n" for name in NAMES)
    )
    (place / "readers_of_tests.py").write_text(READERS)
    return str(place)
