import tracemalloc

import numpy as np
import pytest
import zarr
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync

from ziggy_dask.datastore import create_repository
from ziggy_dask.datastore.stores import bind, store_to_write, write_region

MIB = 2**20


@pytest.fixture(params=["path", "memory"])
def store(request, tmp_path):
    """The store of a session in which nothing is written."""
    url = str(tmp_path / "store") if request.param == "path" else f"memory://{tmp_path}"
    session = create_repository(url).writing().newest().session
    return store_to_write(session)


def array(store, shape, chunks, dtype="f8", **options) -> zarr.Array:
    group = zarr.create_group(store, path="g", overwrite=True)
    return group.create_array("a", shape=shape, chunks=chunks, dtype=dtype, **options)


def peak_of_set(store, value: Buffer) -> int:
    """Return how much memory Python takes to store one value of 8 MiB."""
    array(store, (8 * MIB,), (8 * MIB,), "u1", compressors=None)
    tracemalloc.start()
    try:
        sync(store.set("g/a/c/0", value))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bytes_are_stored_without_a_copy(store):
    data = np.random.default_rng(0).bytes(8 * MIB)
    assert peak_of_set(store, Buffer.from_bytes(data)) < MIB
    assert zarr.open_array(store, path="g/a", mode="r")[:].tobytes() == data


def test_a_part_of_bytes_is_stored_as_that_part(store):
    data = np.random.default_rng(0).bytes(10 * MIB)
    part = np.frombuffer(data, dtype="B", count=8 * MIB, offset=MIB)
    assert peak_of_set(store, Buffer(part)) >= 8 * MIB
    stored = zarr.open_array(store, path="g/a", mode="r")[:]
    assert stored.tobytes() == data[MIB : 9 * MIB]


@pytest.mark.parametrize("count", [4, MIB])
def test_what_is_stored_stays_when_the_array_it_came_from_changes(store, count):
    metadata = array(store, (count,), (count,), compressors=None).metadata
    values = np.arange(1.0, count + 1)
    write_region(store, "g/a", metadata, (slice(0, count),), values)
    values[:] = -1
    read = bind(store, "g/a", metadata)[:]
    np.testing.assert_array_equal(read, np.arange(1.0, count + 1))


@pytest.mark.parametrize("fill", [0.0, np.nan, 3.0])
def test_only_chunks_of_nothing_but_the_fill_value_are_left_out(store, fill):
    metadata = array(store, (4, 6), (2, 3), fill_value=fill).metadata
    values = np.full((4, 6), fill)
    values[0, 0] = 1  # The first element of a chunk,
    values[3, 2] = 1  # and the last one.
    write_region(store, "g/a", metadata, (slice(0, 4), slice(0, 6)), values)
    stored = bind(store, "g/a", metadata)
    np.testing.assert_array_equal(stored[:], values)
    assert stored.nchunks_initialized == 2


@pytest.mark.parametrize(
    "values",
    [
        np.array([[True, False], [False, True]]),
        np.array([[1, 0], [0, -1]], dtype="i2"),
        np.array([[1 + 2j, 0], [0, 1]]),
        np.array([["a", ""], ["", "é"]], dtype=np.dtypes.StringDType()),
        np.array([["2026-01-01", "NaT"], ["NaT", "NaT"]], dtype="M8[s]"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_values_of_every_type_are_stored_as_they_are(store, values):
    metadata = array(store, (2, 2), (1, 2), values.dtype).metadata
    write_region(store, "g/a", metadata, (slice(0, 2), slice(0, 2)), values)
    np.testing.assert_array_equal(bind(store, "g/a", metadata)[:], values)


@pytest.mark.parametrize(
    "value",
    [np.array(2.5), np.float64(2.5), 2.5],
    ids=lambda value: type(value).__name__,
)
def test_an_array_without_dimensions_is_stored(store, value):
    metadata = array(store, (), ()).metadata
    write_region(store, "g/a", metadata, (), value)
    assert bind(store, "g/a", metadata)[()] == 2.5


def test_one_number_fills_a_region(store):
    metadata = array(store, (4,), (2,)).metadata
    write_region(store, "g/a", metadata, (slice(0, 2),), 2.5)
    np.testing.assert_array_equal(bind(store, "g/a", metadata)[:], [2.5, 2.5, 0, 0])


def test_empty_chunks_are_stored_where_zarr_is_configured_so(store):
    metadata = array(store, (2,), (1,)).metadata
    values = np.array([1.0, 0.0])
    with zarr.config.set({"array.write_empty_chunks": True}):
        write_region(store, "g/a", metadata, (slice(0, 2),), values)
    assert bind(store, "g/a", metadata).nchunks_initialized == 2
