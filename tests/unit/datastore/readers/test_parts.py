"""Parts of a product that come from several sessions are read as one."""

import h5netcdf
import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    read_layout,
    read_parts,
    read_slice,
    write_slice,
)
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.readers import open_file


@pytest.fixture
def session():
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    return session


@pytest.mark.parametrize("differ", [True, False])
def test_parts_are_what_the_whole_is(session, differ):
    storage = Storage(dimension="t", chunk=2, chunks=(), compression="zstd")
    pieces = [
        xr.Dataset(
            {
                "v": (("x", "t"), np.arange(6.0).reshape(3, 2) + n),
                "name": ("t", [f"{n}", "é"]),
            },
            {"t": [n, n + 1], "wcs": 1.5 * n if differ else 1.5},
            {"EXPTIME": n * 1.5} if differ else {},
        )
        for n in range(0, 8, 2)
    ]
    labels = Labels(np.arange(8))
    allocate(session, "p", pieces[0], storage, labels)
    layout = read_layout(session, "p", "t")
    for number, piece in enumerate(pieces):
        write_slice(layout, session, piece, 2 * number)
    for cut in ([(0, 8)], [(0, 4), (4, 8)], [(0, 1), (1, 2), (2, 7), (7, 8)]):
        found = read_parts(layout, [(session, slice(*ends)) for ends in cut])
        xr.testing.assert_identical(found, read_slice(layout, session, slice(0, 8)))
    mixed = read_parts(layout, [(session, [5, 1]), (session, slice(6, 8))])
    xr.testing.assert_identical(mixed, read_slice(layout, session, [5, 1, 6, 7]))
    if differ:
        first = read_parts(layout, [(session, [4]), (session, slice(0, 0))])
        assert first.attrs["EXPTIME"] == 6.0


def test_large_files_are_stored_in_chunks_that_follow_the_file(session, tmp_path):
    values = np.random.default_rng(0).random((40, 131072))
    with h5netcdf.File(tmp_path / "a.nc", "w") as file:
        file.dimensions = {"time": 40, "pixel": 131072}
        file.create_variable("plain", ("time", "pixel"), "f8")[:] = values
        file.create_variable(
            "cut", ("time", "pixel"), "f8", chunks=(3, 4096), fletcher32=True
        )[:] = values
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    with open_file("netcdf", tmp_path / "a.nc") as reading:
        write_whole(session, "p", reading.content, storage)
    group = zarr.open_group(session.store, path="p", mode="r")
    assert group["plain"].chunks == (16, 131072)
    assert group["cut"].chunks == (15, 131072)
    for name in ("plain", "cut"):
        np.testing.assert_array_equal(group[name][:], values)
