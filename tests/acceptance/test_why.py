"""Who made an item, where its product was made in several steps: asked item by item."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import ziggy_dask as z
from tests.acceptance.mission import run
from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.cluster import create_cluster, open_cluster

RULES = "{raw: {keep: last 1}, level: {keep: last 1}, note: {keep: last 1}}"
NOTES = "night-1/notes"
RAW = "night-1/raw"


def opened(place, rules: str = "") -> z.Cluster:
    file = place / "cluster.yaml"
    if rules:
        file.write_text(f"{file.read_text()}retention: {rules}\n")
    return open_cluster(file)


def without_records(place) -> z.Cluster:
    """Return the cluster with its database lost and made anew."""
    for one in (place / "home").glob("ziggy.db*"):
        one.unlink()
    return create_cluster(place / "cluster.yaml")


def page(cluster, instance, at=None):
    """Return what is known of the file that only this instance wrote."""
    why = cluster.why(NOTES, at=at, item=f"page-{instance}.txt")
    origin = why.origin
    assert (origin.node, origin.unit, origin.pipeline, origin.subtask) == (
        *("tell", "[night-1]", "mission", 0),
    )
    assert origin.published
    return origin.instance, origin.task, origin.code


def pages(cluster):
    return {number: page(cluster, number) for number in (2, 4, 7)}


def test_a_file_is_of_the_task_that_wrote_it_and_not_of_the_last_one(past):
    cluster = open_cluster(past / "cluster.yaml")
    tasks = {
        number: next(
            one for one in cluster.instance(number).task_records if one.node == "tell"
        )
        for number in (2, 4, 7)
    }
    for number, (instance, task, code) in pages(cluster).items():
        assert (instance, task) == (number, tasks[number].id)
        assert code == (cluster.instance(number).record.code_version,)
        why = cluster.why(NOTES, item=f"page-{number}.txt")
        assert why.inputs == dict(tasks[number].inputs)
        assert why.host
    assert page(cluster, 2, at=4) == page(cluster, 2)
    assert cluster.why(NOTES, item="all.txt").origin.instance == 7
    assert cluster.why(NOTES, item="all.txt", at=4).origin.instance == 4


def test_files_of_all_tasks_are_told_apart_without_records_and_after_expiry(place):
    cluster = opened(place, RULES)
    before = pages(cluster)
    assert len({code for *_, code in before.values()}) == 2
    cluster.expire(margin=timedelta(0))
    assert pages(cluster) == before
    cluster._site.database.close()
    assert pages(without_records(place)) == before


@pytest.mark.parametrize(
    ("item", "at", "instance", "dataset_id"),
    [
        ("f0", 1, 1, 11),
        ("f0", 4, 1, 11),
        ("f0", None, 5, 13),
        ("f2", 1, 1, 11),
        ("f2", 4, 3, 12),
        ("f3", 4, 3, 12),
    ],
)
def test_an_item_is_of_the_delivery_that_brought_it(
    past, item, at, instance, dataset_id
):
    why = open_cluster(past / "cluster.yaml").why(RAW, at=at, item=item)
    assert why.origin.instance == instance
    assert why.origin.unit == f"[sent-{dataset_id}]"
    assert why.origin.published
    [brought] = why.brought
    assert (brought.file, brought.dataset_id) == (f"{RAW}/{item}.png", dataset_id)
    assert len(brought.sha256) == 64
    assert brought.sha256 in dict(why.lines()).values()


def test_a_product_says_that_it_has_parts_of_earlier_versions(past):
    cluster = open_cluster(past / "cluster.yaml")
    for path, at, makers in [
        (NOTES, None, [2, 4]),
        (RAW, 4, [1]),
        (RAW, None, []),
        ("models/flat", None, [1]),
        ("night-1/levels", None, []),
    ]:
        parts = cluster.why(path, at=at).parts
        assert [one.instance for one in parts] == makers, path


def test_a_version_of_a_model_is_of_its_delivery(past):
    cluster = open_cluster(past / "cluster.yaml")
    found = {
        name: cluster.why("models/flat", item=name)
        for name in cluster.datastore.items("models/flat")
    }
    told = [
        (why.origin.instance, *(one.file for one in why.brought))
        for _, why in sorted(found.items())
    ]
    assert told == [(1, "models/flat-7.txt"), (5, "models/flat-8.txt")]


def test_what_a_restore_put_aside_is_not_told_as_what_has_its_numbers_now(
    place, client
):
    cluster = opened(place)
    cluster.backup(place / "backup.db")
    run(cluster, client, 8)
    aside = cluster.datastore.snapshot
    first = cluster.why("night-1/levels")
    cluster._site.database.close()
    again = without_records(place)
    again.restore(place / "backup.db")
    published = datetime.fromisoformat(first.origin.published)
    while datetime.now(UTC) < published + timedelta(seconds=1):
        time.sleep(0.01)  # products say when they were published to the second
    cluster = opened(place)
    run(cluster, client, 8)
    second = cluster.why("night-1/levels")
    assert (second.origin.instance, second.origin.task) == (8, first.origin.task)
    assert second.inputs
    why = cluster.why("night-1/levels", at=aside)
    assert why.origin.published == first.origin.published
    assert why.origin.recipes == first.origin.recipes
    assert (why.inputs, why.host, why.started) == ({}, "", None)


def test_what_is_not_on_record_is_said_and_not_guessed(place):
    """Which delivery brought an item of an array, only the records know."""
    snapshots = [one.snapshot for one in opened(place).history(RAW)]
    lost = without_records(place)
    assert lost.why(RAW, item="f0", at=snapshots[0]).origin.unit == "[sent-11]"
    why = lost.why(RAW, item="f0", at=snapshots[1])
    assert (why.origin.instance, why.origin.task, why.origin.unit) == (None, None, "")
    assert dict(why.lines())["made by"] == "one of these"
    assert [one.snapshot for one in why.parts] == snapshots[:2]


def test_lineage_goes_on_telling_of_files_whose_states_expired(place):
    def lineages(cluster):
        found = {
            (path, way): cluster.lineage(path, way=way)
            for path in cluster.datastore
            for way in ("up", "down")
        }
        return {key: set(one.edges) for key, one in found.items()}

    cluster = opened(place, RULES)
    before = lineages(cluster)
    state = cluster.history("night-1/levels")[1].snapshot
    then = cluster.lineage("night-1/levels", at=state)
    used = cluster.which("delivery", "11")
    cluster.expire(margin=timedelta(0))
    expired = sum(one.is_sure for some in lineages(cluster).values() for one in some)
    assert expired > 0
    assert lineages(cluster) == before
    assert cluster.lineage("night-1/levels", at=state) == then
    with pytest.raises(z.DatastoreError, match=f"as of {state} expired"):
        cluster.datastore.at(state)
    assert cluster.which("delivery", "11") == used


def test_a_subtask_is_counted_with_those_before_it_that_failed(cluster, code, client):
    root = code(
        """
        def work(raw, context):
            if context.labels == ["i1"]:
                raise ValueError("not this one")
            return raw.assign(subtask=("item", [context.subtask]))
        """
    )
    store(cluster, {"set-1/L0": images(4)})
    cluster.register(work_pipeline(root, max_failed_subtasks=1))
    cluster.run("test", client=client)
    product = cluster.datastore.product("set-1/L1")
    made = product.open_made()
    assert list(made["subtask"].values) == [0, 2, 3]
    for item, subtask in zip(made["item"].values, made["subtask"].values, strict=True):
        assert product.why(item=item).subtask == subtask
        assert cluster.why("set-1/L1", item=item).origin.subtask == subtask
    with pytest.raises(z.DatastoreError, match="has no item 'i1'"):
        cluster.why("set-1/L1", item="i1")


def test_items_with_names_of_their_own_are_of_their_subtasks(cluster, code, client):
    """Also without records: the code was edited before a restart."""
    text = """
        GAIN = {gain}

        def work(raw, context):
            if context.labels == ["i1"] and GAIN == 1:
                raise ValueError("not yet")
            name = f"of-{{context.labels[0]}}"
            return {{name: raw.assign_attrs(gain=GAIN, subtask=context.subtask)}}
        """
    root = code(text.format(gain=1))
    store(cluster, {"set-1/L0": images(4)})
    usual = work_pipeline(root)
    out = replace(usual.types["out"], kind=z.ProductKind.COLLECTION, subtask="")
    cluster.register(replace(usual, data_types=(usual.types["raw"], out)))
    cluster.run("test", client=client)
    code(text.format(gain=2))
    cluster.restart(instance=1, code="new", client=client)
    assert cluster.instance(1).state.value == "COMPLETED"
    product = cluster.datastore.product("set-1/L1")
    for name, item in cluster.datastore["set-1/L1"].children.items():
        why = cluster.why("set-1/L1", item=name)
        assert why.origin.subtask == item.attrs["subtask"]
        source = cluster.recorded_code(why.code).files[0].content.decode()
        assert f"GAIN = {item.attrs['gain']}\n" in source
        assert product.why(item=name) == why.origin
        assert why.node["name"] == "work"
    whole = cluster.why("set-1/L1")
    assert (len(whole.origin.code), whole.code) == (2, "")
    assert (whole.environments, whole.node["name"]) == (1, "work")
