"""Products that one subtask makes as a whole: their items are known when they are stored."""

import dataclasses

import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.engine.events import TaskEnded
from ziggy_dask.engine.launch import Request
from ziggy_dask.supervisor.supervise import run

ALGORITHMS = """
    import numpy as np
    import xarray as xr


    def located(raw):
        days = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], "M8[D]")
        return raw.assign_coords(
            item=("item", days),
            flux=("item", raw["pixels"].mean(("y", "x")).data),
            dec=("item", [1.0, 2.0, 3.0]),
            epoch=5.0,
        )


    def nothing_left(raw):
        return raw.isel(item=slice(0, 0))


    def doubled(raw):
        return xr.concat([raw, raw], "item")


    def unknown(raw):
        return raw.assign_coords(item=("item", [0.0, np.nan, 2.0]))


    def undated(raw):
        return raw.assign_coords(item=("item", np.array(["NaT", 1, 2], "M8[D]")))


    def averaged(raw):
        return raw.mean("item")


    def keep(made):
        return made
"""


@pytest.fixture
def mission(cluster, code):
    """A cluster with three images; gives it a node that makes all, and one that follows."""
    store(cluster, {"set-1/L0": images(3)})
    root = code(ALGORITHMS)

    def register(function, *, lazily):
        made = node("make", function, "raw", "made", single_subtask=not lazily)
        if lazily:
            step = z.DaskFunctionStep(function=f"algorithms:{function}")
            made = dataclasses.replace(made, step=step)
        cluster.register(
            pipeline(
                root,
                data_type("raw", "L0"),
                data_type("made", "L1"),
                data_type("kept", "L2"),
                made,
                node("keep", "keep", "made", "kept"),
            )
        )
        return cluster

    return register


@pytest.mark.parametrize("lazily", [True, False])
def test_coordinates_are_stored_and_name_the_items_of_what_follows(
    mission, client, lazily
):
    cluster = mission("located", lazily=lazily)
    assert cluster.run("test", client=client).state.value == "COMPLETED"
    for path in ("set-1/L1", "set-1/L2"):
        found = cluster.datastore[path].load()
        assert found["item"].dtype.kind == "M"
        assert found["item"].dt.day.values.tolist() == [1, 2, 3]
        np.testing.assert_allclose(found["flux"], images(3)["pixels"].mean(("y", "x")))
        assert found["dec"].values.tolist() == [1, 2, 3]
        assert float(found["epoch"]) == 5


@pytest.mark.parametrize("lazily", [True, False])
def test_what_follows_a_product_without_items_ends_without_any(mission, client, lazily):
    cluster = mission("nothing_left", lazily=lazily)
    instance = cluster.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    assert states(instance) == {"make [set-1]": "COMPLETE", "keep [set-1]": "COMPLETE"}
    assert [task.record.total for task in instance.tasks] == [1, 0]


@pytest.mark.parametrize("lazily", [True, False])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("doubled", "does not fit along 'item': 2 items have the label i0"),
        ("unknown", "1 of 3 items have no label, but nan"),
        ("undated", "1 of 3 items have no label, but NaT"),
        ("averaged", "has no dimension 'item'; keep it, or take 'subtask' from"),
    ],
)
def test_items_that_can_not_be_told_apart_fail_the_task_that_makes_them(
    mission, client, function, words, lazily
):
    cluster = mission(function, lazily=lazily)
    instance = cluster.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    assert words in instance.tasks[0].record.message
    assert list(cluster.datastore) == ["set-1/L0"]


def test_a_product_that_others_have_spoiled_fails_what_reads_it(mission, client):
    cluster = mission("located", lazily=False)

    def spoil(event):
        if isinstance(event, TaskEnded) and event.node == "make":
            twice = images(2).assign_coords(item=["a", "a"])
            store(cluster, {"set-1/L1": twice})

    ended = run(cluster._site, Request(pipeline="test"), client=client, listen=spoil)
    assert ended.state.value == "ERRORS_STALLED"
    maker, follower = cluster.instance(ended.id).tasks
    assert maker.record.state == "COMPLETE"
    assert "'set-1/L1' in the datastore: 2 items have the label a" in (
        follower.record.message
    )
