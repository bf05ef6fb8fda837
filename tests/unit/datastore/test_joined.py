"""Products of several trees are read as those of one."""

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.sync import sync

from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    create_repository,
    read_layout,
    write_slice,
    writing,
)
from ziggy_dask.datastore.index import read_product
from ziggy_dask.datastore.joined import JoinedSession
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.errors import MissingError

STORAGE = Storage(dimension="time", chunk=1, chunks=(), compression="none")
TIMES = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """A session that reads three products, each in a tree of its own."""
    monkeypatch.setattr(writing, "FULL", 3)
    repository = create_repository(str(tmp_path / "datastore"))
    for number in range(3):
        begun = repository.writing()
        session = begun.newest().session
        zarr.open_group(session.store, mode="a").require_group(f"set-{number}")
        content = xr.Dataset({"v": ("time", [1.0, number])}, coords={"time": TIMES})
        path = f"set-{number}/a"
        allocate(session, path, content[{"time": [0]}], STORAGE, Labels(TIMES))
        write_slice(read_layout(session, path, "time"), session, content, 0)
        group = zarr.open_group(session.store, path=path, mode="a")
        group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "time"}
        repository.finish_writing(begun, "state", {})
    session = repository.reading()
    assert isinstance(session, JoinedSession)
    return session


async def listed(places):
    return sorted([place async for place in places])


@pytest.mark.parametrize("number", range(3))
def test_a_product_whose_labels_are_times_is_read_from_any_tree(joined, number):
    found = open_dataset(joined, f"set-{number}/a")
    assert found["v"].values.tolist() == [1, number]
    assert found["time"].values.tolist() == TIMES.tolist()
    read = read_product(joined, f"set-{number}/a")
    assert read.labels is not None
    assert read.labels.values.tolist() == TIMES.tolist()


@pytest.mark.parametrize("number", range(3))
def test_the_chunks_of_an_array_in_any_tree_are_listed(joined, number):
    places = joined.chunk_coordinates(f"/set-{number}/a/v")
    assert sync(listed(places)) == [(0,), (1,)]


def test_the_chunks_of_an_array_that_is_not_there_are_refused(joined):
    with pytest.raises(MissingError, match="no array at '/set-1/b/v'"):
        sync(listed(joined.chunk_coordinates("/set-1/b/v")))
