"""Names and revisions are those that the original Ziggy 0.11 gives."""

from datetime import date

import pytest

from ziggy_dask.definitions import ModelType
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import ModelVersion, name_models

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
    assert made == ModelVersion(original=name, stored=stored, revision=revision)


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
    with pytest.raises(DeliveryError, match="'new' of model type 'odd' is no number"):
        name_models(odd, version("1"), ["m-new"], DAY)
