"""What an algorithm returned is told apart by name, or refused."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from ziggy_dask.datastore import (
    FileItem,
    Labels,
    Storage,
    create_repository,
    open_dataset,
)
from ziggy_dask.datastore.items import open_dataset_item
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.outputs import Outputs
from ziggy_dask.workers.work import Sink


def sink(name, kind):
    return Sink(
        name=name.replace("-", "_"),
        data_type=name,
        path=name,
        kind=kind,
        storage=Storage(dimension="", chunk=1, chunks=(), compression="zstd"),
        allocation=None,
        pattern=FilePattern(deeper="", name=".+", patterns=()),
        reader="netcdf",
    )


ONE = xr.Dataset({"v": ("x", [1])})
BYTES = FileItem(name="x", data=b"1")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"made": {1: ONE, "1": ONE}}, "2 parts called '1', from 1 and '1'"),
        ({1: ONE, "1": ONE}, "2 parts called '1'"),
        ({"two-files": {"a": BYTES, "b": BYTES}}, "2 parts called 'x'"),
        ({"two-files": BYTES, "two_files": BYTES}, "2 parts called 'two_files'"),
        (
            {"whole": xr.DataArray([1], dims="x", coords={"whole": 3})},
            "would be called 'whole', as one of its coordinates is",
        ),
    ],
)
def test_what_would_have_one_name_is_refused(returned, words):
    sinks = (
        sink("made", ProductKind.COLLECTION),
        sink("two-files", ProductKind.FILE),
        sink("whole", ProductKind.ARRAY),
    )
    sinks = sinks if next(iter(returned)) != 1 else sinks[:1]
    outputs = Outputs(SimpleNamespace(sinks=sinks, labels=None))
    with pytest.raises(TaskError) as caught:
        outputs.check(0, returned, {})
    assert words in str(caught.value)


def alone(tmp_path, kind, dimension="item"):
    """Return the work of a task of one subtask with one item, and its output."""
    scaffold = create_repository(str(tmp_path / "d")).scaffold("s-1", ["u/out"])
    out = sink("out", kind)
    storage = replace(out.storage, dimension=dimension)
    work = SimpleNamespace(
        sinks=(replace(out, path="u/out", storage=storage),),
        labels=Labels.of(["i0"]),
        count=1,
        chunk=1,
        token="t",
        scaffold=scaffold,
        items=lambda _: slice(0, 1),
    )
    return work, work.sinks[0]


IMAGE = xr.Dataset({"v": (("item", "x"), np.ones((1, 3)))}, coords={"item": ["i0"]})


@pytest.mark.parametrize("kind", [ProductKind.ARRAY, ProductKind.COLLECTION])
def test_the_product_of_a_single_subtask_is_in_its_change_set(tmp_path, kind):
    work, out = alone(tmp_path, kind)
    outputs = Outputs(work)
    given = IMAGE if kind is ProductKind.ARRAY else {"i0": IMAGE}
    assert outputs.write(0, outputs.check(0, given, {})) == ("u/out",)
    session = pickle.loads(outputs.change_sets()["u/out"])
    read = (
        open_dataset(session, out.path)
        if kind is ProductKind.ARRAY
        else open_dataset_item(session, out.path, "i0")
    )
    xr.testing.assert_identical(read.load(), IMAGE)


def test_what_was_refused_leaves_no_change_set_though_there_was_room_for_it(tmp_path):
    work, _ = alone(tmp_path, ProductKind.ARRAY)
    outputs = Outputs(work)
    with pytest.raises(TaskError, match="its labels along 'item' are"):
        outputs.check(0, IMAGE.assign_coords(item=["other"]), {})
    assert outputs.change_sets() == {}


def test_an_attempt_after_one_that_was_not_written_begins_anew(tmp_path):
    work, out = alone(tmp_path, ProductKind.ARRAY)
    Outputs(work).check(0, IMAGE.assign(other=IMAGE["v"]), {})
    outputs = Outputs(work)
    outputs.write(0, outputs.check(0, IMAGE, {}))
    session = pickle.loads(outputs.change_sets()["u/out"])
    xr.testing.assert_identical(open_dataset(session, out.path).load(), IMAGE)
