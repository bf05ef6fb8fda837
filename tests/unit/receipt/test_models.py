"""Names and revisions are those that the original Ziggy 0.11 gives."""

from datetime import date

import pytest

from ziggy_dask.definitions import ModelType
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import ModelVersion, applicable, name_models

DAY = date(2020, 12, 29)
GEOMETRY = ModelType(
    name="geometry",
    files=r"tess([0-9]{13})-([0-9]{5})_([0-9]{3})-geometry.xml",
    version_group=3,
    timestamp_group=1,
)
CALIBRATION = ModelType(
    name="calibration",
    files=r"calibration-([0-9]+\.[0-9]+\.[0-9]+).h5",
    version_group=1,
    semantic_version=True,
)
PLAIN = ModelType(name="ravenswood", files=r"simple-text.h5")


def version(revision: str) -> ModelVersion:
    return ModelVersion(original="before", stored="before", revision=revision)


@pytest.mark.parametrize(
    ("model_type", "before", "name", "stored", "revision"),
    [
        (
            GEOMETRY,
            None,
            "tess2020321141516-12345_022-geometry.xml",
            "tess2020321141516-12345_022-geometry.xml",
            "022",
        ),
        (
            GEOMETRY,
            "020",
            "tess2020321141516-12345_022-geometry.xml",
            "tess2020321141516-12345_022-geometry.xml",
            "022",
        ),
        (
            CALIBRATION,
            None,
            "calibration-4.12.9.h5",
            "2020-12-29.calibration-4.12.9.h5",
            "4.12.9",
        ),
        (
            CALIBRATION,
            "4.11.0",
            "calibration-4.12.9.h5",
            "2020-12-29.calibration-4.12.9.h5",
            "4.12.9",
        ),
        (PLAIN, None, "simple-text.h5", "2020-12-29.0001-simple-text.h5", "1"),
        (PLAIN, "1", "simple-text.h5", "2020-12-29.0002-simple-text.h5", "2"),
    ],
)
def test_a_model_is_named_by_date_and_revision(
    model_type, before, name, stored, revision
):
    current = version(before) if before else None
    (made,) = name_models(model_type, current, [name], DAY)
    assert made == ModelVersion(
        original=name, stored=stored, revision=revision, imported="2020-12-29"
    )


@pytest.mark.parametrize(
    ("model_type", "before", "name"),
    [
        (GEOMETRY, "022", "tess2020321141516-12345_022-geometry.xml"),
        (GEOMETRY, "0023", "tess2020321141516-12345_022-geometry.xml"),
        (CALIBRATION, "4.12.10", "calibration-4.12.9.h5"),
    ],
)
def test_a_version_that_is_not_greater_is_refused(model_type, before, name):
    with pytest.raises(DeliveryError, match="a new version must be greater"):
        name_models(model_type, version(before), [name], DAY)


def test_several_versions_come_in_order_of_their_numbers():
    names = [f"calibration-1.{minor}.0.h5" for minor in (10, 9, 2)]
    made = name_models(CALIBRATION, None, names, DAY)
    assert [one.revision for one in made] == ["1.2.0", "1.9.0", "1.10.0"]


def test_files_of_one_version_are_refused():
    plain = ModelType(name="any", files=".*")
    with pytest.raises(
        DeliveryError, match="2 files of model type 'any' of one version"
    ):
        name_models(plain, None, ["a", "b"], DAY)


def test_a_version_that_is_no_number_is_refused():
    odd = ModelType(name="odd", files="m-(.*)", version_group=1)
    with pytest.raises(
        DeliveryError, match="'new' of model type 'odd' is not a number"
    ):
        name_models(odd, version("1"), ["m-new"], DAY)


def valid(name: str) -> ModelVersion:
    """Return the version that a file of `DATED` is."""
    (made,) = name_models(DATED, None, [name], DAY)
    return made


DATED = ModelType(
    name="flat",
    files=r"flat-([0-9]+)(?:-to-([0-9]+))?\.fits",
    observed="sector",
    valid_from_group=1,
    valid_until_group=2,
)


@pytest.mark.parametrize(
    ("sector", "file"),
    [
        ("sector-0004", None),
        ("sector-0005", "flat-5.fits"),
        ("sector-0009", "flat-5.fits"),
        ("sector-0010", "flat-10-to-12.fits"),
        ("sector-0012", "flat-10-to-12.fits"),
        ("sector-0013", "flat-5.fits"),
        ("sector-0100", "flat-100.fits"),
    ],
)
def test_the_model_that_began_last_before_an_observation_applies(sector, file):
    versions = [valid(f"flat-{one}.fits") for one in ("100", "5", "10-to-12")]
    chosen = applicable(DATED, versions, {"sector": sector})
    assert (chosen and chosen.original) == file


def test_of_models_for_the_same_time_the_newest_applies():
    old, new = valid("flat-5.fits"), valid("flat-5-to-9.fits")
    assert applicable(DATED, [old, new], {"sector": "sector-7"}) == new
    assert applicable(DATED, [new, old], {"sector": "sector-7"}) == old


def test_times_of_many_parts_compare_part_by_part():
    dated = ModelType(
        name="dark",
        files="dark-(.+?)_(.+)",
        observed="night",
        valid_from_group=1,
        valid_until_group=2,
    )
    (march,) = name_models(dated, None, ["dark-2024-03-01_2024-03"], DAY)
    for night, applies in {
        "2024-02-29": 0,
        "2024-03-01": 1,
        "2024-03-31": 1,
        "2024-04-01": 0,
    }.items():
        assert bool(applicable(dated, [march], {"night": night})) == applies


def test_models_of_a_delivery_are_told_apart_by_their_times():
    names = ["flat-5.fits", "flat-100.fits"]
    made = name_models(DATED, None, names, DAY)
    assert {one.original: one.valid_from for one in made} == {
        "flat-5.fits": "5",
        "flat-100.fits": "100",
    }


def test_a_model_that_tells_no_time_is_refused():
    dated = ModelType(name="flat", files="flat-(.*)", observed="s", valid_from_group=1)
    with pytest.raises(DeliveryError, match="does not say from when on it applies"):
        name_models(dated, None, ["flat-new"], DAY)
