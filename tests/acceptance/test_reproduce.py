"""Tasks run again as they were: code, values, models and inputs of then."""

import json
import textwrap
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.acceptance.mission import definition, deliver
from tests.conftest import images, node, store, work_pipeline
from ziggy_dask.engine import reproduce
from ziggy_dask.engine.reproduce import Verdict
from ziggy_dask.interface.cluster import create_cluster, open_cluster
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records.tables import IngredientRow
from ziggy_dask.workers.batch import seed_of
from ziggy_dask.workers.worker_environment import surroundings


@pytest.mark.parametrize("instance", [2, 4, 6, 7])
def test_all_that_was_made_comes_out_again_byte_for_byte(past, instance):
    """The code was edited since, parameters changed, inputs and models replaced."""
    cluster = open_cluster(past / "cluster.yaml")
    before = cluster.datastore.snapshot
    found = list(cluster.reproduce(instance))
    assert found
    assert {one.verdict for one in found} == {Verdict.SAME}, found
    assert all(one.lacking == () for one in found)
    assert open_cluster(past / "cluster.yaml").datastore.snapshot == before
    assert not list((past / "home").glob("reproduce-*"))


def test_one_task_or_product_is_chosen(past):
    cluster = open_cluster(past / "cluster.yaml")
    file = str(past / "cluster.yaml")
    [one] = cluster.reproduce(4, path="night-1/levels")
    assert one.node == "measure"
    words = ["--cluster", file, "reproduce", "4", "--task", str(one.task), "--json"]
    done = CliRunner().invoke(ziggy, words)
    assert done.exit_code == 0, done.output
    assert [row["task"] for row in json.loads(done.output)] == [one.task]
    with pytest.raises(z.RecordsError, match="has no task 1 that can be run again"):
        list(cluster.reproduce(4, task=1))


def test_an_input_that_expired_is_told(place):
    file = place / "cluster.yaml"
    file.write_text(
        file.read_text() + "retention: {raw: {keep: last 1}, level: {keep: last 1}, "
        "note: {keep: last 1}, weight: {keep: last 1}}\n"
    )
    cluster = open_cluster(file)
    cluster.expire(margin=timedelta(0))
    assert {one.verdict for one in cluster.reproduce(7)} == {Verdict.SAME}
    [one] = cluster.reproduce(4, path="night-1/levels")
    assert one.verdict is Verdict.IMPOSSIBLE
    assert "has expired" in one.lacking[0]


def test_other_packages_than_then_are_told_before_anything_runs(past, monkeypatch):
    now = json.loads(surroundings())[""]
    packages = {**now["packages"], "numpy": "1.0", "new": "2"}
    other = json.dumps({"": {**now, "packages": packages}}).encode()
    monkeypatch.setattr(reproduce, "surroundings", lambda: other)
    file = str(past / "cluster.yaml")
    words = ["--cluster", file, "reproduce", "7", "--product", "night-1/levels"]
    dry = CliRunner().invoke(ziggy, [*words, "--dry-run"])
    assert dry.exit_code == 0
    first, *rest = CliRunner().invoke(ziggy, words).output.splitlines()
    assert "not as it was: package" in first
    assert any("numpy" in line and "is 1.0 here" in line for line in [first, *rest])
    assert "same" in rest[-1]


def test_all_that_differs_around_a_worker_is_told(monkeypatch):
    now = json.loads(surroundings())[""]
    here = {**now, "container": False, "variables": {"A": "1", "B": "2", "C": "3"}}
    then = {**now, "container": True, "variables": {"A": "1", "B": "4", "D": "5"}}
    other = json.dumps({"": here}).encode()
    monkeypatch.setattr(reproduce, "surroundings", lambda: other)
    assert list(reproduce._other_surroundings(then)) == [
        "it ran in a container",
        "variable B '4' is '2' here",
        "variable C - is '3' here",
        "variable D '5' is - here",
    ]
    assert list(reproduce._other_surroundings(here)) == []


def test_code_that_is_not_on_record_any_more_is_told(place):
    cluster = open_cluster(place / "cluster.yaml")
    with cluster._site.database.writing() as connection:
        connection.execute(
            IngredientRow.__table__.delete().where(IngredientRow.kind == "code file")
        )
    found = list(cluster.reproduce(2))
    assert {one.verdict for one in found} == {Verdict.IMPOSSIBLE}


STEPS = """
    import os
    import numpy as np

    def draw(raw, context):
        noise = np.random.default_rng(context.seed).random(4)
        return {"seeded.txt": repr(noise).encode()}

    def roll(raw):
        return {"rolled.txt": os.urandom(8)}

    def look(raw):
        return {"seen.txt": os.environ.get("OF_TODAY", "then").encode()}
"""


@pytest.fixture
def dice(tmp_path, client):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: dice\nhome: ./home\ncompute: {local: {workers: 2}}\n")
    cluster = create_cluster(file)
    root = tmp_path / "code"
    root.mkdir()
    (root / "algorithms.py").write_text(textwrap.dedent(STEPS))
    files = {"kind": z.ProductKind.FILE, "files": r".*\.txt"}
    usual = definition(root)
    types = [
        z.DataType(name=one, location=z.Location(f"{{night}}/{one}"), **files)
        for one in ("drawn", "rolled", "seen")
    ]
    nodes = [
        node(name, name, "raw", one.name, single_subtask=True)
        for name, one in zip(("draw", "roll", "look"), types, strict=True)
    ]
    cluster.register(
        replace(
            usual,
            name="dice",
            data_types=(usual.types["raw"], *types),
            nodes=(usual.nodes[0], *nodes),
        )
    )
    deliver(cluster, 1, {"night-1/raw/f0.png": 1})
    instance = cluster.run("dice", client=client)
    assert instance.state.value == "COMPLETED"
    return cluster


def test_what_is_not_deterministic_is_told_from_what_changed(dice, monkeypatch):
    monkeypatch.setenv("OF_TODAY", "now")
    found = {one.node: one for one in dice.reproduce(2)}
    assert {name: one.verdict for name, one in found.items()} == {
        "draw": Verdict.SAME,
        "roll": Verdict.UNSTABLE,
        "look": Verdict.DIFFERS,
    }
    told = CliRunner().invoke(
        ziggy, ["--cluster", str(dice._site.cluster.path), "reproduce", "2"]
    )
    assert told.exit_code == 1
    assert "not deterministic" in told.output
    [difference] = found["look"].differences
    assert (difference.variable, difference.note) == ("seen.txt", "4 → 3 bytes")


def test_seeds_of_subtasks_differ_and_fit_generators(past):
    cluster = open_cluster(past / "cluster.yaml")
    instance = cluster.instance(7)
    [task] = [one.id for one in instance.task_records if one.node == "measure"]
    works = [cluster.task(task).open(number)._work for number in range(4)]
    seeds = [seed_of(work, number) for number, work in enumerate(works)]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [seed_of(works[0], number) for number in range(4)]
    [earlier] = [
        one.id for one in cluster.instance(4).task_records if one.node == "measure"
    ]
    again = cluster.task(earlier).open(2)._work
    assert seed_of(again, 2) == seeds[2]


def test_a_seed_is_of_the_subtask_and_not_of_the_run(dice, client):
    first = bytes(dice.datastore["night-1/drawn"]["seeded.txt"])
    dice.run("dice", client=client)
    assert bytes(dice.datastore["night-1/drawn"]["seeded.txt"]) == first


UNITS = """
    import time

    def work(raw):
        made = raw * 2
        made.attrs["made"] = time.time_ns()
        made["pixels"].attrs["units"] = UNITS
        return made
"""


def test_attributes_that_do_not_come_out_again_are_told(tmp_path, client):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: units\nhome: ./home\ncompute: {local: {workers: 1}}\n")
    cluster = create_cluster(file)
    root = tmp_path / "code"
    root.mkdir()
    for units in ("m", "km"):
        code = textwrap.dedent(UNITS).replace("UNITS", repr(units))
        (root / "algorithms.py").write_text(code)
        cluster.register(work_pipeline(root))
        if units == "m":
            store(cluster, {"set-1/L0": images(2)})
        assert cluster.run("test", client=client).state.value == "COMPLETED"
    [one] = cluster.reproduce(1)
    assert one.verdict is Verdict.UNSTABLE
    assert {two.variable for two in one.differences} == {""}
    [changed] = cluster.diff(1, 2).products
    notes = {two.variable: two.note for two in changed.values}
    assert notes["pixels"] == "attributes: units 'm' → 'km'"
    assert notes[""].startswith("attributes: made ")


FAULTY = """
    def work(raw, context):
        if context.labels == ["i1"]:
            raise ValueError("clouds")
        return raw * 2
"""


def test_subtasks_that_failed_do_not_count_as_made(cluster, tmp_path, client):
    root = tmp_path / "code"
    root.mkdir()
    (root / "algorithms.py").write_text(textwrap.dedent(FAULTY))
    cluster.register(work_pipeline(root, max_failed_subtasks=1))
    store(cluster, {"set-1/L0": images(3)})
    cluster.run("test", client=client)
    made = cluster.datastore.product("set-1/L1").origin["made"]
    assert [one[:2] for one in made] == [[0, 1], [2, 3]]
    assert [one.verdict for one in cluster.reproduce(1)] == [Verdict.SAME]
