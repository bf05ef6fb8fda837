"""FITS files become Datasets, and nothing of them is lost."""

import sys

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS

from ziggy_dask.datastore import read_file
from ziggy_dask.errors import DeliveryError


def written(path, *units):
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path)
    return read_file("fits", path)


def table(*columns, name="", **cards):
    made = fits.BinTableHDU.from_columns([fits.Column(**one) for one in columns])
    made.header.update(cards)
    if name:
        made.header["EXTNAME"] = name
    return made


def test_an_image_has_its_header_and_a_wcs_can_be_made_of_it(tmp_path):
    sky = WCS(naxis=2)
    sky.wcs.crpix, sky.wcs.crval, sky.wcs.cdelt = [2, 3], [280.5, -12.25], [-0.1, 0.1]
    sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    pixels = np.arange(12, dtype=">i2").reshape(3, 4)
    unit = fits.PrimaryHDU(pixels, header=sky.to_header())
    unit.header["OBJECT"] = "M 16"
    unit.header["BUNIT"] = "adu"
    unit.header["HISTORY"] = "taken"
    unit.header["HISTORY"] = "flattened"
    unit.writeto(tmp_path / "a.fits")
    image = read_file("fits", tmp_path / "a.fits")["image"]
    assert image.dims == ("y", "x")
    assert image.dtype == np.dtype("i2")
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.values, pixels)
    assert (image.attrs["OBJECT"], image.attrs["unit"]) == ("M 16", "adu")
    assert image.attrs["HISTORY"] == "taken\nflattened"
    assert not {"NAXIS1", "BITPIX", "SIMPLE"} & set(image.attrs)
    cards = {k: v for k, v in image.attrs.items() if k not in ("unit", "HISTORY")}
    again = WCS(fits.Header(cards))
    np.testing.assert_allclose(
        again.pixel_to_world_values(1, 2), sky.pixel_to_world_values(1, 2)
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_scaled_and_unsigned_images_come_as_what_they_mean(tmp_path, compressed):
    pixels = np.array([[0, 65535], [32768, 1]], dtype="u2")
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    found = written(tmp_path / "a.fits", kind(pixels, name="SCI"))
    np.testing.assert_array_equal(found["sci"].values, pixels)


def test_images_of_other_shapes_have_dimensions_of_their_own(tmp_path):
    found = written(
        tmp_path / "a.fits",
        fits.ImageHDU(np.zeros((2, 3), "f4"), name="SCI"),
        fits.ImageHDU(np.zeros((2, 3), "f4"), name="ERR"),
        fits.ImageHDU(np.zeros((5, 4), "f4"), name="Wide field"),
        fits.ImageHDU(np.zeros((7, 2, 3), "f4")),
    )
    assert found["err"].dims == found["sci"].dims == ("y", "x")
    assert found["wide_field"].dims == ("wide_field_y", "wide_field_x")
    assert found["image_4"].dims == ("plane", "y", "x")


def test_a_table_with_times_is_a_time_series(tmp_path):
    cubes = np.arange(24, dtype="f4").reshape(2, 4, 3)
    found = written(
        tmp_path / "a.fits.gz",
        table(
            {"name": "TIME", "format": "D", "unit": "BJD - 2454833", "array": [1, 2]},
            {"name": "FLUX", "format": "12E", "dim": "(3,4)", "array": cubes},
            {"name": "QUALITY", "format": "J", "null": -1, "array": [0, 8]},
            {"name": "NOTE", "format": "4A", "array": ["dark", "ok"]},
            {"name": "GOOD", "format": "L", "array": [True, False]},
            name="TARGETTABLES",
            KEPLERID=201367065,
        ),
        table({"name": "ENERGY", "format": "D", "array": [7.0]}, name="COSMIC RAYS"),
        fits.ImageHDU(np.ones((4, 3), "i4"), name="APERTURE"),
    )
    assert found["flux"].dims == ("time", "y", "x")
    np.testing.assert_array_equal(found["flux"].values, cubes)
    assert found["time"].values.tolist() == [1.0, 2.0]
    assert found["time"].attrs["unit"] == "BJD - 2454833"
    assert found["quality"].attrs["null"] == -1
    assert found["note"].values.tolist() == ["dark", "ok"]
    assert found["good"].values.tolist() == [True, False]
    assert found["cosmic_rays_energy"].dims == ("cosmic_rays_row",)
    assert found["aperture"].dims == ("y", "x")
    assert found.attrs["KEPLERID"] == 201367065


def test_arrays_of_different_lengths_are_refused(tmp_path):
    lengths = np.array([np.zeros(2), np.zeros(3)], dtype=object)
    with pytest.raises(DeliveryError, match="'V' of T has arrays of different lengths"):
        written(
            tmp_path / "a.fits",
            table({"name": "V", "format": "PD()", "array": lengths}, name="T"),
        )


def test_what_is_no_fits_file_is_refused(tmp_path):
    (tmp_path / "a.fits").write_text("SIMPLE but not quite")
    with pytest.raises(
        DeliveryError, match=r"a\.fits: the reader 'fits' can't read it"
    ):
        read_file("fits", tmp_path / "a.fits")


def test_without_astropy_the_message_says_what_to_install(tmp_path, monkeypatch):
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "a.fits")
    for name in [one for one in sys.modules if one.split(".")[0] == "astropy"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DeliveryError, match=r"pip install 'ziggy-dask\[fits\]'"):
        read_file("fits", tmp_path / "a.fits")


def test_what_was_read_can_be_stored_and_read_again(tmp_path):
    found = written(
        tmp_path / "a.fits",
        table(
            {"name": "TIME", "format": "D", "unit": "days", "array": [1.0, np.nan]},
            {"name": "CORRECTION", "format": "E", "unit": "seconds", "array": [3, 4]},
            MISSION="K2",
        ),
    )
    found.to_zarr(tmp_path / "a.zarr", consolidated=False)
    again = xr.open_zarr(tmp_path / "a.zarr", consolidated=False).load()
    xr.testing.assert_identical(again, found)
