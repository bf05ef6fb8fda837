"""Two states of a product are compared value by value, whatever they are made of."""

import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import Storage, blocks, create_repository
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.comparing import compare
from ziggy_dask.datastore.items import FileItem, write_dataset_item, write_file_item
from ziggy_dask.datastore.per_item import item_attrs_variable
from ziggy_dask.datastore.storable import ITEM_ATTRS
from ziggy_dask.datastore.tree import ATTRIBUTE

STORAGE = Storage(dimension="item", chunk=1, chunks=(), compression="none")


def series(labels, **variables):
    data = {name: ("item", values) for name, values in variables.items()}
    return xr.Dataset(data, coords={"item": list(labels)})


@pytest.fixture
def compared(tmp_path):
    """Store two states of a product, and return what differs."""
    repository = create_repository(str(tmp_path / "datastore"))

    def compared(*states, kind="array"):
        snapshots = []
        for state in states:
            writing = repository.writing()
            session = writing.newest().session
            root = zarr.open_group(session.store, mode="a")
            if "product" in root:
                del root["product"]
            if kind == "array":
                write_whole(session, "product", state, STORAGE)
            else:
                root.create_group("product")
            for name, content in state.items() if kind != "array" else ():
                if kind == "file":
                    write_file_item(
                        session, "product", FileItem(name=name, data=content)
                    )
                else:
                    write_dataset_item(session, "product", name, content, STORAGE)
            group = zarr.open_group(session.store, path="product", mode="a")
            dimension = "item" if kind == "array" else ""
            group.attrs[ATTRIBUTE] = {"kind": kind, "dimension": dimension}
            snapshots.append(repository.finish_writing(writing, "state", {}))
        one, other = (repository.session_of("product", s) for s in snapshots)
        return list(compare(one, other, "product"))

    return compared


def test_numbers_are_compared_by_label_in_blocks(compared, monkeypatch):
    monkeypatch.setattr(blocks, "LARGE_BYTES", 16)
    before = series("abcd", x=[1.0, np.nan, 0.0, np.nan], n=[1, 2, 3, 4])
    after = series("dcab", x=[np.nan, 2.0, 1.5, np.nan], n=[4, 3, 1, 2])
    [found] = compared(before, after)
    assert (found.variable, found.values, found.differing) == ("x", 4, 2)
    assert (found.largest, found.relative, found.where) == (2.0, 0.5, "item=c")
    [found] = compared(series("ab", x=[1.0, 2.0]), series("ab", x=[np.nan, 2.0]))
    assert (found.largest, found.relative, found.where) == (np.inf, None, "item=a")


def test_text_times_and_objects_are_compared(compared):
    times = np.array(["2026-01-01", "NaT"], dtype="datetime64[s]")
    before = series("ab", t=times, s=["one", "two"], o=np.array(["x", None], object))
    assert compared(before, before) == []
    after = series(
        "ab", t=times[::-1], s=["one", "2"], o=np.array(["x", "y"], dtype=object)
    )
    found = {
        one.variable: (one.differing, one.where) for one in compared(before, after)
    }
    assert found == {"t": (2, "item=a"), "s": (1, "item=b"), "o": (1, "item=b")}


def test_what_is_in_one_alone_and_other_types_are_told(compared):
    before = series("ab", x=[1, 2], gone=[0, 0])
    after = series("bc", x=[2.0, 3.0], new=[0, 0])
    notes = {(one.variable, one.note) for one in compared(before, after)}
    assert notes == {
        ("", "only in the first: a"),
        ("", "only in the second: c"),
        ("gone", "only in the first"),
        ("new", "only in the second"),
        ("x", "type int64 → float64"),
    }


def test_files_and_collections_are_compared_item_by_item(compared):
    files = {"a": b"one", "b": b"two"}
    [found] = compared(files, {"a": b"one", "b": b"more"}, kind="file")
    assert (found.variable, found.note) == ("b", "3 → 4 bytes")
    items = {name: series("ab", x=[1.0, 2.0]) for name in ("p/q", "r")}
    other = {**items, "p/q": series("ab", x=[1.0, 4.0])}
    [found] = compared(items, other, kind="collection")
    assert (found.item, found.variable, found.largest) == ("p/q", "x", 2.0)
    trees = {
        "t": xr.DataTree.from_dict(
            {"/": series("a", x=[1.0]), "/below": series("a", y=[2.0])}
        )
    }
    [found] = compared(trees, {"t": series("a", x=[1.0])}, kind="collection")
    assert found.note == "a tree in only one of them"


def test_attributes_and_coordinates_are_compared(compared):
    def state(units, **attrs):
        found = series("ab", x=[1.0, 2.0], y=[3.0, 4.0]).assign_attrs(attrs)
        found["x"].attrs = {"units": units, "scale": np.float32(2)}
        return found

    before = state("m", gain=1, flags=[1, 2], gone="yes", nothing=np.nan)
    assert compared(before, before) == []
    after = state("km", gain=1.0, flags=[1, 2], new="n" * 100, nothing=np.nan)
    notes = {one.variable: one.note for one in compared(before, after.set_coords("y"))}
    new = f"'{'n' * 59}…"
    assert notes == {
        "": f"attributes: gain 1 → 1.0, gone 'yes' → none, new none → {new}",
        "x": "attributes: units 'm' → 'km'",
        "y": "a coordinate only in the second",
    }
    [found] = compared({"p": before}, {"p": state("m")}, kind="collection")
    assert (found.item, found.variable) == ("p", "")
    assert found.note.startswith("attributes: flags [1, 2] → none, gain 1 → none")
    trees = [
        {"t": xr.DataTree.from_dict({"/": some, "/below": some})}
        for some in (state("m"), state("km"))
    ]
    found = compared(*trees, kind="collection")
    assert [(one.item, one.variable) for one in found] == [("t", "x"), ("t/below", "x")]


def test_attributes_of_single_items_are_compared(compared):
    def state(labels, *gains):
        found = series(labels, x=[1.0] * len(labels))
        texts = [f'{{"attrs":{{"gain":{gain}}}}}' for gain in gains]
        return found.assign_coords({ITEM_ATTRS: item_attrs_variable("item", texts)})

    before = state("abc", 1, 2, 3)
    assert compared(before, state("cab", 3, 1, 2)) == []
    # What is true of all items in one of them is said of each in the other.
    notes = [one.note for one in compared(state("ab", 1, 1), state("abc", 1, 1, 3))]
    assert notes == ["only in the second: c"]
    [found] = compared(before, state("abc", 1, 5, 6))
    assert (found.item, found.note) == (
        "b",
        "attributes: gain 2 → 5; 2 of 3 items differ",
    )
    [found] = compared(before, series("abc", x=[1.0] * 3).assign_attrs(gain=2))
    assert (found.item, found.note) == (
        "a",
        "attributes: gain 1 → 2; 2 of 3 items differ",
    )
