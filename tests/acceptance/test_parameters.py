"""Parameter sets of a registered pipeline: listed, set, written and read."""

import json

import pytest
import yaml
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.definitions import parameter_from_value
from ziggy_dask.interface.main import ziggy


@pytest.fixture
def mission(cluster, code):
    """A cluster with a pipeline that has two parameter sets."""
    sets = (
        z.ParameterSet(
            name="Limits",
            parameters=(
                parameter_from_value("low", 1.5),
                parameter_from_value("names", ["a", "b"]),
            ),
        ),
        z.ParameterSet(name="Mode", parameters=(parameter_from_value("fast", True),)),
    )
    root = code(
        """
        def clean(raw, parameters):
            return raw * parameters["Limits"]["low"]
        """
    )
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("cleaned", "L1", external=False),
            node("clean", "clean", "raw", "cleaned"),
            parameter_sets=sets,
            parameters=("Limits", "Mode"),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    return cluster


def run(cluster, *arguments):
    done = CliRunner(catch_exceptions=False).invoke(
        ziggy, ["--cluster", str(cluster._site.cluster.path), "parameters", *arguments]
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def values(cluster):
    return {
        (name, one.name): one.value
        for name, stored in cluster.parameter_sets("test").items()
        for one in stored.content.parameters
    }


def test_sets_are_listed_with_types_and_versions(mission):
    rows = json.loads(run(mission, "test", "--json"))
    assert [(r["set"], r["parameter"], r["type"], r["value"]) for r in rows] == [
        ("Limits", "low", "double", "1.5"),
        ("Limits", "names", "stringarray", "a,b"),
        ("Mode", "fast", "boolean", "true"),
    ]
    assert {(r["version"], r["locked"]) for r in rows} == {(0, False)}


def test_what_was_written_to_a_file_is_read_back_unchanged(mission, tmp_path):
    file = tmp_path / "parameters.yaml"
    run(mission, "test", "-o", str(file))
    before = values(mission)
    assert yaml.safe_load(file.read_text())["Limits"] == {
        "low": 1.5,
        "names": ["a", "b"],
    }
    done = mission.set_parameters("test", file)
    assert {(one.name, one.change.value) for one in done} == {
        ("Limits", "SAME"),
        ("Mode", "SAME"),
    }
    assert values(mission) == before


def test_a_file_changes_what_it_names_and_leaves_the_rest(mission, tmp_path, client):
    first = mission.run("test", client=client)
    file = tmp_path / "parameters.yaml"
    file.write_text("Limits: {low: 3}\n")
    said = run(mission, "test", "--from", str(file)).splitlines()
    assert said[:2] == ["UPDATE        Limits v1", "LIBRARY_ONLY  Mode v0"]
    assert values(mission) == {
        ("Limits", "low"): 3.0,
        ("Limits", "names"): ("a", "b"),
        ("Mode", "fast"): True,
    }
    mission.run("test", client=client)
    now = mission.datastore["set-1/L1"]["pixels"].values
    then = mission.datastore.at(first)["set-1/L1"]["pixels"].values
    assert (now / then).round(6).tolist() == [[[2.0] * 5] * 4] * 2


def test_sets_are_locked_by_the_instance_that_used_them(mission, client):
    mission.run("test", client=client)
    assert {s.is_locked for s in mission.parameter_sets("test").values()} == {True}
    assert mission.pipelines["test"].is_locked
    assert run(mission, "test", "--set", "Mode.fast=false").startswith("UPDATE")
    changed = mission.parameter_sets("test")
    assert (changed["Mode"].version, changed["Mode"].is_locked) == (1, False)
    assert (changed["Limits"].version, changed["Limits"].is_locked) == (0, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Limit: {low: 3}", "no parameter set 'Limit'; did you mean 'Limits'"),
        ("Limits: {lo: 3}", "has no parameter 'lo'; did you mean 'low'"),
        ("Mode: {fast: false}\nLimits: {low: many}", "low"),
        ("Limits: [1]", "yaml:1: expected a mapping of keys here, found a list"),
        ("Limits", "holds no mapping"),
    ],
)
def test_a_bad_file_changes_nothing(mission, tmp_path, text, words):
    file = tmp_path / "parameters.yaml"
    file.write_text(text)
    before = values(mission)
    with pytest.raises(z.DefinitionError, match=words):
        mission.set_parameters("test", file)
    assert values(mission) == before


def test_a_node_gets_the_pipelines_sets_and_its_own_and_all_are_locked(
    cluster, code, client
):
    root = code(
        """
        def clean(raw, parameters):
            assert list(parameters) == ["P1", "P2", "N1", "N2"]
            return raw


        def again(cleaned, parameters):
            assert list(parameters) == ["P1", "P2"]
            return cleaned
        """
    )
    sets = tuple(
        z.ParameterSet(name=name, parameters=(parameter_from_value("a", 1),))
        for name in ("P1", "P2", "N1", "N2", "unused")
    )
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("cleaned", "L1", external=False),
            data_type("last", "L2", external=False),
            node("clean", "clean", "raw", "cleaned", parameters=("N1", "N2")),
            node("again", "again", "cleaned", "last"),
            parameter_sets=sets,
            parameters=("P1", "P2"),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    before = {name: s.is_locked for name, s in cluster.parameter_sets("test").items()}
    assert set(before.values()) == {False}
    instance = cluster.run("test", client=client)
    assert instance.state.value == "COMPLETED", instance.tasks[0].subtasks
    used = {"P1", "P2", "N1", "N2"}
    assert set(instance.parameters) >= used
    after = {name: s.is_locked for name, s in cluster.parameter_sets("test").items()}
    assert {name for name, is_locked in after.items() if is_locked} >= used
    assert all(one["version"] == 0 for one in instance.record.parameters.values())
