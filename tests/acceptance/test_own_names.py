"""Items that only the algorithm can name reach the next node as they were made."""

import pytest
import xarray as xr

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.interface.commands.records import show_ended
from ziggy_dask.records import instances
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.recipes import extents_of

ALGORITHMS = """
    import os
    from pathlib import Path

    import xarray as xr

    HERE = Path(__file__).parent


    def groups(raw):
        odd = raw.isel(item=slice(1, None, 2)).load()
        return {"odd": odd, "all of them": raw.load(), "first": raw.isel(item=[0]).load()}


    def sources(raw, context):
        (name,) = context.labels
        if name == "i2" and (HERE / "fail").exists():
            raise ValueError("not yet")
        number = int(name[1:])
        one = raw.isel(item=0, drop=True)
        if number == 0:
            return one
        return {f"{name} source {n}": one.isel(y=slice(0, n + 1)) for n in range(number)}


    def passed(group):
        return group + 1


    def again(passed):
        return passed * 2


    def census(**given):
        (items,) = given.values()
        names = sorted(items)
        sizes = [items[name].sizes.get("y", 0) for name in names]
        return xr.Dataset({"names": ("name", names), "heights": ("name", sizes)})


    def first_census(group):
        return census(group=group)


    def last_census(again):
        return census(again=again)


    def same(raw):
        return {"one name": raw.isel(item=0, drop=True)}


    def theirs(raw):
        return {"i0": raw.isel(item=0, drop=True)}


    def sometimes(raw, context):
        if (HERE / "nothing").exists() and context.labels != ["i9"]:
            return None
        return raw.isel(item=0, drop=True)
"""
COLLECTION = {"kind": z.ProductKind.COLLECTION, "subtask": ""}


@pytest.fixture
def mission(cluster, code):
    """A cluster with four images, and the code of algorithms."""
    cluster.root = code(ALGORITHMS)
    store(cluster, {"set-1/L0": images(4)})
    return cluster


def named(mission, function, **options):
    """Register a pipeline in which items with own names go through a chain of nodes."""
    definition = pipeline(
        mission.root,
        data_type("raw", "L0"),
        data_type("group", "group", **COLLECTION),
        data_type("seen", "seen", subtask=""),
        data_type("passed", "passed", **COLLECTION),
        data_type("again", "again", **COLLECTION),
        data_type("final", "last", subtask=""),
        node("group", function, "raw", "group", **options),
        node("see", "first_census", "group", "seen", single_subtask=True),
        node("pass", "passed", "group", "passed"),
        node("again", "again", "passed", "again"),
        node("see last", "last_census", "again", "final", single_subtask=True),
    )
    mission.register(definition)


EXPECTED = {
    "groups": {"all of them": 4, "first": 4, "odd": 4},
    "sources": {
        "i0": 4,
        **{f"i{n} source {k}": k + 1 for n in (1, 2, 3) for k in range(n)},
    },
}


def check(mission, function):
    datastore = mission.datastore
    for place in ("seen", "last"):
        seen = datastore[f"set-1/{place}"]
        found = dict(zip(seen["names"].values, seen["heights"].values, strict=True))
        assert found == EXPECTED[function]
    made, at_last = datastore["set-1/group"], datastore["set-1/again"]
    assert set(made.children) == set(at_last.children) == set(EXPECTED[function])
    for name, item in made.children.items():
        expected = (item.to_dataset() + 1) * 2
        xr.testing.assert_equal(at_last[name].to_dataset(), expected)


def check_attempts(mission, instance):
    """Check that subtasks are on record with the attempt that made them.

    Return whether names have opened the plan of a task again.
    """
    database = mission._site.database
    found = {
        task.id: (task.attempt, extents_of(database, [task.id])[task.id])
        for task in instances.tasks(database, instance.id)
    }
    for attempt, extents in found.values():
        assert [one.attempt for one in extents] == [attempt]
    return any(attempt for attempt, _ in found.values())


@pytest.mark.parametrize("function", ["groups", "sources"])
def test_the_next_nodes_get_the_names_in_the_same_run_and_later(
    mission, client, function
):
    options = {"single_subtask": function == "groups"}
    named(mission, function, **options)
    instance = mission.run("test", client=client)
    assert set(states(instance).values()) == {"COMPLETE"}, states(instance)
    check(mission, function)
    assert check_attempts(mission, instance) == (function == "sources")
    later = mission.run("test", start="pass", client=client)
    assert set(states(later).values()) == {"COMPLETE"}
    check(mission, function)


def test_names_reach_the_next_nodes_after_a_restart(mission, client):
    (mission.root / "fail").touch()
    named(mission, "sources")
    instance = mission.run("test", client=client)
    assert states(instance)["group [set-1]"].startswith("ERROR")
    (mission.root / "fail").unlink()
    (again,) = mission.restart(instance=instance.id, client=client)
    assert set(states(again).values()) == {"COMPLETE"}
    check(mission, "sources")
    messages = [alert.message for alert in mission.alerts]
    assert any("its subtasks named 6 items themselves" in one for one in messages)


def one_node(mission, function, **options):
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("group", "group", **COLLECTION),
            node("group", function, "raw", "group", **options),
        )
    )


@pytest.mark.parametrize("typical_s", [0.0, 0.001])
def test_one_name_for_two_items_fails_by_name(mission, client, typical_s):
    one_node(mission, "same", typical_s=typical_s)
    instance = mission.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    message = instance.tasks[0].record.message
    assert "item 'one name'" in message
    assert "names must differ" in message
    assert "set-1/group" not in mission.datastore


def test_an_item_of_another_subtask_is_refused(mission, client):
    one_node(mission, "theirs", max_failed_subtasks=3)
    instance = mission.run("test", client=client)
    causes = [one.cause.value for one in instance.tasks[0].subtasks]
    assert causes == ["", "bad output", "bad output", "bad output"]
    message = instance.tasks[0].subtasks[1].message
    assert "item 'i0' belongs to another subtask; this one has 'i1'" in message


def test_a_rerun_that_makes_nothing_takes_nothing_away(mission, client, capsys):
    one_node(mission, "sometimes")
    assert mission.run("test", client=client).state.value == "COMPLETED"
    before = mission.datastore["set-1/group"]["i1"].to_dataset().load()
    (mission.root / "nothing").touch()
    instance = mission.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    xr.testing.assert_identical(
        mission.datastore["set-1/group"]["i1"].to_dataset().load(), before
    )
    assert show_ended([instance], as_json=False) == 0
    assert "4 of 4 subtasks returned nothing" in capsys.readouterr().err
    told = [one for one in mission.alerts if one.instance == instance.id]
    words = "returned nothing; what earlier instances may have stored there stays"
    assert [(one.severity, one.message.partition(": ")[2]) for one in told] == [
        (Severity.WARNING, f"4 of 4 subtasks {words}")
    ]
