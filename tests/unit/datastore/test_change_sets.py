"""Change sets on record: read as data, bound to the datastore that is open."""

import os
import pickle
import random
import shutil

import numpy as np
import pytest
import zarr

from ziggy_dask.datastore.change_sets import missing_chunks, open_change_set, place_of
from ziggy_dask.datastore.repository import create_repository, open_repository
from ziggy_dask.errors import DatastoreError


@pytest.fixture
def recorded(tmp_path):
    """A datastore, and a change set of it with three chunks."""
    repository = create_repository(str(tmp_path / "original"))
    fork = pickle.loads(repository.scaffold("s", ["a/b"]))
    array = zarr.create_array(
        fork.store, name="a/b", shape=(3, 500), chunks=(1, 500), dtype="f8"
    )
    array[:] = np.random.default_rng(0).random((3, 500))
    return repository, pickle.dumps(fork)


def copy_of(repository, place):
    shutil.copytree(repository.url, place)
    return open_repository(str(place))


def chunks_in(place):
    return sorted(path.name for path in (place / "chunks").iterdir())


def test_what_a_copy_writes_goes_into_the_copy(recorded, tmp_path):
    repository, change_set = recorded
    copy = copy_of(repository, tmp_path / "copy")
    before = chunks_in(tmp_path / "original")
    adopted = copy.adopt(change_set)
    zarr.open_array(pickle.loads(adopted).store, path="a/b")[1] = np.arange(500.0)
    assert chunks_in(tmp_path / "original") == before
    assert len(chunks_in(tmp_path / "copy")) == len(before) + 1
    assert str(tmp_path / "original").encode() not in adopted


def test_missing_data_are_named(recorded, tmp_path):
    repository, change_set = recorded
    copy = copy_of(repository, tmp_path / "copy")
    assert copy.why_unusable([change_set]) == ""
    (tmp_path / "copy" / "chunks" / chunks_in(tmp_path / "copy")[0]).unlink()
    reopened = open_repository(str(tmp_path / "copy"))
    assert "does not have the chunk 'a/b/c/" in reopened.why_unusable([change_set])
    assert repository.why_unusable([change_set]) == ""


def test_a_datastore_without_the_snapshot_of_a_change_set_says_so(recorded, tmp_path):
    _, change_set = recorded
    other = create_repository(str(tmp_path / "other"))
    assert other.why_unusable([change_set])


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize(
    "make",
    [
        lambda mark, good: pickle.dumps(Command(mark)),
        lambda mark, good: pickle.dumps({"_session": Command(mark)}),
        lambda mark, good: pickle.dumps([pickle.loads(good), Command(mark)]),
        lambda mark, good: pickle.dumps(good),
        lambda mark, good: b"",
    ],
    ids=["command", "in a dict", "beside a fork", "bytes", "nothing"],
)
def test_what_is_no_change_set_is_refused_and_runs_nothing(recorded, tmp_path, make):
    repository, change_set = recorded
    mark = str(tmp_path / "mark")
    with pytest.raises(DatastoreError, match="change set"):
        repository.adopt(make(mark, change_set))
    assert not (tmp_path / "mark").exists()


def test_damaged_change_sets_are_refused_or_told(recorded):
    repository, change_set = recorded
    chance = random.Random(7)
    for _ in range(200):
        damaged = bytearray(change_set)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            damaged = damaged[: chance.randrange(len(damaged))]
        assert isinstance(repository.why_unusable([bytes(damaged)]), str)


def test_a_fork_of_this_datastore_stays_as_it_is(recorded):
    _, change_set = recorded
    fork = pickle.loads(change_set)
    opened = open_change_set(change_set, place_of(fork))
    assert pickle.dumps(opened) == change_set
    assert missing_chunks(opened) == []
