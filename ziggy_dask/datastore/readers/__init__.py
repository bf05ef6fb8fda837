"""Readers: a delivered file, or a directory that stands for one, to a Dataset.

A reader is a function of a path and of its options, which a data type may give by
name. Others are added as entry points of the group ``ziggy_dask.readers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ziggy_dask.datastore.readers.opening import (
    Content,
    Options,
    Reader,
    Reading,
    load,
    open_file,
    read_file,
    reader_named,
)
from ziggy_dask.lazily import names_from

if TYPE_CHECKING:
    from ziggy_dask.datastore.readers.ecsv import read_ecsv
    from ziggy_dask.datastore.readers.fits import read_fits
    from ziggy_dask.datastore.readers.geotiff import read_geotiff
    from ziggy_dask.datastore.readers.image import read_image
    from ziggy_dask.datastore.readers.netcdf import read_netcdf
    from ziggy_dask.datastore.readers.plain import read_bytes
    from ziggy_dask.datastore.readers.table import read_csv, read_parquet
    from ziggy_dask.datastore.readers.zarr import read_zarr

__all__ = [
    "Content",
    "Options",
    "Reader",
    "Reading",
    "load",
    "open_file",
    "read_bytes",
    "read_csv",
    "read_ecsv",
    "read_file",
    "read_fits",
    "read_geotiff",
    "read_image",
    "read_netcdf",
    "read_parquet",
    "read_zarr",
    "reader_named",
]

__getattr__ = names_from(
    __name__,
    {
        f"read_{name}": f"{__name__}.{module}:read_{name}"
        for name, module in (
            ("bytes", "plain"),
            ("csv", "table"),
            ("ecsv", "ecsv"),
            ("fits", "fits"),
            ("geotiff", "geotiff"),
            ("image", "image"),
            ("netcdf", "netcdf"),
            ("parquet", "table"),
            ("zarr", "zarr"),
        )
    },
)
