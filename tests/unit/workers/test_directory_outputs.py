"""Files that programs left become outputs, each as it is, or are refused by name."""

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from ziggy_dask.datastore import Storage
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.directory import WorkingDirectory, take_outputs
from ziggy_dask.workers.work import Sink


def taken(place, kind, pattern, dimension=""):
    """Return the one output that files in a directory are, in memory."""
    sink = Sink(
        name="made",
        data_type="made",
        path="p",
        kind=kind,
        storage=Storage(dimension=dimension, chunk=1, chunks=(), compression="zstd"),
        allocation=None,
        pattern=FilePattern(deeper="", name=pattern, patterns=()),
        reader="netcdf",
    )
    directory = WorkingDirectory(path=place, before={}, shared={})
    with ExitStack() as files:
        made = take_outputs(SimpleNamespace(sinks=(sink,)), directory, (), files)
        found = made["made"]
        return found.load() if isinstance(found, xr.Dataset) else sorted(found)


def write(place, name, start, **attrs):
    labels = np.arange(start, start + 2)
    data = xr.Dataset({"v": ("t", labels * 1.5)}, {"t": labels}, attrs)
    data.to_netcdf(place / name, engine="h5netcdf")
    return data


def test_two_files_that_are_one_item_are_refused_by_name(tmp_path):
    write(tmp_path, "a.v1.nc", 0)
    write(tmp_path, "a.v2.nc", 2)
    write(tmp_path, "b.v1.nc", 4)
    with pytest.raises(
        TaskError, match=r"'a\.v1\.nc' and 'a\.v2\.nc' are both item 'a'"
    ):
        taken(tmp_path, ProductKind.COLLECTION, r"(.)\.v[0-9]\.nc")
    names = taken(tmp_path, ProductKind.COLLECTION, r"(.\.v[0-9])\.nc")
    assert names == ["a.v1", "a.v2", "b.v1"]


def test_files_follow_each_other_along_the_dimension_or_are_refused(tmp_path):
    parts = [write(tmp_path, "a.nc", 0, by="me"), write(tmp_path, "b.nc", 2, by="me")]
    found = taken(tmp_path, ProductKind.ARRAY, r".\.nc", "t")
    xr.testing.assert_identical(found, xr.concat(parts, "t"))
    write(tmp_path, "b.nc", 2, by="you")  # whose would it be in the product?
    with pytest.raises(TaskError, match=r"a\.nc, b\.nc, and do not fit"):
        taken(tmp_path, ProductKind.ARRAY, r".\.nc", "t")
