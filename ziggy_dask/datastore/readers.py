"""Readers: a delivered file to a Dataset.

A reader is a function of a path. Others are added as entry points of the group
``ziggy_dask.readers``; a data type names the one it wants.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr

from ziggy_dask.datastore.items import FileItem
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError, DeliveryError, ZiggyError

GROUP = "ziggy_dask.readers"


class Reader(Protocol):
    """Turns a file into a Dataset in memory, or takes it as it is."""

    def __call__(self, path: Path) -> xr.Dataset | FileItem:
        """Read the file at `path`."""
        ...


def reader_named(name: str) -> Reader:
    """Return an installed reader.

    Raises
    ------
    DefinitionError
        If there is none of that name.
    """
    found = {one.name: one for one in entry_points(group=GROUP)}
    if name not in found:
        raise DefinitionError(f"no reader is called {name!r}{suggestion(name, found)}")
    reader: Reader = found[name].load()
    return reader


def read_file(reader: str, path: Path) -> xr.Dataset | FileItem:
    """Read a file with the reader of that name.

    Raises
    ------
    DeliveryError
        If the reader fails, with the file and the reason.
    """
    read = reader_named(reader)
    try:
        return read(path)
    except ZiggyError:
        raise
    except Exception as error:
        raise DeliveryError(
            f"{path}: the reader {reader!r} can't read it: {type(error).__name__}: {error}"
        ) from error


def read_image(path: Path) -> xr.Dataset:
    """Read a PNG, JPEG or other image that Pillow knows.

    Returns
    -------
    xarray.Dataset
        Variable ``pixels``, uint8 or uint16, of dimensions (y, x) for grey images
        and (y, x, channel) for colour ones, y downwards; coordinate ``channel``
        names the bands, e.g. R, G, B.
    """
    from PIL import Image

    with Image.open(path) as image:
        plain = image.convert("RGB") if image.mode in ("P", "CMYK", "YCbCr") else image
        pixels = np.asarray(plain)
        bands = list(plain.getbands())
    if pixels.ndim == 2:
        return xr.Dataset({"pixels": (("y", "x"), pixels)})
    return xr.Dataset(
        {"pixels": (("y", "x", "channel"), pixels)}, coords={"channel": bands}
    )


def read_csv(path: Path) -> xr.Dataset:
    """Read a time series from a table of comma separated numbers.

    The first column is time. Names come from the first line if that is not
    numbers; else they are ``time``, ``flux``, ``column_2``, and so on. Empty
    lines and lines that begin with ``#`` are skipped.

    Returns
    -------
    xarray.Dataset
        Float64 variables of dimension ``time``, with coordinate ``time``.
    """
    import pandas as pd

    table = pd.read_csv(
        path, comment="#", header=None, skip_blank_lines=True, dtype=str
    )
    first = [str(text).strip() for text in table.iloc[0]]
    if all(_is_number(text) for text in first):
        names = ["time", "flux", *(f"column_{i}" for i in range(2, len(first)))]
        names = names[: len(first)]
    else:
        names = ["time", *first[1:]]
        table = table.iloc[1:]
    values = table.astype("float64").to_numpy()
    return xr.Dataset(
        {name: (("time",), values[:, i]) for i, name in enumerate(names) if i},
        coords={"time": values[:, 0]},
    )


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a NetCDF-4 or HDF5 file as xarray sees it, into memory."""
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        loaded: xr.Dataset = dataset.load().drop_encoding()
        return loaded


def read_zarr(path: Path) -> xr.Dataset:
    """Read a Zarr group in a directory or ZIP file, into memory."""
    with xr.open_zarr(path, chunks=None, consolidated=False) as dataset:
        loaded: xr.Dataset = dataset.load().drop_encoding()
        return loaded


def read_bytes(path: Path) -> FileItem:
    """Take a file as it is; it is read when it is stored."""
    return FileItem.from_path(path)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
