"""What the datastore lost is told apart from what can't be read or fails."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.main import ziggy

ALGORITHMS = """
    def plain(raw):
        return raw

    def whole(raw):
        return raw.mean("item")

    def flat(raw, models):
        return raw * len(models["flat"].data)
"""


@pytest.fixture
def mission(cluster, code, tmp_path):
    """A cluster with four large images, and a large model."""
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("plain", "plain"),
            data_type("mean", "mean", subtask=""),
            data_type("flat", "flat"),
            z.Node(name="receipt", step=z.DataReceiptStep()),
            node("plain", "plain", "raw", "plain"),
            node("whole", "whole", "raw", "mean", single_subtask=True),
            node("flat", "flat", "raw", "flat", models=("flat",)),
            model_types=(z.ModelType(name="flat", files="flat-([0-9]+)\\.txt"),),
        )
    )
    random = np.random.default_rng(1)
    raw = xr.Dataset(
        {"pixels": (("item", "y", "x"), random.random((4, 40, 50)))},
        coords={"item": [f"i{number}" for number in range(4)]},
    )
    store(cluster, {"set-1/L0": raw})
    models = tmp_path / "delivery" / "models"
    models.mkdir(parents=True)
    (models / "flat-1.txt").write_bytes(random.bytes(5000))
    before = set(chunks(cluster))
    cluster.receive(tmp_path / "delivery", needs_manifest=False)
    (cluster.model,) = set(chunks(cluster)) - before
    cluster.images = sorted(before)
    return cluster


def chunks(cluster):
    """Return the files that hold data of the datastore, but for the smallest."""
    return list((cluster.home / "datastore" / "chunks").iterdir())


def failures(cluster, client, **options):
    instance = cluster.run("test", client=client, **options)
    return {
        (one.nodes, one.cause.value): one.count for one in cluster.failures(instance.id)
    }


def test_inputs_that_are_gone_are_missing_and_have_one_name(mission, client):
    assert len(mission.images) == 4
    for path in mission.images[:2]:
        path.unlink()
    found = failures(mission, client, start="plain")
    assert found == {(("plain",), "missing input"): 2}
    (group,) = mission.failures(2)
    assert "an object is not in the datastore any more" in group.message


def test_an_input_that_an_algorithm_finds_gone_is_missing_too(mission, client):
    mission.images[0].unlink()
    found = failures(mission, client, start="whole")
    assert found == {(("whole",), "missing input"): 1}


def test_a_model_that_is_gone_is_a_cause_of_its_own(mission, client):
    mission.model.unlink()
    found = failures(mission, client, start="flat")
    assert found == {(("flat",), "missing model"): 4}
    assert "of flat flat-1.txt" in mission.failures(2)[0].message


def test_an_input_that_is_corrupt_is_bad_not_missing(mission, client):
    mission.images[0].write_bytes(b"x")
    found = failures(mission, client, start="plain")
    assert found == {(("plain",), "bad input"): 1}


def test_a_model_that_was_never_delivered_is_what_failures_tell_of(
    cluster, code, client
):
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("flat", "flat", "raw", "out", models=("flat",)),
            model_types=(z.ModelType(name="flat", files="flat.txt"),),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    with pytest.raises(z.DefinitionError):
        cluster.run("test", client=client)
    place = ["--cluster", str(cluster._site.cluster.path)]
    said = CliRunner().invoke(ziggy, [*place, "failures", "1"]).output
    assert "no subtask of instance 1 failed; it could not go on" in said
    assert "none was delivered yet" in " ".join(said.split())
