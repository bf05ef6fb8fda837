"""FITS files become Datasets, and nothing of them is lost."""

import sys

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS

from ziggy_dask.datastore import read_file
from ziggy_dask.datastore.readers import open_file
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


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("stored", "cards", "meant"),
    [
        # float32 tells these apart no more.
        (
            np.array([[1, 2]], "i2"),
            {"BSCALE": 0.001, "BZERO": 1e6},
            [1e6 + 1e-3, 1e6 + 2e-3],
        ),
        (np.array([[1, 2]], "i2"), {"BZERO": 1e8}, [1e8 + 1, 1e8 + 2]),
        (np.array([[1, 2]], "u1"), {"BZERO": 1e8}, [1e8 + 1, 1e8 + 2]),
        # No data among numbers that have another sign.
        (np.array([[7, 9]], "i2"), {"BZERO": 32768, "BLANK": 7}, [np.nan, 32777]),
        (np.array([[7, 9]], "i4"), {"BZERO": 2**31, "BLANK": 7}, [np.nan, 2**31 + 9]),
        (np.array([[7, 9]], "u1"), {"BZERO": -128, "BLANK": 7}, [np.nan, -119]),
        (np.array([[7, 9]], "i2"), {"BZERO": 32768, "BLANK": 8}, [32775, 32777]),
    ],
)
def test_stored_pixels_stay_apart_and_those_for_no_data_are_missing(
    tmp_path, stored, cards, meant, compressed
):
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    unit = kind(stored, name="SCI", do_not_scale_image_data=True)
    unit.header.update(cards)
    found = written(tmp_path / "a.fits", unit)["sci"].values
    np.testing.assert_array_equal(found.astype("f8"), [meant])


@pytest.mark.parametrize("cards", [{"BZERO": 1.0}, {"BSCALE": 2.0}])
def test_large_pixels_that_scaling_would_round_are_refused(tmp_path, cards):
    unit = fits.ImageHDU(np.array([[2**60 + 1]]), do_not_scale_image_data=True)
    unit.header.update(cards)
    with pytest.raises(DeliveryError, match="has scaled 64-bit whole numbers beyond"):
        written(tmp_path / "a.fits", unit)


def scaled(path, column, **cards):
    """Read a table whose header says more of a column than astropy knows of it."""
    table(column).writeto(path)
    raw = path.read_bytes()
    place = raw.index(b"END".ljust(80), raw.index(b"XTENSION"))
    more = b"".join(str(fits.Card(*card)).encode().ljust(80) for card in cards.items())
    end = place + 80 + len(more)
    path.write_bytes(raw[:place] + more + b"END".ljust(80) + raw[end:])
    return read_file("fits", path)


SHORTS = np.array([np.array([1, 2], "i2"), np.array([3], "i2")], object)


@pytest.mark.parametrize(
    ("column", "cards", "meant"),
    [
        (
            {"format": "PI()", "array": SHORTS},
            {"TSCAL1": 0.5, "TZERO1": 10},
            [10.5, 11, 11.5],
        ),
        ({"format": "PI()", "array": SHORTS}, {"TZERO1": 32768}, [32769, 32770, 32771]),
        (
            {"format": "PI()", "array": SHORTS},
            {"TZERO1": 0.5, "TNULL1": 2},
            [1.5, np.nan, 3.5],
        ),
        ({"format": "K", "array": [1, 2]}, {"TZERO1": 5.0}, [6, 7]),
        ({"format": "C", "array": np.array([1 + 1j])}, {"TSCAL1": 2}, [2 + 2j]),
        ({"format": "I", "array": [1, 2]}, {"TZERO1": 1e8}, [1e8 + 1, 1e8 + 2]),
    ],
)
def test_columns_mean_what_their_scales_say(tmp_path, column, cards, meant):
    found = scaled(tmp_path / "a.fits", {"name": "N", **column}, **cards)["n"].values
    np.testing.assert_array_equal(found, meant)


def test_large_numbers_that_scaling_would_round_are_refused(tmp_path):
    column = {"name": "N", "format": "K", "array": [2**60 + 1]}
    with pytest.raises(DeliveryError, match="'N' of a table has scaled 64-bit whole"):
        scaled(tmp_path / "a.fits", column, TZERO1=5.0)


def with_logical(path, values, letter):
    """Write a table of logical values, of which each '?' is replaced by another byte."""
    flags = {"name": "OK", "format": "L", "array": [one == "T" for one in values]}
    table(flags).writeto(path)
    raw = path.read_bytes()
    plain = values.replace("?", "F").encode()
    place = raw.index(plain.ljust(2880, b"\0"))
    changed = values.encode().replace(b"?", letter)
    path.write_bytes(raw[:place] + changed + raw[place + len(plain) :])
    return read_file("fits", path)


def test_logical_values_that_are_missing_are_not_false(tmp_path):
    found = with_logical(tmp_path / "a.fits", "TF?", b"\0")["ok"].values
    np.testing.assert_array_equal(found, [1, 0, np.nan])
    found = with_logical(tmp_path / "b.fits", "TFF", b"")["ok"]
    assert found.dtype == bool
    assert found.values.tolist() == [True, False, False]
    with pytest.raises(
        DeliveryError, match="'OK' of a table has the logical value 'Y'"
    ):
        with_logical(tmp_path / "c.fits", "TF?", b"Y")


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


def test_arrays_of_different_lengths_stand_one_after_another(tmp_path):
    rows = np.array([np.array([1.5, 2.5]), np.zeros(0), np.arange(3.0)], dtype=object)
    found = written(
        tmp_path / "a.fits",
        table(
            {"name": "V", "format": "PD()", "array": rows, "unit": "keV"},
            {"name": "N", "format": "J", "array": [1, 2, 3]},
            name="T",
        ),
    )
    assert found["v"].values.tolist() == [1.5, 2.5, 0.0, 1.0, 2.0]
    assert found["v"].dims == ("v_element",)
    assert found["v_length"].values.tolist() == [2, 0, 3]
    assert found["v_length"].dims == found["n"].dims == ("row",)
    assert found["v"].attrs["unit"] == "keV"


@pytest.mark.parametrize("first", ["spec", "spec_length"])
def test_a_column_called_as_our_counts_of_elements_is_kept(tmp_path, first):
    rows = np.array([np.arange(2.0), np.arange(3.0)], dtype=object)
    columns = [
        {"name": "spec", "format": "PD()", "array": rows},
        {"name": "spec_length", "format": "D", "array": [0.5, 1.5]},
    ]
    columns.sort(key=lambda one: one["name"] != first)
    found = written(tmp_path / "a.fits", table(*columns))
    kept = {str(name): values.values.tolist() for name, values in found.items()}
    assert kept.pop("spec") == [0, 1, 0, 1, 2]
    assert sorted(kept.values()) == [[0.5, 1.5], [2, 3]]


def test_what_every_header_of_one_name_says_is_kept(tmp_path):
    units = [fits.ImageHDU(name="SCI") for _ in range(3)]
    for number, unit in enumerate(units):
        unit.header["GAIN"] = number
    attrs = written(tmp_path / "a.fits", *units).attrs
    assert [attrs[k] for k in ("GAIN", "sci.GAIN", "sci_2.GAIN")] == [0, 1, 2]


def test_tables_of_one_name_keep_their_own_lengths_and_headers(tmp_path):
    found = written(
        tmp_path / "a.fits",
        table({"name": "A", "format": "J", "array": [1]}, name="EVENTS", EXPOSURE=1.5),
        table({"name": "A", "format": "J", "array": [1, 2]}, name="EVENTS", EXPOSURE=2),
        table({"name": "A", "format": "J", "array": [1, 2, 3]}, name="EVENTS", GAIN=7),
    )
    assert found["a"].shape == (1,)
    assert found["events_a"].values.tolist() == [1, 2]
    assert found["events_2_a"].values.tolist() == [1, 2, 3]
    assert found["events_a"].dims != found["events_2_a"].dims
    assert found.attrs["EXPOSURE"] == 1.5
    assert found.attrs["events.EXPOSURE"] == 2
    assert found.attrs["GAIN"] == 7


def test_null_values_are_missing_and_whole_numbers_without_them_stay_whole(tmp_path):
    ascii_table = fits.TableHDU.from_columns(
        [fits.Column(name="P", format="I6", null="---", array=[11, 22])]
    )
    found = written(
        tmp_path / "a.fits",
        table(
            {"name": "N", "format": "J", "null": -99, "array": [1, -99]},
            {"name": "WHOLE", "format": "J", "null": -99, "array": [1, 2]},
        ),
        ascii_table,
    )
    np.testing.assert_array_equal(found["n"].values, [1, np.nan])
    assert found["whole"].dtype == np.dtype("i4")
    raw = bytearray((tmp_path / "a.fits").read_bytes())
    place = raw.rindex(b"    22")
    raw[place : place + 6] = b"   ---"
    (tmp_path / "b.fits").write_bytes(raw)
    again = read_file("fits", tmp_path / "b.fits")
    np.testing.assert_array_equal(again["table_2_p"].values, [11, np.nan])


def test_null_values_among_numbers_that_float_can_not_hold_are_refused(tmp_path):
    numbers = {"name": "ID", "format": "K", "null": -1, "array": [2**53 + 1, -1]}
    with pytest.raises(DeliveryError, match="'ID' of a table has null values among"):
        written(tmp_path / "a.fits", table(numbers))


def test_letters_that_ascii_lacks_are_kept(tmp_path):
    written(
        tmp_path / "a.fits",
        table({"name": "WHO", "format": "8A", "array": ["Xngstrom"]}, OBSERVER="Xre"),
    )
    raw = (tmp_path / "a.fits").read_bytes()
    raw = raw.replace(b"Xngstrom", "Ångström".encode("latin-1"))
    (tmp_path / "b.fits").write_bytes(raw.replace(b"'Xre ", "'Åre ".encode("latin-1")))
    found = read_file("fits", tmp_path / "b.fits")
    assert found["who"].values.tolist() == ["Ångström"]
    assert found.attrs["OBSERVER"] == "Åre"


def test_one_bad_card_does_not_refuse_a_file_and_is_told_of(tmp_path):
    fits.PrimaryHDU(np.ones((2, 2))).writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    bad = b"SKEW    = -1.38, 1.69 / of two".ljust(80)
    end = raw.index(b"END".ljust(80))
    raw = raw[:end] + bad + raw[end : end + 80] + raw[end + 160 :]
    (tmp_path / "b.fits").write_bytes(raw)
    with open_file("fits", tmp_path / "b.fits") as reading:
        assert "-1.38, 1.69" in reading.content["image"].attrs["SKEW"]
        assert "the card of 'SKEW' is not valid" in " ".join(reading.warnings)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: raw[:-3000], "truncated|corrupted"),
        (lambda raw: raw[:-3000] + b"\7" + raw[-2999:], "verification failed"),
        (lambda raw: raw + b"left over" * 400, "extra bytes|corrupted"),
    ],
    ids=["cut", "flipped", "more"],
)
@pytest.mark.parametrize("where", ["image", "table"])
def test_a_damaged_file_is_refused_with_its_name(tmp_path, spoil, words, where):
    unit = (
        fits.ImageHDU(np.arange(2000.0).reshape(40, 50))
        if where == "image"
        else table({"name": "A", "format": "D", "array": np.arange(2000.0)})
    )
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "a.fits", checksum=True)
    (tmp_path / "b.fits").write_bytes(spoil((tmp_path / "a.fits").read_bytes()))
    with pytest.raises(DeliveryError, match=r"(?s)b\.fits: is damaged: .*" + words):
        read_file("fits", tmp_path / "b.fits")


def spoilt(path, old, new, *, has_sum):
    """Write a file with both checksums, and change some of its bytes."""
    unit = fits.ImageHDU(np.full((40, 50), 7.0), name="SCI")
    unit.header["EXPTIME"] = 13.5
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path, checksum=True)
    if not has_sum:  # as in archives of TESS: the CHECKSUM of header and data alone
        with fits.open(path) as units:
            for one in units:
                del one.header["DATASUM"]
                one.header["CHECKSUM"] = "0" * 16
                data = fits.ImageHDU(one.data)._calculate_datasum() if one.size else 0
                one.header["CHECKSUM"] = one._calculate_checksum(data)
            units.writeto(path, overwrite=True)
    raw = path.read_bytes()
    assert raw.count(old) >= 1
    path.write_bytes(raw.replace(old, new, 1))
    return path


SEVEN, OTHER = np.array([7.0], ">f8").tobytes(), np.array([7.5], ">f8").tobytes()


def test_a_checksum_without_a_datasum_is_that_of_header_and_data(tmp_path):
    path = spoilt(tmp_path / "a.fits", b"13.5", b"13.5", has_sum=False)
    with fits.open(path) as units:
        assert "DATASUM" not in units[1].header
    with open_file("fits", path, {"checksum": "refuse"}) as reading:
        assert reading.warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "has_sum", "words"),
    [
        (b"13.5", b"14.5", True, "the data are as they were"),
        (b"13.5", b"14.5", False, "its header or its data were changed"),
        (SEVEN, OTHER, False, "its header or its data were changed"),
    ],
    ids=["header", "header, no DATASUM", "data, no DATASUM"],
)
def test_where_only_a_checksum_is_wrong_it_is_told_or_refused(
    tmp_path, old, new, has_sum, words
):
    path = spoilt(tmp_path / "a.fits", old, new, has_sum=has_sum)
    with open_file("fits", path) as reading:
        assert reading.content["sci"].shape == (40, 50)
        (told,) = reading.warnings
    assert told.startswith("the CHECKSUM of HDU 1 (SCI), ")
    assert words in told
    with pytest.raises(DeliveryError, match=rf"a\.fits: is damaged: .* HDU 1.*{words}"):
        read_file("fits", path, {"checksum": "refuse"})


def test_where_a_datasum_is_wrong_the_file_is_refused(tmp_path):
    path = spoilt(tmp_path / "a.fits", SEVEN, OTHER, has_sum=True)
    with pytest.raises(
        DeliveryError, match=r"a\.fits: is damaged: Datasum verification"
    ):
        read_file("fits", path)


def test_only_the_hdus_that_are_named_are_read_and_the_rest_is_told(tmp_path):
    written(
        tmp_path / "a.fits",
        fits.ImageHDU(np.ones((2, 2)), name="SCI"),
        fits.ImageHDU(np.zeros((2, 2)), name="ERR"),
    )
    with open_file("fits", tmp_path / "a.fits", {"hdu": "sci"}) as reading:
        assert list(reading.content.variables) == ["sci"]
        assert reading.warnings == ("HDUs not read: 2 (ERR)",)
    with open_file("fits", tmp_path / "a.fits", {"hdu": [1, 2]}) as reading:
        assert list(reading.content.variables) == ["sci", "err"]
        assert reading.warnings == ()
    with pytest.raises(DeliveryError, match=r"HDUs that would not be read: 2 \(ERR\)"):
        read_file("fits", tmp_path / "a.fits", {"hdu": 1, "other_parts": "refuse"})
    with pytest.raises(DeliveryError, match="has no HDU 'DQ'; it has 0"):
        read_file("fits", tmp_path / "a.fits", {"hdu": "DQ"})


def test_random_groups_are_refused_by_name(tmp_path):
    groups = fits.GroupData(
        np.zeros((3, 1, 2, 2), "f4"), bitpix=-32, parnames=["UU"], pardata=[np.ones(3)]
    )
    fits.GroupsHDU(groups).writeto(tmp_path / "a.fits")
    with pytest.raises(DeliveryError, match="HDU 0 .* has random groups"):
        read_file("fits", tmp_path / "a.fits")


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
