import pickle

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr

from tests.conftest import images
from ziggy_dask.datastore import (
    Datastore,
    Labels,
    Publication,
    Storage,
    allocate,
    create_repository,
    open_dataset,
    open_repository,
    read_layout,
    write_slice,
)
from ziggy_dask.errors import DatastoreError

STORAGE = Storage(dimension="item", chunk=1, chunks=(), compression="zstd")


@pytest.fixture(params=["path", "memory"])
def repository(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "path" else f"memory://{tmp_path}"
    return create_repository(url)


def allocated(repository, path, dataset, name="scaffold-1") -> bytes:
    """Return a fork in which a product like `dataset` is allocated."""
    session = pickle.loads(repository.scaffold(name, [path]))
    first = dataset.isel(item=slice(0, 1))
    allocate(session, path, first, STORAGE, Labels(dataset["item"].values))
    return pickle.dumps(session)


def written(fork: bytes, path, dataset, position) -> bytes:
    """Return a fork that holds one item, as a worker would return it."""
    session = pickle.loads(fork)
    layout = read_layout(session, path, "item")
    write_slice(layout, session, dataset.isel(item=[position]), position)
    return pickle.dumps(session)


def publish(repository, path, dataset, name="scaffold-1") -> str:
    fork = allocated(repository, path, dataset, name)
    forks = [written(fork, path, dataset, n) for n in range(dataset.sizes["item"])]
    one = Publication(path=path, change_sets=forks, attributes={"kind": "array"})
    return repository.publish([one], "Test", {"instance": 1})


def test_what_workers_wrote_is_published_in_one_step(repository):
    dataset = images(5)
    before = repository.tip()
    publish(repository, "set-1/L1", dataset)
    xr.testing.assert_equal(
        open_dataset(repository.reading(), "set-1/L1").load().drop_vars("item"),
        dataset.drop_vars("item"),
    )
    with pytest.raises(FileNotFoundError):
        open_dataset(repository.reading(before), "set-1/L1")


def test_every_sort_of_variable_survives_the_merging_of_forks(repository):
    count = np.arange(5)
    dataset = images(5).assign(
        name=("item", np.array([f"name {n}" for n in count])),
        when=(
            "item",
            np.datetime64("2026-01-01", "ns") + count * np.timedelta64(1, "h"),
        ),
        flag=("item", count % 2 == 0),
        number=("item", count),
    )
    publish(repository, "set-1/L1", dataset)
    found = open_dataset(repository.reading(), "set-1/L1").load()
    xr.testing.assert_equal(found, dataset)


def test_a_product_is_replaced_whole_and_the_old_one_stays_readable(repository):
    old, new = images(5, seed=1), images(3, seed=2)
    first = publish(repository, "set-1/L1", old)
    publish(repository, "set-1/L1", new, name="scaffold-2")
    assert open_dataset(repository.reading(), "set-1/L1")["pixels"].shape == (3, 4, 5)
    kept = open_dataset(repository.reading(first), "set-1/L1")["pixels"].values
    np.testing.assert_array_equal(kept, old["pixels"].values)


def test_forks_merge_after_others_have_moved_the_tip(repository):
    one, other = images(4, seed=1), images(4, seed=2)
    fork = allocated(repository, "set-1/L1", one, "scaffold-1")
    forks = [written(fork, "set-1/L1", one, n) for n in range(4)]
    publish(repository, "set-1/L1", other, "scaffold-2")
    publish(repository, "set-1/L2", other, "scaffold-3")
    late = Publication(path="set-1/L1", change_sets=forks, attributes={"kind": "array"})
    repository.publish([late], "Late", {})
    found = open_dataset(repository.reading(), "set-1/L1")["pixels"].values
    np.testing.assert_array_equal(found, one["pixels"].values)
    assert "pixels" in open_dataset(repository.reading(), "set-1/L2")


def test_products_that_share_parents_do_not_disturb_each_other(repository):
    for number, path in enumerate(["a/b/L1", "a/b/L2", "a/c/L1"]):
        publish(repository, path, images(2, seed=number), f"scaffold-{number}")
    root = zarr.open_group(repository.reading().store, mode="r")
    names = [name for name, _ in root.members(max_depth=None)]
    assert len(names) == len(set(names))
    assert {"a", "a/b", "a/c"} <= set(names)


def test_an_absent_product_only_removes_the_old_one(repository):
    publish(repository, "set-1/L1", images(2))
    absent = Publication(path="set-1/L1", change_sets=(), attributes={}, is_absent=True)
    repository.publish([absent], "Nothing came of it", {})
    assert list(Datastore(repository)) == []


def test_history_tells_what_was_published_newest_first(repository):
    start = repository.tip()
    first = publish(repository, "set-1/L1", images(2))
    second = publish(repository, "set-1/L2", images(2), "scaffold-2")
    named = [one for one in repository.history(since=start) if one.metadata]
    assert [one.snapshot for one in named] == [second, first]
    assert named[0].metadata == {"instance": 1}


def test_the_change_set_of_a_subtask_stays_small(repository):
    dataset = images(50)
    fork = allocated(repository, "set-1/L1", dataset)
    assert len(written(fork, "set-1/L1", dataset, 7)) < 5000


def test_a_datastore_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        DatastoreError, match="there is none; make it with: ziggy cluster init"
    ):
        open_repository(str(tmp_path / "nowhere"))


def test_a_snapshot_that_is_not_there_is_refused(repository):
    with pytest.raises(DatastoreError, match="can't read snapshot"):
        repository.reading("0" * 20)


def test_one_item_more_costs_little_however_many_there_are(tmp_path):
    """Also in a datastore that began with one list of chunks per array."""
    count = 1500
    place = tmp_path / "datastore"
    storage = icechunk.local_filesystem_storage(str(place))
    session = icechunk.Repository.create(storage).writable_session("main")
    array = zarr.open_group(session.store, mode="a").create_array(
        "x", shape=(count,), chunks=(1,), dtype="i8"
    )
    array[:] = range(count)
    session.commit("as earlier versions did")
    repository = open_repository(str(place))

    def append(number):
        before = bytes_of(place / "manifests")
        writing = repository.writing()
        session = writing.newest().session
        array = zarr.open_group(session.store, mode="a")["x"]
        array.resize((number + 1,))
        array[number] = number
        repository.finish_writing(writing, "one more", {})
        return bytes_of(place / "manifests") - before

    assert append(count) < 256 * 200
    assert [append(count + n) < 256 * 200 for n in range(1, 5)] == [True] * 4
    stored = zarr.open_group(repository.reading().store, mode="r")["x"][:]
    assert stored.tolist() == list(range(count + 5))


def bytes_of(directory):
    return sum(file.stat().st_size for file in directory.iterdir())
