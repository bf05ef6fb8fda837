"""Code that changes while instances run, stand still, and are restarted."""

import dataclasses
import os
import random

import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import images, store, work_pipeline
from ziggy_dask.definitions import parameter_from_value, read_code
from ziggy_dask.errors import DefinitionError

FRAGILE = """
    GAIN = {gain}


    def work(raw, context):
        if context.labels == ["i1"] and GAIN == 2.0:
            raise ValueError("a bug")
        from . import late
        import later

        return raw * GAIN * late.FACTOR * later.FACTOR
"""


@pytest.fixture
def stopped(cluster, code, client):
    """A cluster with an instance of which one subtask of four failed."""
    root = code(FRAGILE.format(gain=2.0))
    for name in ("late", "later"):
        code("FACTOR = 1.0\n", f"{name}.py")
    store(cluster, {"set-1/L0": images(4)})
    cluster.register(work_pipeline(root))
    assert cluster.run("test", client=client).state.value == "ERRORS_STALLED"
    code(FRAGILE.format(gain=3.0))
    code("FACTOR = 10.0\n", "late.py")
    return cluster


def gains(cluster):
    before = cluster.datastore["set-1/L0"].load()["pixels"]
    after = cluster.datastore["set-1/L1"].load()["pixels"]
    return [float(gain) for gain in np.round((after / before).mean(("y", "x")), 6)]


def test_a_restart_runs_the_code_of_the_launch_unless_asked_otherwise(
    stopped, client, logged
):
    logged.set_level("WARNING")
    first = stopped.instance(1).record
    assert stopped.code_changes(instance=1) == {
        1: ["algorithms.py (changed)", "late.py (changed)"]
    }
    (instance,) = stopped.restart(instance=1, client=client)
    assert instance.state.value == "ERRORS_STALLED"
    assert "algorithms.py (changed), late.py (changed)" in logged.text
    assert instance.record.code_version == first.code_version

    (instance,) = stopped.restart(instance=1, code="new", client=client)
    assert instance.state.value == "COMPLETED"
    assert instance.record.code_version != first.code_version
    assert gains(stopped) == [2.0, 30.0, 2.0, 2.0]
    assert stopped.code_changes(instance=1) == {}


def test_what_was_recorded_runs_although_the_directory_is_gone(
    stopped, client, tmp_path
):
    (tmp_path / "code").rename(tmp_path / "elsewhere")
    (instance,) = stopped.restart(instance=1, client=client)
    assert instance.state.value == "ERRORS_STALLED"
    assert "a bug" in stopped.task_records(1)[0].message
    with pytest.raises(DefinitionError, match=r"is not there.* ziggy import DIRECTORY"):
        stopped.plan("test")
    with pytest.raises(DefinitionError, match=r"is not there.* ziggy import DIRECTORY"):
        stopped.run("test", client=client)
    assert len(stopped.instances) == 1


def test_a_module_that_is_not_there_is_told_by_the_plan(stopped, tmp_path):
    (tmp_path / "code" / "algorithms.py").unlink()
    with pytest.raises(DefinitionError, match=r"has no algorithms\.py"):
        stopped.plan("test")


WITNESS = """
    import os

    GAIN = {gain}


    def work(raw, parameters, context):
        if context.labels[0] in {broken} and not parameters["S"]["fixed"]:
            raise ValueError("not yet")
        bias = parameters["S"]["bias"]
        said = dict(gain=GAIN, bias=bias, task=context.task, subtask=context.subtask)
        witnesses = {{k: ("item", [float(v)] * raw.sizes["item"]) for k, v in said.items()}}
        return raw.assign(witnesses)
"""


@pytest.mark.parametrize("seed", range(int(os.environ.get("ZIGGY_SEQUENCES", "3"))))
def test_what_is_on_record_agrees_with_what_ran(cluster, code, client, seed):
    """Random edits, changed parameters and restarts; values carry their own witnesses."""
    chance = random.Random(seed)
    labels = [f"i{number}" for number in range(8)]
    broken = chance.sample(labels, 5)
    store(cluster, {"set-1/L0": images(8)})

    def edit():
        gain = chance.randint(1, 1000)
        code(WITNESS.format(gain=gain, broken=broken))
        return gain

    gains = {}
    gain = edit()
    root = code(WITNESS.format(gain=gain, broken=broken))
    values = {"bias": 1, "fixed": False}
    cluster.register(with_parameters(root, values, chance.choice([0, 8])))
    gains[read_code(root).version.partition(" ")[0]] = gain
    cluster.run("test", client=client)
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.7:
            gain = edit()
            gains[read_code(root).version.partition(" ")[0]] = gain
        some = chance.sample(broken, chance.randint(min(1, len(broken)), len(broken)))
        broken = [label for label in broken if label not in some]
        changes = {"bias": chance.randint(2, 99)} if chance.random() < 0.6 else {}
        chosen = chance.choice(["old", "new"])
        cluster.restart(
            instance=1,
            code=chosen,
            parameters={"S": changes} if changes else {},
            client=client,
        )
    cluster.restart(instance=1, parameters={"S": {"fixed": True}}, client=client)
    product = cluster.datastore["set-1/L1"].load()
    for number, label in enumerate(labels):
        why = cluster.why("set-1/L1", item=label)
        value = product.isel(item=number)
        (version,) = why.origin.code
        (sets,) = why.origin.parameters
        assert gains[version.partition(" ")[0]] == value["gain"]
        assert float(sets["S"]["bias"]) == value["bias"]
        assert (why.origin.task, why.origin.subtask) == (
            value["task"],
            value["subtask"],
        )
        assert why.host
        assert why.environment["packages"]["xarray"]
        source = cluster.recorded_code(why.code).files[0].content.decode()
        assert f"GAIN = {int(value['gain'])}\n" in source
        assert cluster.datastore.product("set-1/L1").why(item=label) == why.origin


def with_parameters(root, values, allowed):
    parameters = tuple(parameter_from_value(k, v) for k, v in values.items())
    return dataclasses.replace(
        work_pipeline(root, parameters=("S",), max_failed_subtasks=allowed),
        parameter_sets=(z.ParameterSet(name="S", parameters=parameters),),
    )
