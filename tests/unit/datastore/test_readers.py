import numpy as np
import pytest
import xarray as xr
from PIL import Image

from ziggy_dask.datastore import FileItem, read_file
from ziggy_dask.errors import DeliveryError


def test_a_colour_image_has_its_channels_named(tmp_path):
    pixels = np.arange(24, dtype="u1").reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_file("image", tmp_path / "a.png")
    np.testing.assert_array_equal(found["pixels"].values, pixels)
    assert found["pixels"].dims == ("y", "x", "channel")
    assert list(found["channel"].values) == ["R", "G", "B"]


def test_a_grey_image_of_16_bits_keeps_its_depth(tmp_path):
    pixels = np.array([[0, 65535], [256, 1]], dtype="u2")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_file("image", tmp_path / "a.png")
    assert found["pixels"].dims == ("y", "x")
    np.testing.assert_array_equal(found["pixels"].values, pixels)


def test_a_palette_image_becomes_colours(tmp_path):
    Image.new("P", (2, 2), 0).save(tmp_path / "a.png")
    assert read_file("image", tmp_path / "a.png")["pixels"].sizes["channel"] == 3


def test_a_table_without_names_is_time_and_flux(tmp_path):
    (tmp_path / "a.csv").write_text("# days, relative\n1977.5,1.25\n\n1978.0,0.75\n")
    found = read_file("csv", tmp_path / "a.csv")
    assert found["time"].values.tolist() == [1977.5, 1978.0]
    assert found["flux"].values.tolist() == [1.25, 0.75]


def test_a_table_with_names_keeps_them(tmp_path):
    (tmp_path / "a.csv").write_text("t,flux,error\n1,2,3\n4,5,\n")
    found = read_file("csv", tmp_path / "a.csv")
    assert list(found.data_vars) == ["flux", "error"]
    assert np.isnan(found["error"].values[1])


@pytest.mark.parametrize("reader", ["netcdf", "zarr"])
def test_datasets_come_back_as_they_were(tmp_path, reader):
    dataset = xr.Dataset(
        {"a": (("x",), [1.0, 2.0])}, coords={"x": [1, 2]}, attrs={"k": 1}
    )
    path = tmp_path / "a"
    if reader == "netcdf":
        dataset.to_netcdf(path, engine="h5netcdf")
    else:
        dataset.to_zarr(path, consolidated=False)
    xr.testing.assert_identical(read_file(reader, path), dataset)


def test_bytes_are_taken_as_they_are(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    assert read_file("bytes", tmp_path / "a.bin") == FileItem(
        name="a.bin", data=b"\0\1\2"
    )


@pytest.mark.parametrize("reader", ["image", "csv", "netcdf", "zarr"])
def test_a_broken_file_is_refused_with_its_name(tmp_path, reader):
    (tmp_path / "broken").write_bytes(b"\xff\xfe no such thing, 12, x\n1\n")
    with pytest.raises(
        DeliveryError, match=f"broken: the reader '{reader}' can't read it"
    ):
        read_file(reader, tmp_path / "broken")
