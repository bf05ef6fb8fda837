"""Instances that process only what earlier ones have not."""

import dataclasses

import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.engine.history import to_leave_out
from ziggy_dask.engine.holdings import key_of
from ziggy_dask.planning import Where, plan_instance, stored_holdings
from ziggy_dask.records.settled import settled_units

ALGORITHMS = """
    from ziggy_dask import FileItem


    def copy(raw, context):
        if b"cloudy" in raw.data:
            return None
        return FileItem(name=raw.name.replace("raw", "copy"), data=raw.data)


    def count(copied, context):
        return FileItem(name="count-0.txt", data=str(len(copied)).encode())


    def scale(raw):
        return raw * 2


    def both(raw):
        note = FileItem(name=f"note-{raw.item.item()}.txt", data=b"seen")
        return {"doubled": raw * 2, "notes": note}


    def ragged(scaled):
        return scaled.isel(item=0, x=slice(0, int(scaled["item"].values[0][1:]) + 1))


    def again(ragged):
        return ragged
"""


def file_type(name, files, reader=""):
    kind = z.ProductKind.FILE
    return data_type(name, name, kind=kind, files=files, reader=reader, external=False)


@pytest.fixture
def mission(cluster, code, client, tmp_path):
    """A cluster with a pipeline that copies files and counts the copies."""
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            file_type("raw", "raw-([0-9]+)\\.txt", "bytes"),
            file_type("copied", "copy-([0-9]+)\\.txt"),
            file_type("counted", "count-([0-9]+)\\.txt"),
            z.Node(name="receipt", step=z.DataReceiptStep()),
            node("copy", "copy", "raw", "copied", after=("receipt",)),
            node(
                "count",
                "count",
                "copied",
                "counted",
                single_subtask=True,
                after=("copy",),
            ),
        )
    )

    def deliver(*names, text="clear"):
        directory = tmp_path / "delivery" / "set-1" / "raw"
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            (directory / f"raw-{name}.txt").write_text(f"{text} {name}")
        cluster.receive(tmp_path / "delivery", pipeline="test", needs_manifest=False)

    def run(**options):
        return cluster.run(
            "test", start="copy", client=client, process="new", **options
        )

    cluster.deliver, cluster.run_new = deliver, run
    return cluster


def counts(instance):
    return {task.record.node: task.record.total for task in instance.tasks}


def test_what_arrived_since_is_added_to_what_was_made(mission):
    mission.deliver("0", "1")
    assert counts(mission.run_new()) == {"copy": 2, "count": 1}
    assert mission.datastore["set-1/counted"] == {"count-0.txt": b"2"}

    mission.deliver("2")
    plan = mission.plan("test", start="copy", process="new")
    assert [task.labels.texts() for task in plan.tasks[:1]] == [["2"]]
    assert counts(mission.run_new()) == {"copy": 1, "count": 1}
    assert sorted(mission.datastore["set-1/copied"]) == [
        f"copy-{n}.txt" for n in range(3)
    ]
    assert mission.datastore["set-1/counted"] == {"count-0.txt": b"3"}


def planned(mission):
    """Return the tasks of a plan, the same as one that walks through all products."""
    site = mission._site
    nodes = ("copy", "count")
    definition = mission.pipelines["test"].pipeline
    slowly = plan_instance(
        definition,
        stored_holdings(site.repository.reading(), definition, Where()),
        nodes=nodes,
        where=Where(),
        processed=to_leave_out(site.database, definition, z.Process.NEW),
    )
    made = mission.plan("test", start="copy", process="new")
    assert made.tasks == slowly.tasks
    assert made.warnings == slowly.warnings
    assert made.unchanged == slowly.unchanged
    return made.tasks


def test_units_in_which_nothing_is_left_are_known_until_that_changes(mission):
    def known():
        site = mission._site
        key = key_of(mission.pipelines["test"].pipeline)
        return set(settled_units(site.database, key, "copy"))

    mission.deliver("0", "1")
    assert len(planned(mission)) == 2
    mission.run_new(stop="copy")
    assert known() == set()
    mission.run_new(stop="copy")
    assert known() == {'["set-1/raw"]'}
    assert [task.node for task in planned(mission)] == ["count"]

    mission.deliver("2")
    assert planned(mission)[0].labels.texts() == ["2"]
    mission.run_new()
    mission.run_new()
    assert [task.node for task in planned(mission)] == ["count"]

    mission.deliver("1")  # another version of what was processed before
    assert [task.node for task in planned(mission)] == ["count"]
    mission.deliver("3")
    assert planned(mission)[0].labels.texts() == ["3"]


def test_a_subtask_that_gave_nothing_is_processed_again(mission):
    mission.deliver("0")
    mission.deliver("1", text="cloudy")
    assert counts(mission.run_new())["copy"] == 2
    plan = mission.plan("test", start="copy", process="new", stop="copy")
    assert [task.labels.texts() for task in plan.tasks] == [["1"]]


def test_without_anything_new_an_instance_is_complete_at_once(mission):
    mission.deliver("0")
    mission.run_new(stop="copy")
    plan = mission.plan("test", start="copy", process="new", stop="copy")
    assert (len(plan.tasks), plan.unchanged) == (0, 1)
    instance = mission.run_new(stop="copy")
    assert (instance.state.value, len(instance.tasks)) == ("COMPLETED", 0)


def test_all_is_processed_again_unless_the_pipeline_or_the_run_says_otherwise(mission):
    mission.deliver("0", "1")
    mission.run_new()
    assert mission.plan("test", start="copy").tasks[0].count == 2
    library = mission.pipelines["test"].pipeline
    mission.register(dataclasses.replace(library, process=z.Process.NEW))
    assert [t.node for t in mission.plan("test", start="copy").tasks] == ["count"]
    assert mission.plan("test", start="copy", process="all").tasks[0].count == 2


def test_array_products_are_made_again_as_a_whole(cluster, code, client):
    """Their items stand at places of one array, which is replaced as one."""
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("scaled", "L1", external=False),
            data_type("ragged", "L2", external=False, kind=z.ProductKind.COLLECTION),
            data_type("again", "L3", external=False, kind=z.ProductKind.COLLECTION),
            node("scale", "scale", "raw", "scaled"),
            node("ragged", "ragged", "scaled", "ragged", after=("scale",)),
            node("again", "again", "ragged", "again", after=("ragged",)),
        )
    )
    store(cluster, {"set-1/L0": images(2), "set-2/L0": images(3)})
    first = cluster.run("test", client=client, process="new")
    assert first.state.value == "COMPLETED", [t.record.message for t in first.tasks]
    store(cluster, {"set-2/L0": images(4)})
    second = cluster.run("test", client=client, process="new")
    assert {(t.record.node, t.record.unit): t.record.total for t in second.tasks} == {
        (name, "[set-2]"): 4 for name in ("scale", "ragged", "again")
    }
    assert second.state.value == "COMPLETED"
    assert cluster.datastore["set-2/L1"].sizes["item"] == 4
    third = cluster.run("test", client=client, process="new")
    assert (third.state.value, len(third.tasks)) == ("COMPLETED", 0)


def test_files_that_a_node_makes_beside_an_array_are_made_again_with_it(
    cluster, code, client
):
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("doubled", "L1", external=False),
            file_type("notes", "note-(i[0-9]+)\\.txt"),
            node("both", "both", "raw", "doubled notes"),
        )
    )
    for items in (2, 3):
        store(cluster, {"set-1/L0": images(items)})
        instance = cluster.run("test", client=client, process="new")
        assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
        assert counts(instance) == {"both": items}
    assert cluster.datastore["set-1/L1"].sizes["item"] == 3
