"""Copies of a cluster: they go on by themselves, and never touch the original."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ziggy_dask as z
from tests.conftest import store, work_pipeline

ALGORITHMS = """
    from pathlib import Path

    GAIN = 2.0


    def work(raw, context):
        if context.labels == ["i3"] and not Path(HERE, "fixed").exists():
            raise ValueError("not yet")
        return raw * GAIN
"""


@pytest.fixture
def stopped(tmp_path, cluster, code, client):
    """A cluster below ``original`` whose only task has failed in one of eight subtasks."""
    algorithms = ALGORITHMS.replace("HERE", repr(str(tmp_path)))
    root = code(algorithms)
    # More than fits into a manifest, so that each subtask writes a chunk of its own.
    pixels = np.random.default_rng(1).random((8, 4, 64)) + 1
    labels = [f"i{number}" for number in range(8)]
    raw = xr.Dataset({"pixels": (("item", "y", "x"), pixels)}, {"item": labels})
    store(cluster, {"set-1/L0": raw})
    cluster.register(work_pipeline(root))
    instance = cluster.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    return cluster


def files_below(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def copied(cluster: z.Cluster, place: Path) -> z.Cluster:
    place.mkdir()
    shutil.copy(cluster._site.cluster.path, place / "cluster.yaml")
    shutil.copytree(cluster._site.cluster.home, place / "home")
    return z.open(place / "cluster.yaml")


def gains(cluster: z.Cluster) -> np.ndarray:
    before = cluster.datastore["set-1/L0"].load()
    after = cluster.datastore["set-1/L1"].load()
    return np.unique((after / before)["pixels"].values)


@pytest.mark.parametrize("lost", [0, 1, 7])
def test_a_copy_goes_on_by_itself_and_leaves_the_original_alone(
    stopped, client, tmp_path, lost
):
    copy = copied(stopped, tmp_path / "copy")
    home = stopped._site.cluster.home
    before = files_below(home / "datastore")
    (tmp_path / "fixed").touch()
    chunks = copy._site.cluster.home / "datastore" / "chunks"
    recorded = sorted(chunks.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in recorded[-lost:] if lost else []:
        path.unlink()

    (instance,) = copy.restart(instance=1, client=client)

    assert instance.state.value == "COMPLETED"
    assert np.array_equal(gains(copy), [2.0])
    assert files_below(home / "datastore") == before
    again = [one for one in copy.alerts if "run again" in one.message]
    assert len(again) == (1 if lost else 0)
    if lost:
        assert f"{lost} subtasks" in again[0].message

    (instance,) = stopped.restart(instance=1, client=client)
    assert instance.state.value == "COMPLETED"
    assert np.array_equal(gains(stopped), [2.0])
