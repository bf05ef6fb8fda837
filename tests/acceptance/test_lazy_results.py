"""What functions return with Dask is computed as a part of their subtask."""

import pytest
import xarray as xr

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.definitions import parameter_from_value

ALGORITHMS = """
    import time

    import numpy as np
    import xarray as xr


    def made(seed):
        rng = np.random.default_rng(seed)
        time = np.datetime64("2026-01-01", "ns") + np.arange(100) * np.timedelta64(1, "h")
        return xr.Dataset(
            {
                "flux": (("x", "y"), rng.random((100, 70))),
                "count": (("x", "y"), rng.integers(1, 2**40, (100, 70))),
                "when": ("x", time),
                "name": ("x", np.array([f"star {n}" for n in range(100)])),
                "good": ("x", rng.random(100) > 0.5),
            }
        )


    CHUNKS = {
        "uneven": {"x": 33, "y": 20},
        "one": {},
    }


    def lazily(raw, context, parameters):
        way = parameters["Way"]["chunks"]
        dataset = made(int(context.labels[0][1:]) if context.labels else 0)
        if context.node != "item" and context.labels:
            dataset = dataset.expand_dims("item")
        return dataset.chunk(CHUNKS[way])


    def again(whole):
        return {"again": whole.chunk({"x": 10}).map(lambda v: v if v.dtype.kind != "f" else v * 2)}


    def slow(block):
        while True:
            time.sleep(0.01)


    def bad(block):
        print("in the block")
        raise ValueError("a bug in what is computed lazily")


    def faulty(raw, context):
        (name,) = context.labels
        wrong = {"i1": bad, "i2": slow}.get(name)
        if wrong is None:
            return raw
        options = {"dtype": float, "meta": np.empty(0)}
        return raw.chunk().map(lambda v: v.copy(data=v.data.map_blocks(wrong, **options)))


    def whole_numbers(raw):
        half = raw["pixels"].data.map_blocks(lambda block: block + 0.5, dtype=int)
        return raw.assign(pixels=(("item", "y", "x"), half))


    def one_for_all(raw):
        firsts = raw["pixels"].data.map_blocks(lambda block: block[:1, :1, :1])
        return raw.assign(pixels=(("item", "y", "x"), firsts))


    def masked(raw):
        def without_dark(block):
            return np.ma.masked_less(block, 0.5)

        bright = raw["pixels"].data.map_blocks(without_dark, dtype=float, meta=np.empty(0))
        return raw.assign(pixels=(("item", "y", "x"), bright))


    def huge(raw):
        import dask.array as da
        return raw.assign(much=(("item", "n"), da.zeros((1, 2**47), chunks=(1, 2**30))))
"""


COLLECTION = {"kind": z.ProductKind.COLLECTION, "subtask": ""}


@pytest.fixture
def mission(cluster, code):
    """A cluster with three images, and the module of algorithms."""
    cluster.root = code(ALGORITHMS)
    store(cluster, {"set-1/L0": images(3)})
    return cluster


def made(root, seed):
    scope: dict = {}
    exec(
        (root / "algorithms.py").read_text(), scope
    )  # what the algorithms make, eagerly
    return scope["made"](seed)


@pytest.mark.parametrize("chunks", ["uneven", "one"])
def test_lazy_data_are_stored_as_their_values(mission, client, chunks):
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("item", "item", **COLLECTION),
            data_type("whole", "whole", subtask=""),
            data_type("cut", "cut"),
            data_type("again", "again", subtask=""),
            node("item", "lazily", "raw", "item"),
            node("whole", "lazily", "raw", "whole", single_subtask=True),
            node("cut", "lazily", "raw", "cut"),
            node("again", "again", "whole", "again"),
            parameter_sets=(
                z.ParameterSet(
                    name="Way", parameters=(parameter_from_value("chunks", chunks),)
                ),
            ),
            parameters=("Way",),
        )
    )
    instance = mission.run("test", client=client)
    assert instance.state.value == "COMPLETED", mission.failures(instance.id)
    datastore = mission.datastore
    expected = made(mission.root, 0)
    xr.testing.assert_identical(datastore["set-1/whole"].load(), sorted_(expected))
    doubled = expected.map(lambda v: v if v.dtype.kind != "f" else v * 2)
    xr.testing.assert_identical(datastore["set-1/again"].load(), sorted_(doubled))
    cut = datastore["set-1/cut"].load()
    for number in range(3):
        expected = sorted_(made(mission.root, number))
        item = datastore["set-1/item"][f"i{number}"].to_dataset().load()
        xr.testing.assert_identical(item, expected)
        xr.testing.assert_identical(cut.isel(item=number, drop=True), expected)


def sorted_(dataset):
    """Return a Dataset with its variables by name, as they are stored."""
    return dataset[sorted(dataset.data_vars)]


def test_computing_belongs_to_the_subtask(mission, client):
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("work", "faulty", "raw", "out", max_failed_subtasks=2, limit_s=3.0),
        )
    )
    instance = mission.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    good, bad, slow = instance.tasks[0].subtasks
    assert good.state.value == "COMPLETE"
    assert bad.cause.value == "exception"
    assert bad.message == "ValueError: a bug in what is computed lazily"
    assert slow.cause.value == "time limit"
    (words,) = instance.tasks[0].logs(1)
    assert words.log == "in the block\n"
    assert "in bad" in words.traceback


def test_lazy_data_that_can_not_fit_are_refused_by_their_size(mission, client):
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("work", "huge", "raw", "out"),
        )
    )
    instance = mission.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    message = instance.tasks[0].subtasks[0].message
    assert "lazy data that take 1048576.0 GiB" in message
    assert "make it a 'dask_function'" in message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("whole_numbers", "is of type int64, but is computed as float64"),
        ("one_for_all", "shape (3, 4, 5), but is computed as (1, 1, 1)"),
        ("masked", "is an array of numpy.ma.MaskedArray"),
    ],
)
def test_a_dask_function_whose_blocks_are_not_what_it_said_stores_nothing(
    mission, client, function, words
):
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("out", "L1", subtask=""),
            z.Node(
                name="lazy",
                step=z.DaskFunctionStep(function=f"algorithms:{function}"),
                inputs=(z.Input(data_type="raw"),),
                outputs=("out",),
            ),
        )
    )
    instance = mission.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    message = instance.tasks[0].subtasks[0].message
    assert "set-1/L1/pixels" in message
    assert words in message
    assert list(mission.datastore) == ["set-1/L0"]
