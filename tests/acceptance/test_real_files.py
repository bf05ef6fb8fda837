"""Files that other projects' packages bring along, against the libraries that read them.

Each is read as the library reads it, stored, and given back identical; or refused for a
reason that is stated here.
"""

import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from astropy.io import fits

from ziggy_dask.datastore import Storage, open_dataset
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.readers import load, open_file
from ziggy_dask.errors import DeliveryError

DAMAGED = {
    "chandra_time.fits": "Datasum verification failed",
    "checksum_false.fits": "Datasum verification failed",
    "gbm.fits": "Datasum verification failed",
    "header_newlines.fits": "Datasum verification failed",
    "validate.fits": "Datasum verification failed",
    "memtest.fits": "Empty or corrupt FITS file",
    "idcompspec.fits": "No SIMPLE card",
    "not_actually_fits.fits": "No SIMPLE card",
}
NOT_READ = {
    "group.fits": "has random groups",
    "group_invalid.fits": "has random groups",
    "random_groups.fits": "has random groups",
    "lzw.fits.Z": "uncompresspy|No SIMPLE card",
    "testfile.fits.Z": "uncompresspy|No SIMPLE card",
    "header_with_time.fits": "neither an image nor a table",
    "header_with_time_wcslib71.fits": "is damaged: .* truncated",
    "blank.fits": "64-bit numbers with a value for no data",
    "vla_logical_pre_fix.fits": r"logical value '\\x01'; it can only be T, F or a zero",
}


def files_of(packages, *endings):
    found = []
    for package in packages:
        place = Path(find_spec(package).origin).parent
        found += [
            path
            for path in sorted(place.rglob("*"))
            if path.name.lower().endswith(endings)
        ]
    return found


FITS = files_of(
    ("astropy", "sunpy", "astroquery"),
    *(".fits", ".fit", ".fts", ".fits.gz", ".fits.bz2", ".fits.z", ".fits.xz"),
)
NETCDF = files_of(("xarray", "h5py", "netCDF4", "sunpy"), ".nc", ".nc4", ".h5")


def called(path):
    """A name of its own for each file: its path below the packages."""
    return "/".join(path.parts[path.parts.index("site-packages") + 1 :])


def read(reader, path):
    with open_file(reader, path) as reading:
        return load(reader, path, reading).content


def stored_and_read(dataset):
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    write_whole(session, "a", dataset, storage)
    return open_dataset(session, "a").load()


def test_there_are_files_to_try():
    assert len(FITS) > 80
    assert len(NETCDF) > 8


@pytest.mark.parametrize("path", FITS, ids=called)
def test_fits_files_are_read_as_astropy_reads_them_and_given_back(path):
    reason = (DAMAGED | NOT_READ).get(path.name)
    if reason:
        with pytest.raises(DeliveryError, match=reason) as caught:
            read("fits", path)
        assert path.name in str(caught.value)
        return
    found = read("fits", path)
    require_as_astropy(path, found)
    xr.testing.assert_identical(stored_and_read(found), found)


def require_as_astropy(path, found):
    """Compare all images and columns with what astropy gives."""
    left = [name for name in found.variables if not name.endswith("_length")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as units:
            for unit in units:
                if unit.data is None:
                    continue
                is_table = isinstance(unit, fits.BinTableHDU | fits.TableHDU)
                for column in unit.columns.names if is_table else [None]:
                    theirs = unit.data[column] if is_table else unit.data
                    name = next(one for one in left if fitting(one, column))
                    left.remove(name)
                    theirs = np.asarray(theirs)
                    if isinstance(unit, fits.TableHDU) and theirs.dtype.kind == "f":
                        # Before 8.0, astropy read an undefined number of text as 0.
                        undefined = np.isnan(found[name].values) & (theirs == 0)
                        theirs = np.where(undefined, np.nan, theirs)
                    require_same(theirs, found[name].values)
    assert left == []


def fitting(name, column):
    """Whether a variable can be that column, or an image; columns come in order."""
    if column is None:
        return True
    plain = re.sub(r"\W+", "_", column.strip().lower()).strip("_") or "unnamed"
    return re.fullmatch(rf"(.+_)?{re.escape(plain)}(_\d+)?", name) is not None


def require_same(theirs, ours):
    if theirs.dtype == object:
        parts = [np.asarray(part) for part in theirs]
        if parts and parts[0].dtype.kind in "SU":
            assert ours.tolist() == ["".join(map(str, part.tolist())) for part in parts]
            return
        theirs = np.concatenate(parts) if parts else np.empty(0)
    if ours.dtype.kind in "UT":
        assert np.char.rstrip(theirs.astype(str)).tolist() == ours.tolist()
    elif ours.dtype.kind == "f" and theirs.dtype.kind in "biu":  # with missing ones
        there = ~np.isnan(ours)
        assert not there.all()
        np.testing.assert_array_equal(theirs[there], ours[there])
    else:
        np.testing.assert_array_equal(theirs, ours)
        assert ours.dtype == theirs.dtype.newbyteorder("=")


@pytest.mark.parametrize("path", NETCDF, ids=called)
def test_netcdf_files_are_read_as_xarray_reads_them_and_given_back(path):
    with path.open("rb") as stream:
        engine = "scipy" if stream.read(3) == b"CDF" else "h5netcdf"
    options = {"phony_dims": "sort"} if engine == "h5netcdf" else {}
    with xr.open_dataset(path, engine=engine, **options) as dataset:
        expected = dataset.load()
    found = read("netcdf", path)
    xr.testing.assert_identical(found, expected)
    xr.testing.assert_identical(stored_and_read(found), expected)
