import os
import shutil
import struct
import threading
import warnings
import zlib

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
import tifffile
import xarray as xr
import zarr
from astropy.table import Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from rasterio.transform import from_origin

from ziggy_dask.datastore import FileItem, faults_of, read_file
from ziggy_dask.datastore.forms import values_of
from ziggy_dask.datastore.readers import open_file
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


@pytest.mark.parametrize("reader", ["image", "netcdf", "zarr", "geotiff", "parquet"])
def test_a_broken_file_is_refused_with_its_name(tmp_path, reader):
    (tmp_path / "broken").write_bytes(b"\xff\xfe no such thing, 12, x\n1\n")
    with pytest.raises(
        DeliveryError, match=f"broken: the reader '{reader}' can't read it"
    ):
        read_file(reader, tmp_path / "broken")


# Images


@pytest.mark.parametrize(
    "kind", ["?", "i1", "u1", "i2", ">u2", "i4", "u4", "u8", "f2", "f4", "f8", "c8"]
)
def test_a_tiff_keeps_the_type_that_is_in_it(tmp_path, kind):
    pixels = np.arange(12).reshape(3, 4).astype(kind)
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=order)
    found = read_file("image", tmp_path / "a.tif")["pixels"]
    assert found.dtype == pixels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found.values, pixels)


def png(depth, row, *chunks, width):
    """Return a PNG file of one row of grey pixels of few bits; Pillow writes none."""

    def chunk(kind, data):
        rest = kind + data
        return struct.pack(">I", len(data)) + rest + struct.pack(">I", zlib.crc32(rest))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, 0, 0, 0, 0))
    inner = b"".join(chunk(kind, data) for kind, data in chunks)
    body = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + inner + body


@pytest.mark.parametrize(
    ("name", "content", "pixels"),
    [
        ("a.png", png(4, b"\x01\x2f", width=4), [0, 1, 2, 15]),
        ("a.png", png(2, bytes([0b00011011]), width=4), [0, 1, 2, 3]),
        ("a.pgm", b"P5 4 1 1023\n" + struct.pack(">4H", 0, 1, 500, 1023), None),
        ("a.pgm", b"P5 4 1 100\n" + bytes([0, 1, 50, 100]), [0, 1, 50, 100]),
        ("a.pgm", b"P2 4 1 4095\n0 1 500 4095\n", [0, 1, 500, 4095]),
        ("a.pgm", b"P5 4 1 65535\n" + struct.pack(">4H", 0, 1, 500, 65535), None),
        ("a.ppm", b"P6 1 1 100\n" + bytes([1, 50, 100]), [1, 50, 100]),
    ],
)
def test_grey_levels_are_those_in_the_file(tmp_path, name, content, pixels):
    (tmp_path / name).write_bytes(content)
    expected = pixels or [0, 1, 500, 65535 if b"65535" in content else 1023]
    assert (
        read_file("image", tmp_path / name)["pixels"].values.ravel().tolist()
        == expected
    )


@pytest.mark.parametrize(
    "content",
    [
        png(16, b"\0\x05\xff\xff", (b"tRNS", b"\0\x05"), width=2),
        png(4, b"\x56", (b"tRNS", b"\0\x05"), width=2),
        png(1, b"\x40", (b"tRNS", b"\0\x01"), width=2),
    ],
)
def test_a_clear_grey_level_that_would_be_dropped_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DeliveryError, match=r"a\.png: has a clear grey level"):
        read_file("image", tmp_path / "a.png")


def test_images_within_a_page_are_refused_or_told_of_and_smaller_copies_are_not(
    tmp_path,
):
    pixels = np.arange(12, dtype="u2").reshape(3, 4)
    for name, options in (("a.tif", {}), ("b.tif", {"subfiletype": 1})):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(pixels, subifds=1, photometric="minisblack")
            file.write(pixels[::2, ::2], photometric="minisblack", **options)
    with pytest.raises(DeliveryError, match="images within pages .*: 0 of page 0"):
        read_file("image", tmp_path / "a.tif")
    with open_file("image", tmp_path / "a.tif", {"other_parts": "warn"}) as reading:
        assert reading.warnings == ("images within pages not read: 0 of page 0",)
        np.testing.assert_array_equal(reading.content["pixels"].values, pixels)
    with open_file("image", tmp_path / "b.tif") as reading:
        assert reading.warnings == ()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_colours_of_16_bits_are_kept_or_refused(tmp_path):
    pixels = (np.arange(36).reshape(3, 4, 3) * 1000).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    found = read_file("image", tmp_path / "a.tif")
    np.testing.assert_array_equal(found["pixels"].values, pixels)
    assert found["channel"].values.tolist() == ["R", "G", "B"]
    with rasterio.open(
        tmp_path / "a.png",
        "w",
        driver="PNG",
        height=3,
        width=4,
        count=3,
        dtype="uint16",
    ) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    with pytest.raises(DeliveryError, match="16 bits in each of several channels"):
        read_file("image", tmp_path / "a.png")


def test_all_pages_are_read_or_the_one_that_is_named(tmp_path):
    pixels = np.arange(24, dtype="u2").reshape(2, 3, 4)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    found = read_file("image", tmp_path / "a.tif")["pixels"]
    assert found.dims == ("page", "y", "x")
    np.testing.assert_array_equal(found.values, pixels)
    with open_file("image", tmp_path / "a.tif", {"page": 1}) as reading:
        np.testing.assert_array_equal(reading.content["pixels"].values, pixels[1])
        assert reading.warnings == ("pages not read: 0",)
    with pytest.raises(DeliveryError, match="has no page 2; it has 2, counted from 0"):
        read_file("image", tmp_path / "a.tif", {"page": 2})


def test_pages_that_differ_are_refused_unless_one_is_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((3, 4), "u1"))
        file.write(np.zeros((5, 6), "u2"))
    with pytest.raises(DeliveryError, match="its 2 pages differ"):
        read_file("image", tmp_path / "a.tif")
    with open_file("image", tmp_path / "a.tif", {"page": 1}) as reading:
        assert reading.content["pixels"].shape == (5, 6)


def test_all_frames_of_a_gif_and_what_is_clear_in_a_palette_are_kept(tmp_path):
    frames = [Image.fromarray(np.full((3, 4), 50 * n, "u1")) for n in (1, 2, 3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = read_file("image", tmp_path / "a.gif")["pixels"]
    assert found.dims == ("page", "y", "x", "channel")
    assert found.values[:, 0, 0, 0].tolist() == [50, 100, 150]
    Image.new("P", (2, 2), 0).save(tmp_path / "a.png", transparency=0)
    clear = read_file("image", tmp_path / "a.png")
    assert clear["channel"].values.tolist() == ["R", "G", "B", "A"]
    assert clear["pixels"].values[0, 0, 3] == 0


def test_a_geotiff_has_its_scale_its_missing_values_and_its_place(tmp_path):
    numbers = np.array([[-9999, 10], [20, 30]], "i2")
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        height=2,
        width=2,
        count=1,
        dtype="int16",
        nodata=-9999,
        crs="EPSG:4326",
        transform=from_origin(3.0, 51.0, 0.5, 0.5),
    ) as file:
        file.write(numbers, 1)
        file.scales, file.offsets = (0.01,), (273.15,)
    found = read_file("geotiff", tmp_path / "a.tif")
    expected = np.array([[[np.nan, 10], [20, 30]]]) * 0.01 + 273.15
    np.testing.assert_array_equal(found["pixels"].values, expected)
    assert found["x"].values.tolist() == [3.25, 3.75]
    assert "4326" in found["spatial_ref"].attrs["crs_wkt"]
    plain = read_file("geotiff", tmp_path / "a.tif", {"masked": False})["pixels"]
    np.testing.assert_array_equal(plain.values[0], numbers)
    assert (plain.attrs["_FillValue"], plain.attrs["scale_factor"]) == (-9999, 0.01)
    with open_file("image", tmp_path / "a.tif") as reading:
        assert "'geotiff'" in reading.warnings[0]


def test_what_only_names_other_files_is_not_read_as_a_geotiff(tmp_path):
    (tmp_path / "a.tif").write_text(
        '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Byte" '
        'band="1"><SimpleSource><SourceFilename>/etc/secret.tif</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(
        DeliveryError, match=r"a\.tif: the reader 'geotiff' can't read it"
    ):
        read_file("geotiff", tmp_path / "a.tif")


# Tables


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("t,a,a\n1,2,3\n", ":1: several columns are called 'a'"),
        ("t,a,time\n1,2,3\n", ":1: several columns are called 'time', as the first"),
        ("# c\n\nt,a\n1,2\n3\n", ":5: has 1 fields instead of 2"),
        ("t,a\n1,2,3\n", ":2: has 3 fields instead of 2"),
        ("t,a\n1,2\n\n2,x#y\n", ":4: column 'a': 'x#y' is not a number"),
        ("t,5\n1,2\n", ":1: it can't be told whether this line has names"),
        ("t,id\n1,9007199254740993\n2,\n", ":2: column 'id': 9007199254740993 can"),
        ("t,id\n1,99999999999999999999\n", "over 64 bits"),
        ("t,a\n1,1_000\n", ":2: column 'a': '1_000' is not a number"),
        ("t,a\n1,0.0\n2,-1e400\n", ":3: column 'a': -1e400 is beyond"),
        ("t,a\n1,inf\n2,0.1e-400\n", ":3: column 'a': 0.1e-400 is beyond"),
        ("", ": has no lines"),
    ],
)
def test_a_table_is_refused_with_the_line(tmp_path, content, words):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DeliveryError) as caught:
        read_file("csv", tmp_path / "a.csv")
    assert f"a.csv{words}" in str(caught.value) or words in str(caught.value)


def test_large_numbers_and_nanoseconds_are_exact(tmp_path):
    (tmp_path / "a.csv").write_text(
        "t,id,big,far\n"
        "2026-01-01T00:00:00.123456789Z,9007199254740993,18446744073709551615,9999-01-01\n"
        "2026-01-01 00:00:01,-1,0,\n"
    )
    found = read_file("csv", tmp_path / "a.csv")
    assert found["id"].values.tolist() == [9007199254740993, -1]
    assert found["big"].values.tolist() == [2**64 - 1, 0]
    assert str(found["time"].values[0]) == "2026-01-01T00:00:00.123456789"
    assert found["time"].attrs == {"column": "t"}
    assert str(found["far"].values[0]).startswith("9999-01-01")
    assert np.isnat(found["far"].values[1])


@settings(max_examples=30)
@given(st.lists(st.floats(width=64), min_size=1))
def test_every_number_of_a_table_comes_back(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    lines = [f"{place},{number!r}" for place, number in enumerate(numbers)]
    path.write_text("t,flux\n" + "\n".join(lines))
    np.testing.assert_array_equal(read_file("csv", path)["flux"].values, numbers)


# Containers


@pytest.fixture
def orbit():
    """Data in groups, as satellites deliver them."""
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"title": "level 2"}),
            "/PRODUCT": xr.Dataset({"methane": ("n", np.arange(3.0))}),
            "/PRODUCT/SUPPORT": xr.Dataset({"angle": ("n", np.ones(3, "f4"))}),
        }
    )


@pytest.mark.parametrize("reader", ["netcdf", "zarr"])
def test_groups_are_refused_named_or_read_as_a_tree(tmp_path, orbit, reader):
    path = tmp_path / "a"
    if reader == "netcdf":
        orbit.to_netcdf(path, engine="h5netcdf")
    else:
        orbit.to_zarr(path, consolidated=False)
    with pytest.raises(DeliveryError, match="not be read: /PRODUCT, /PRODUCT/SUPPORT"):
        read_file(reader, path)
    with open_file(reader, path, {"group": "PRODUCT"}) as reading:
        assert reading.content["methane"].values.tolist() == [0, 1, 2]
        assert reading.warnings == ("groups not read: /, /PRODUCT/SUPPORT",)
    with open_file(reader, path, {"other_parts": "warn"}) as reading:
        assert reading.warnings == ("groups not read: /PRODUCT, /PRODUCT/SUPPORT",)
    with pytest.raises(DeliveryError, match="would not be read"):
        read_file(reader, path, {"group": "PRODUCT", "other_parts": "refuse"})
    with pytest.raises(DeliveryError, match="has no group 'QA'"):
        read_file(reader, path, {"group": "QA"})
    tree = read_file(reader, path, {"groups": "all"})
    xr.testing.assert_identical(tree, orbit)


def test_netcdf_3_is_read(tmp_path):
    dataset = xr.Dataset({"a": ("x", np.arange(3, dtype="i2"))}, attrs={"k": "v"})
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    xr.testing.assert_identical(read_file("netcdf", tmp_path / "a.nc"), dataset)


@pytest.mark.parametrize("kind", ["netcdf", "zarr 2", "zarr 3"])
def test_large_whole_numbers_with_a_fill_value_are_not_rounded(tmp_path, kind):
    dataset = xr.Dataset({"n": ("x", [2**53 + 1, -1]), "m": ("x", [1, -1])})
    encoding = {"n": {"_FillValue": -1}, "m": {"_FillValue": -1}}
    path, reader = tmp_path / "a", kind.partition(" ")[0]
    if reader == "netcdf":
        dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    else:
        options = {"consolidated": False, "zarr_format": int(kind[-1])}
        dataset.to_zarr(path, encoding=encoding, **options)
    with pytest.raises(DeliveryError, match=rf"{reader}: {{unmasked: \[n\]}}"):
        read_file(reader, path)
    with pytest.raises(DeliveryError, match=r"unmasked: \[n\]"):
        read_file(reader, path, {"groups": "all"})
    # Other files of the delivery may have what this one lacks.
    found = read_file(reader, path, {"unmasked": ["n", "of another file"]})
    tree = read_file(reader, path, {"unmasked": ["n"], "groups": "all"})
    for each in (found, tree):
        assert each["n"].values.tolist() == [2**53 + 1, -1]
        np.testing.assert_array_equal(each["m"].values, [1, np.nan])


def test_hdf5_that_reaches_into_other_files_is_refused(tmp_path):
    """Not even a pipe, which would be waited for, is opened."""
    os.mkfifo(tmp_path / "pipe")
    outside = str(tmp_path / "pipe")
    source = h5py.VirtualSource(outside, "d", shape=(3,), maxshape=(None,))
    layout = h5py.VirtualLayout((3,), "f4", maxshape=(None,))
    end = h5py.h5s.UNLIMITED
    layout[0:end] = source[0:end]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (3,), "u1", external=[(outside, 0, 3)])
        file["link"] = h5py.ExternalLink(outside, "/")
    with pytest.raises(DeliveryError) as caught:
        read_file("netcdf", tmp_path / "a.h5")
    told = str(caught.value)
    assert all(f"{tmp_path / 'a.h5'}: " in line for line in told.splitlines())
    for name in ("'/virtual'", "'/raw'", "'/link'"):
        assert name in told
    assert told.count(outside) == 3


def test_arrays_of_different_lengths_in_hdf5_are_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("ev", (2,), dtype=h5py.vlen_dtype("f8"))
        file["text"] = ["a", "b"]
    with pytest.raises(DeliveryError, match="'/ev' has elements of different lengths"):
        read_file("netcdf", tmp_path / "a.h5")


def test_a_zipped_directory_of_zarr_is_found(tmp_path):
    dataset = xr.Dataset({"a": ("x", [1.5, np.nan])}, coords={"x": [3, 4]})
    dataset.to_zarr(tmp_path / "in" / "deep.zarr", consolidated=False)
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in")
    xr.testing.assert_identical(read_file("zarr", tmp_path / "a.zip"), dataset)


@pytest.mark.parametrize(
    "codec", ['"pickle"', r'"pick\u006ce"', r'"\u0070ickle"', '"numcodecs.pickle"']
)
def test_zarr_with_pickles_is_refused_before_they_run(tmp_path, codec):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("a", shape=2, dtype="i4", dimension_names=None)
    metadata = tmp_path / "a.zarr" / "a" / ".zarray"
    text = metadata.read_text().replace(
        '"filters": null', f'"filters": [{{"id": {codec}}}]'
    )
    assert codec in text
    metadata.write_text(text)
    with pytest.raises(DeliveryError, match="the codec 'pickle', which runs code"):
        read_file("zarr", tmp_path / "a.zarr")


def test_a_program_that_poses_as_an_image_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    program = (
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
        f"({mark}) (w) file closefile showpage\n%%EOF\n"
    )
    dos = b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22)
    for content in (program.encode(), dos + program.encode()):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DeliveryError, match="is PostScript"):
            read_file("image", tmp_path / "a.png")
    assert not mark.exists()


@pytest.mark.parametrize("reader", ["csv", "parquet"])
def test_columns_of_one_name_are_found_among_many(tmp_path, reader):
    names = [f"c{number}" for number in range(100_000 if reader == "csv" else 2000)]
    names.append("c77")
    path = tmp_path / "a"
    if reader == "csv":
        path.write_text(",".join(names) + "\n")
    else:
        parquet.write_table(pa.table([pa.array([1.0])] * len(names), names=names), path)
    with pytest.raises(DeliveryError, match="several columns are called 'c77'"):
        read_file(reader, path)


# What may be opened


@pytest.mark.parametrize("reader", ["image", "csv", "netcdf", "fits", "bytes", "zarr"])
def test_links_pipes_and_devices_are_refused_at_once(tmp_path, reader):
    (tmp_path / "secret").write_text("1,2\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeliveryError, match="link: is a link"):
        read_file(reader, tmp_path / "link")
    with pytest.raises(DeliveryError, match="pipe: is not a regular file"):
        read_file(reader, tmp_path / "pipe")
    with pytest.raises(DeliveryError, match="null: is not a regular file"):
        read_file(reader, type(tmp_path)("/dev/null"))
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(DeliveryError, match="is a link, a device or a pipe"):
        read_file(reader, tmp_path / "directory")


def test_what_was_opened_is_what_is_read_whatever_takes_its_name(tmp_path, monkeypatch):
    """A reader that looks at the path while another file is slid in its place."""
    path = tmp_path / "a.csv"
    path.write_text("1,2\n")
    (tmp_path / "other").write_text("666,666\n")
    seen = []

    def slow(held):
        (tmp_path / "other").rename(path)
        seen.append((held.name, held.read_text()))
        return xr.Dataset()

    monkeypatch.setattr(
        "ziggy_dask.datastore.readers.opening.reader_named", lambda name: slow
    )
    with pytest.raises(DeliveryError, match=r"a\.csv: was changed while it was read"):
        read_file("own", path)
    assert seen == [("a.csv", "1,2\n")]


def test_warnings_of_other_threads_are_not_taken_for_those_of_a_file(tmp_path):
    from ziggy_dask.datastore.readers.warned import hear_warnings

    shown, heard = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: shown.append(str(message))
        with hear_warnings(heard):
            other = threading.Thread(target=warnings.warn, args=("theirs",))
            other.start()
            other.join()
            warnings.warn("mine", stacklevel=1)
    assert (shown, heard) == (["theirs"], ["mine"])


def test_what_a_reader_may_not_return_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(
        "ziggy_dask.datastore.readers.opening.reader_named",
        lambda name: lambda path: xr.DataArray([1]),
    )
    with pytest.raises(DeliveryError, match="returned a DataArray; it must return"):
        read_file("own", tmp_path / "a")


def test_hdf5_of_a_filter_that_is_not_installed_is_refused_with_its_number(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4,))
        made.set_filter(60_001, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((8,))
        flux = h5py.h5d.create(file.id, b"flux", h5py.h5t.NATIVE_DOUBLE, space, made)
        flux.write_direct_chunk((0,), b"whatever", 0)
        file["plain"] = [1.0, 2.0]
    with pytest.raises(
        DeliveryError, match=r"'/flux' is compressed by the filter 60001"
    ):
        read_file("netcdf", path)


def test_the_rows_of_a_parquet_table_are_neither_more_nor_less(tmp_path):
    table = pd.DataFrame({"n": [2**53 + 1, 2], "t": ["a", None]})
    table.index = pd.MultiIndex.from_tuples([(1, "x"), (1, "x")], names=["k", "band"])
    table.attrs = {"title": "sources"}
    table.to_parquet(tmp_path / "a.parquet")
    found = read_file("parquet", tmp_path / "a.parquet")
    assert dict(found.sizes) == {"row": 2}
    assert found.attrs == {"title": "sources"}
    assert set(found.coords) == {"k", "band"}
    assert found["n"].values.tolist() == [2**53 + 1, 2]
    assert [found[name].values.tolist() for name in ("k", "band")] == [
        [1, 1],
        ["x", "x"],
    ]
    table.rename(columns={"t": "row"}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DeliveryError, match="'row', but a column has that name"):
        read_file("parquet", tmp_path / "b.parquet")


def test_what_a_parquet_file_says_of_its_columns_is_kept(tmp_path):
    flux = pa.field("flux", pa.float64(), metadata={"unit": "Jy"})
    schema = pa.schema([flux, pa.field("index", pa.int64())], {"mission": "ours"})
    columns = [pa.array([1.5, None]), pa.array([5, 6])]
    parquet.write_table(pa.table(columns, schema=schema), tmp_path / "a.parquet")
    found = read_file("parquet", tmp_path / "a.parquet")
    assert found.attrs == {"mission": "ours"}
    assert found["flux"].attrs == {"unit": "Jy"}
    assert found["index"].values.tolist() == [5, 6]
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(DeliveryError, match="several columns are called 'a'"):
        read_file("parquet", tmp_path / "b.parquet")


def test_an_ecsv_table_keeps_types_units_and_what_is_missing(tmp_path):
    table = Table(meta={"survey": "ours", "night": 3})
    ids = np.ma.array([2**60 + 1, 0, 2**60 + 3], mask=[False, True, False])
    table["id"] = ids
    table["flux"] = np.ma.array([1.5, 0, np.inf], mask=[False, True, False])
    table["flux"].unit, table["flux"].description = "Jy", "at 1.4 GHz"
    table["name"] = np.ma.array(["a", "ñ", "x # y"], mask=[True, False, False])
    table["spectrum"] = np.arange(6, dtype="f4").reshape(3, 2)
    table.write(tmp_path / "a.ecsv")
    found = read_file("ecsv", tmp_path / "a.ecsv")
    assert found.attrs == {"survey": "ours", "night": 3}
    assert list(found.data_vars) == ["id", "flux", "name", "spectrum"]
    assert found["id"].dtype == "Int64"
    assert values_of(found["id"].variable).tolist()[::2] == [2**60 + 1, 2**60 + 3]
    assert found["id"].isnull().values.tolist() == [False, True, False]
    assert found["flux"].attrs == {"unit": "Jy", "description": "at 1.4 GHz"}
    np.testing.assert_array_equal(found["flux"].values, [1.5, np.nan, np.inf])
    assert found["name"].values.tolist()[1:] == ["ñ", "x # y"]
    assert found["name"].isnull().values.tolist() == [True, False, False]
    assert (found["spectrum"].dims, found["spectrum"].dtype) == (
        ("row", "spectrum_1"),
        np.dtype("f4"),
    )
    assert faults_of(found) == ()


def test_columns_of_an_ecsv_table_that_are_more_than_numbers_are_refused(tmp_path):
    Table({"when": Time([1.5, 2.5], format="mjd")}).write(tmp_path / "a.ecsv")
    with pytest.raises(DeliveryError, match="column 'when' is a Time of astropy"):
        read_file("ecsv", tmp_path / "a.ecsv")


PACKED = {"scale_factor": np.float32(0.01), "add_offset": np.float32(1e6)}


@pytest.mark.parametrize(
    ("stored", "attrs"),
    [
        (np.array([1, 2], "i2"), PACKED),
        (np.array([2**24 + 1, 2**24 + 2], "i4"), {"scale_factor": np.float32(1)}),
        (np.array([2**60 + 1, 2**60 + 2]), {"add_offset": 1.0}),
    ],
)
def test_packed_numbers_that_unpacking_would_merge_are_refused(tmp_path, stored, attrs):
    packed = xr.Dataset({"v": ("x", stored, attrs)})
    packed.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(
        DeliveryError, match=r"a\.nc: v: packed numbers .*unmasked: \[v\]"
    ):
        read_file("netcdf", tmp_path / "a.nc")
    found = read_file("netcdf", tmp_path / "a.nc", {"unmasked": "v"})["v"]
    assert found.values.tolist() == stored.tolist()


@pytest.mark.filterwarnings("ignore:variable 'v' has multiple fill values")
@pytest.mark.parametrize(
    "attrs",
    [
        {"scale_factor": np.float32(0.01), "add_offset": np.float32(273.15)},
        {**PACKED, "_FillValue": np.int16(1), "missing_value": np.array([2, 3], "i2")},
    ],
)
def test_packed_numbers_that_stay_apart_are_unpacked(tmp_path, attrs):
    packed = xr.Dataset({"v": ("x", np.array([1, 2, 3, 7], "i2"), attrs)})
    packed.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_file("netcdf", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as expected:
        xr.testing.assert_identical(found, expected)


def test_attributes_that_hdf5_uses_for_dimensions_are_kept_where_they_are_none(
    tmp_path,
):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["NAME"] = "plate 7"
        image = file.create_dataset("plate", data=np.zeros((2, 3)))
        image.attrs["CLASS"] = np.bytes_("IMAGE")
        image.attrs["NAME"] = "left"
        file.create_dataset("x", data=np.arange(3)).make_scale("across")
    found = read_file("netcdf", tmp_path / "a.h5")
    assert found.attrs == {"NAME": "plate 7"}
    assert found["plate"].attrs == {"CLASS": "IMAGE", "NAME": "left"}
    assert found["x"].attrs == {}


@pytest.mark.parametrize("reader", ["netcdf", "zarr"])
@pytest.mark.parametrize(
    ("own", "is_kept"),
    [
        (("x", [1, 2], {"units": "m"}), True),
        (("x", [3, 4], {"units": "m"}), False),
        (("x", [1, 2], {"units": "km"}), False),
        (("x", np.array([1, 2], "i2"), {"units": "m"}), False),
    ],
)
def test_a_group_keeps_its_coordinates_or_is_refused(tmp_path, reader, own, is_kept):
    path = tmp_path / "a"
    top = xr.Dataset(coords={"x": ("x", [1, 2], {"units": "m"})})
    below = xr.Dataset({"v": ("x", [1.0, 2.0])}, {"x": own})
    for group, part in (("/", top), ("/g", below)):
        if reader == "zarr":
            part.to_zarr(path, group=group, mode="a", consolidated=False)
        else:
            part.to_netcdf(path, group=group, mode="a", engine="h5netcdf")
    if is_kept:
        found = read_file(reader, path, {"groups": "all"})["g"].to_dataset()
        xr.testing.assert_identical(found, below)
        return
    with pytest.raises(DeliveryError, match=r"(coordinate 'x' of the )?group '/g'"):
        read_file(reader, path, {"groups": "all"})


def test_nanoseconds_of_years_that_they_do_not_reach_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("time,v\n2300-01-01T00:00:00.123456000,1\n")
    found = read_file("csv", tmp_path / "a.csv")["time"]
    assert found.values.astype(str).tolist() == ["2300-01-01T00:00:00.123456"]
    (tmp_path / "b.csv").write_text(
        "time,v\n2020-01-01,1\n2300-01-01T00:00:00.123456789,1\n"
    )
    with pytest.raises(
        DeliveryError, match=r"b\.csv:3: column 'time': .* has nanoseconds"
    ):
        read_file("csv", tmp_path / "b.csv")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_a_parquet_column_with_nulls_and_nan_is_refused(tmp_path, kind):
    one, two = [1.0, None], [1.0, float("nan")]
    pair = pa.table({"one": pa.array(one, kind), "two": pa.array(two, kind)})
    parquet.write_table(pair, tmp_path / "a.parquet")
    assert read_file("parquet", tmp_path / "a.parquet").sizes["index"] == 2
    both = pa.table({"v": pa.array([*one, *two], kind)})
    parquet.write_table(both, tmp_path / "b.parquet")
    with pytest.raises(DeliveryError, match="column 'v' has nulls and NaN"):
        read_file("parquet", tmp_path / "b.parquet")
