"""A mission that ``ziggy init`` makes works at once, and bad names make nothing."""

import subprocess
import sys

import pytest

import ziggy_dask as z
from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.mission import KINDS

_ZIGGY = "from ziggy_dask.interface.main import main; main()"


def ziggy(*words, cwd):
    return finished(sys.executable, "-c", _ZIGGY, *words, cwd=cwd)


def finished(*words, cwd):
    return subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=False, timeout=240
    )


@pytest.mark.integration
@pytest.mark.parametrize("data", KINDS)
def test_a_new_mission_runs_and_its_test_passes(data, tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    made = ziggy("init", "m", "--yes", "--data", data, "--unit", "orbit", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    mission = tmp_path / "m"
    ran = ziggy("run", "m", cwd=mission)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "COMPLETED" in ran.stdout
    tested = finished(sys.executable, "-m", "pytest", "-q", cwd=mission)
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    assert "orbit-2/summary" in z.open(mission / "cluster.yaml").datastore


def test_a_mission_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    assert ziggy("init", "old", "--yes", cwd=tmp_path).returncode == 0
    (tmp_path / "old").rename(tmp_path / "new")
    listed = ziggy("pipelines", "--json", cwd=tmp_path / "new")
    assert listed.returncode == 0, listed.stderr
    assert '"name": "old"' in listed.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "'a/b' can't name a mission"),
        ({"data": "image"}, "did you mean 'images'"),
        ({"unit": "two words"}, "'two words' can't name a group of files"),
    ],
)
def test_a_bad_name_makes_nothing(options, message, tmp_path):
    with pytest.raises(DefinitionError, match=message):
        z.create_mission(tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_mission_whose_files_nothing_can_read_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "astropy", None)
    with pytest.raises(DefinitionError, match=r"pip install 'ziggy-dask\[fits\]'"):
        z.create_mission(tmp_path / "m", data="fits")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DefinitionError, match=r"has 'thesis\.tex' in it"):
        z.create_mission(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
