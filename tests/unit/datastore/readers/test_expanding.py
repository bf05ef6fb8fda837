"""Files that are far larger than they look are refused before they fill the memory."""

import bz2
import gzip
import lzma
import os
import resource

import h5netcdf
import numpy as np
import pytest
import xarray as xr

from ziggy_dask.datastore.readers import expanding, read_file
from ziggy_dask.errors import DeliveryError

LINE = b"0.0,0.0\n"


@pytest.fixture(autouse=True)
def harmless(monkeypatch):
    """Less is harmless here, so that tests are quick."""
    monkeypatch.setattr(expanding, "HARMLESS_BYTES", 4_000_000)


def refused(path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeliveryError) as caught:
        read_file("csv" if ".csv" in path.name else "netcdf", path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 50_000_000
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
def test_a_table_that_expands_is_refused(pack, tmp_path):
    ending = {gzip: "gz", bz2: "bz2", lzma: "xz"}[pack]
    bomb = tmp_path / f"light.csv.{ending}"
    with pack.open(bomb, "wb") as stream:
        for _ in range(300):
            stream.write(LINE * 25_000)
    assert bomb.stat().st_size < 200_000
    assert "expand to more than" in refused(bomb)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
def test_a_table_that_is_compressed_as_measured_is_read(pack, tmp_path):
    ending = {gzip: "gz", bz2: "bz2", lzma: "xz"}[pack]
    rng = np.random.default_rng(1)
    text = "\n".join(f"{time},{rng.normal():.6f}" for time in range(20_000))
    path = tmp_path / f"light.csv.{ending}"
    path.write_bytes(pack.compress(text.encode()))
    assert read_file("csv", path).sizes["time"] == 20_000


def test_a_file_that_is_nearly_all_holes_is_refused(tmp_path):
    path = tmp_path / "sparse.csv"
    path.write_bytes(LINE)
    os.truncate(path, 10**12)
    assert "nearly all holes" in refused(path)


def test_values_that_were_never_written_are_refused(tmp_path):
    path = tmp_path / "fill.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"x": 10**9}
        file.create_variable("flux", ("x",), "f8", chunks=(1000,), fillvalue=1.0)
    assert path.stat().st_size < 20_000
    assert "'flux' has 8000000000; values that were never written" in refused(path)


def test_constant_values_that_compress_well_are_read(tmp_path):
    path = tmp_path / "mask.nc"
    mask = xr.Dataset({"mask": ("x", np.zeros(1_000_000))})
    mask.to_netcdf(path, engine="h5netcdf", encoding={"mask": {"zlib": True}})
    assert read_file("netcdf", path).identical(mask)
