import pickle

import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import (
    Labels,
    Storage,
    allocate,
    create_repository,
    misfit,
    open_dataset,
    read_layout,
    read_slice,
    write_slice,
)
from ziggy_dask.datastore.items import open_dataset_item, write_dataset_item

COUNT = 6


def everything() -> xr.Dataset:
    """Return a Dataset with every sort of variable, along ``item``."""
    n = np.arange(COUNT)
    return xr.Dataset(
        {
            "flux": (("item", "x"), np.arange(COUNT * 3.0).reshape(COUNT, 3)),
            "late": (("x", "item"), np.arange(COUNT * 3, dtype="i4").reshape(3, COUNT)),
            "count": (("item",), n.astype("u2"), {"units": "1"}),
            "flag": (("item",), n % 2 == 0),
            "wave": (("item",), n + 1j * n),
            "name": (("item",), np.array([f"name {i}" for i in n], dtype=object)),
            "when": (
                ("item",),
                np.datetime64("2026-01-01", "ns") + n * np.timedelta64(1, "h"),
            ),
            "gain": (("x",), np.array([1.0, 2.0, 3.0])),
            "scale": ((), 2.5),
        },
        coords={
            "item": [f"i{i}" for i in n],
            "x": [10, 20, 30],
            "weight": (("item",), n * 0.5),
        },
        attrs={"telescope": "Kepler"},
    )


@pytest.fixture
def repository(tmp_path):
    return create_repository(str(tmp_path / "store"))


def stored(repository, dataset, *, chunk=1, order=None):
    """Write a Dataset slice by slice; return its session and layout."""
    storage = Storage(dimension="item", chunk=chunk, chunks=(), compression="zstd")
    session = pickle.loads(repository.scaffold("s", ["a/b"]))
    slices = [slice(start, start + chunk) for start in range(0, COUNT, chunk)]
    first = dataset.isel(item=slices[0])
    allocate(session, "a/b", first, storage, Labels(dataset["item"].values))
    layout = read_layout(session, "a/b", "item")
    for part in order or slices:
        write_slice(layout, session, dataset.isel(item=part), part.start)
    return session, layout


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_slices_that_are_written_read_back_as_they_were(repository, chunk):
    dataset = everything()
    session, layout = stored(repository, dataset, chunk=chunk)
    for start in range(0, COUNT, chunk):
        part = slice(start, start + chunk)
        found = read_slice(layout, session, part)
        xr.testing.assert_equal(found, dataset.isel(item=part))
    assert found.attrs == dataset.attrs
    assert found["count"].attrs == {"units": "1"}


def test_all_variables_take_the_direct_way(repository):
    _, layout = stored(repository, everything())
    assert layout.encoded == ()


def test_scattered_items_are_read_in_the_order_asked_for(repository):
    session, layout = stored(repository, everything())
    found = read_slice(layout, session, [4, 1])
    assert list(found["item"].values) == ["i4", "i1"]
    assert list(found["count"].values) == [4, 1]
    assert list(found["name"].values) == ["name 4", "name 1"]


def test_any_xarray_user_can_open_a_product(repository):
    dataset = everything()
    session, _ = stored(repository, dataset)
    found = open_dataset(session, "a/b").load()
    xr.testing.assert_equal(found, dataset)


def test_items_that_were_never_written_are_not_a_number(repository):
    session, _ = stored(repository, everything(), order=[slice(1, 2)])
    flux = open_dataset(session, "a/b")["flux"].values
    assert np.isnan(flux[0]).all()
    assert not np.isnan(flux[1]).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.isel(item=0, drop=True), "has no dimension 'item'"),
        (lambda d: d, "has 6 items along 'item', but should have 1"),
        (lambda d: d.isel(item=[0]).drop_vars("flux"), "'flux' is missing"),
        (
            lambda d: d.isel(item=[0]).assign(new=d["flux"][:1]),
            "variable 'new', which other",
        ),
        (lambda d: d.isel(item=[0], x=[0, 1]), "3; items of different shapes need"),
        (
            lambda d: d.isel(item=[0]).assign(count=("item", np.array([1.5]))),
            "'count' is of type float64, not uint16",
        ),
        (
            lambda d: d.isel(item=[0]).transpose("x", "item"),
            "'flux' has dimensions ('x', 'item'), not ('item', 'x')",
        ),
        (
            lambda d: d.isel(item=[0]).reset_coords("weight"),
            "'weight' is a data variable, but a coordinate in other items",
        ),
        (
            lambda d: d.isel(item=[0]).assign(flux=d["count"][:1]),
            "'flux' has dimensions",
        ),
    ],
)
def test_a_slice_that_does_not_fit_is_told_why(repository, change, words):
    _, layout = stored(repository, everything())
    assert words in misfit(layout, change(everything()), 1)


def test_a_slice_that_fits_is_fine(repository):
    _, layout = stored(repository, everything())
    assert misfit(layout, everything().isel(item=[3]), 1) == ""


def test_large_items_are_stored_in_pieces(repository):
    import zarr

    big = xr.Dataset({"cube": (("item", "y", "x"), np.zeros((1, 6000, 3000)))})
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="none")
    session = pickle.loads(repository.scaffold("s", ["big"]))
    allocate(session, "big", big, storage, Labels.of(["a"]))
    array = zarr.open_array(session.store, path="big/cube")
    assert np.prod(array.chunks) * 8 <= 64 * 1024 * 1024
    assert array.chunks[0] == 1


@pytest.mark.parametrize("most", [1, 1000])
@pytest.mark.parametrize("chunk", [1, 4])
def test_what_is_said_of_some_items_is_read_with_them(
    repository, monkeypatch, most, chunk
):
    """Also where most say nothing, and when more is said in a later snapshot."""
    monkeypatch.setattr("ziggy_dask.datastore.layout._MOST_KNOWN", most)
    dataset = everything()
    said = {0: "Kepler", 3: "TESS", 5: "K2"}
    storage = Storage(dimension="item", chunk=chunk, chunks=(), compression="zstd")
    session = repository._repo.writable_session("main")
    zarr.open_group(session.store, mode="a")
    allocate(
        session,
        "a/b",
        dataset.isel(item=slice(0, 1)),
        storage,
        Labels(dataset["item"].values),
    )
    for last in (2, COUNT):
        layout = read_layout(session, "a/b", "item")
        for n in range(last):
            own = dataset.isel(item=slice(n, n + 1))
            own.attrs["telescope"] = said.get(n, "Kepler")
            write_slice(layout, session, own, n)
        session.commit("written")
        reading = repository.reading()
        for n in range(last):
            found = read_slice(layout, reading, slice(n, n + 1))
            assert found.attrs["telescope"] == said.get(n, "Kepler")
        session = repository._repo.writable_session("main")


@pytest.mark.parametrize(
    "paths",
    [
        ["/b", "/a", "/c/z", "/c/y"],
        ["/a%2fb", "/a%e2", "/a%2Fb", "/50%", "/%00%"],
        ["/c", "/C", "/\u00e9", "/e\u0301", "/zarr.json", "/.."],
    ],
)
def test_groups_of_a_tree_keep_their_names_and_their_order(tmp_path, paths):
    session = create_repository(str(tmp_path / "store")).writing().newest().session
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    nodes = {
        path: xr.Dataset({"v": ("x", [number, 2])}) for number, path in enumerate(paths)
    }
    tree = xr.DataTree.from_dict(nodes)
    write_dataset_item(session, "p", "one", tree, storage)
    found = open_dataset_item(session, "p", "one")
    assert [node.path for node in found.subtree] == [node.path for node in tree.subtree]
    xr.testing.assert_identical(found, tree)


def test_who_changes_an_item_in_place_changes_no_other(tmp_path):
    """A layout is kept by a worker, and serves all subtasks that it runs."""
    session = create_repository(str(tmp_path / "store")).writing().newest().session
    storage = Storage(dimension="item", chunk=1, chunks=(), compression="zstd")
    whole = xr.Dataset(
        {
            "flux": ("item", [1.0, 2.0]),
            "gain": ("x", [3.0, 4.0], {"steps": [1, 2]}),
            "scale": ((), 2.5),
        },
        coords={"item": ["a", "b"], "wave": ("x", [5.0, 6.0])},
        attrs={"who": ["me"], "how": {"often": 1}, "when": np.array([7, 8])},
    )
    allocate(session, "p", whole.isel(item=[0]), storage, Labels.of(["a", "b"]))
    layout = read_layout(session, "p", "item")
    write_slice(layout, session, whole, 0)
    first = read_slice(layout, session, slice(0, 1))
    for name in ("flux", "gain", "scale", "wave"):
        first[name].values[...] = 99
    first["gain"].attrs["steps"].append(3)
    first.attrs["who"].append("you")
    first.attrs["how"]["often"] = 2
    first.attrs["when"][:] = 0
    found = read_slice(layout, session, slice(1, 2))
    xr.testing.assert_identical(found, whole.isel(item=[1]))
    assert misfit(layout, found, 1) == ""
