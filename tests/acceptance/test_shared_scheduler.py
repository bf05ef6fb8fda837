"""What runs leave on a scheduler that others use too: nothing but code."""

import dask.array as da
import pytest
from distributed import Client, LocalCluster

import ziggy_dask as z
from tests.conftest import data_type, images, pipeline, store
from ziggy_dask.workers import begin_run, end_run

ALGORITHMS = """
    def lazy(raw):
        return raw * 2


    def fail(raw):
        raise ValueError("no")
"""


@pytest.fixture
def shared():
    """A client of a scheduler of its own."""
    with (
        LocalCluster(
            n_workers=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as running,
        Client(running, set_as_default=False) as client,
    ):
        yield client


def kept(dask_scheduler):
    """Return the names of our plugins and handlers, and the number of our topics."""
    names = [*dask_scheduler.plugins, *dask_scheduler.handlers]
    ours = [one for one in names if "ziggy" in one and "ziggy-code" not in one]
    return ours, sum(one.startswith("ziggy-") for one in dask_scheduler.get_events())


@pytest.mark.parametrize("function", ["lazy", "fail"])
def test_a_run_heeds_its_own_keys_alone_and_takes_its_plugin_away(
    cluster, code, shared, function
):
    store(cluster, {"set-1/L0": images(4)})
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("made", "L1"),
            z.Node(
                name="make",
                step=z.DaskFunctionStep(function=f"algorithms:{function}"),
                inputs=(z.Input(data_type="raw"),),
                outputs=("made",),
            ),
        )
    )
    theirs = shared.compute(da.ones((4, 4), chunks=2).sum())
    cluster.run("test", client=shared)
    assert theirs.result() == 16
    assert shared.run_on_scheduler(kept) == ([], 0)


def test_runs_side_by_side_do_not_take_it_from_each_other(shared):
    begin_run(shared, "a" * 32)
    begin_run(shared, "b" * 32)
    end_run(shared, "a" * 32)
    ours, _ = shared.run_on_scheduler(kept)
    assert ours == ["ziggy-agreement", "ziggy_agree", "ziggy_remember"]
    end_run(shared, "b" * 32)
    assert shared.run_on_scheduler(kept) == ([], 0)
