"""Working directories among what others keep in the same place."""

import os
from types import SimpleNamespace

import pytest
import xarray as xr

from ziggy_dask.datastore import FileItem
from ziggy_dask.definitions import Programs
from ziggy_dask.definitions.access import Access
from ziggy_dask.errors import TaskError
from ziggy_dask.workers import directory, task_directories, tidy

NOBODY = 65534


@pytest.mark.parametrize("trick", ["theirs", "link", "open", "group"])
def test_a_directory_that_somebody_else_made_is_refused(trick, tmp_path):
    assert os.geteuid() == 0, "only root can give files away"
    place = tmp_path / "work" / "1-2-fit"
    elsewhere = tmp_path / "elsewhere"
    for one in (elsewhere, place.parent, place):
        one.mkdir()
    if trick == "theirs":
        os.chown(place, NOBODY, NOBODY)
    elif trick == "open":
        place.chmod(0o777)
    elif trick == "group":
        os.chown(place, NOBODY, os.getegid())
        place.chmod(0o770)
    else:
        place.rmdir()
        place.symlink_to(elsewhere)
    for access in (Access.OWNER, Access.GROUP):
        work = SimpleNamespace(programs=Programs(work=place.parent, access=access))
        if (trick, access) == ("group", Access.GROUP):
            directory._require_own(work, place)
            continue
        with pytest.raises(TaskError, match="can't be trusted") as caught:
            directory._require_own(work, place)
        assert str(place) in str(caught.value)
    assert list(elsewhere.iterdir()) == []


def test_a_directory_of_ones_own_is_made_with_the_rights_of_the_cluster(tmp_path):
    before = os.umask(0)
    try:
        place = tmp_path / "work" / "1-2-fit"
        work = SimpleNamespace(
            programs=Programs(work=place.parent, access=Access.OWNER)
        )
        for _ in range(2):
            directory._require_own(work, place)
        assert place.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_only_what_is_ours_is_removed(tmp_path):
    for name in (
        "1-2-fit/st-0",
        "1-2-fit/st-1",
        "1-2-fit/.shared-77",
        "2-3-fit/st-0",
        "1-old-results/st-0",
        "2026-11-images/raw",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "1-2-notes").write_text("a file")
    (tmp_path / "1-4-link").symlink_to(tmp_path / "2-3-fit")
    found = [(path.name, *rest) for path, *rest in task_directories(tmp_path)]
    assert found == [("1-2-fit", 1, 2), ("2-3-fit", 2, 3)]
    tidy(tmp_path, 1, {(2, 1)})
    tidy(tmp_path, 2026, set())
    left = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))
    assert left == [
        "1-2-fit",
        "1-2-fit/st-1",
        "1-2-notes",
        "1-4-link",
        "1-old-results",
        "1-old-results/st-0",
        "2-3-fit",
        "2-3-fit/st-0",
        "2026-11-images",
        "2026-11-images/raw",
    ]


def test_a_model_called_as_what_tells_of_the_inputs_is_refused(tmp_path):
    """It would be written over, even where other subtasks share it."""
    programs = Programs(work=tmp_path, access=Access.OWNER)
    work = SimpleNamespace(
        programs=programs, instance=1, task=2, node="fit all", sources=()
    )
    model = FileItem(name="fit_all-inputs.json", data=b"{}")
    with pytest.raises(TaskError, match="two of its files are called 'fit_all-inputs"):
        directory.make_directory(work, 0, None, {"model": model})


def test_items_with_slashes_are_files_in_the_working_directory(tmp_path):
    place = tmp_path / "st-0"
    place.mkdir()
    one = xr.Dataset({"v": ("x", [1])})
    for file_format, suffix in (("netcdf", ".nc"), ("zarr", ".zarr")):
        source = SimpleNamespace(name="a", file_format=file_format)
        given = dict.fromkeys(["../b", "n/o", "plain 1"], one)
        names = list(directory._write_datasets(source, given, place))
        assert names == [f"{n}{suffix}" for n in ("..%2Fb", "n%2Fo", "plain 1")]
        assert all((place / name).exists() for name in names)
    assert list(tmp_path.iterdir()) == [place]
