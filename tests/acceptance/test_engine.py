"""The engine, from registered pipeline to products, on a real Dask scheduler."""

import dataclasses
import threading

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.definitions import parameter_from_value

ALGORITHMS = """
    import logging
    import sys
    import threading
    import time

    import numpy as np
    import xarray as xr


    def scale(raw, parameters=None):
        factor = parameters["S"]["factor"] if parameters and "S" in parameters else 2.0
        return raw * factor


    def split(scaled):
        return {"left": scaled + 1, "right": -scaled}


    def mean(left, right):
        return (left.mean("item") + right.mean("item")).drop_attrs()


    def picky(raw, context):
        if context.labels == ["i2"]:
            raise ValueError("bad weather")
        return raw


    def hungry(raw):
        return raw + np.ones(8 * 1024 * 1024).sum()


    running, most, met = [], [], threading.Condition()


    def crowd(raw, hoped):
        # Wait until as many as hoped run at once, then give more of them a chance.
        with met:
            running.append(1)
            most.append(len(running))
            met.notify_all()
            met.wait_for(lambda: max(most) >= hoped, timeout=60)
        time.sleep(0.02)
        with met:
            running.pop()
        return raw + max(most)


    def alone(raw):
        return crowd(raw, 1)


    def in_twos(raw):
        return crowd(raw, 2)


    def in_threes(raw):
        return crowd(raw, 3)


    def nothing(raw):
        return None


    def lazy_too(derived):
        return derived * 2


    def silent(raw, context):
        return None if context.subtask == 1 else raw


    def talk(raw, context):
        print("printed", context.labels[0])
        print("whispered", file=sys.stderr)
        logging.getLogger(__name__).info("logged")
        context.logger.info("told")
        return raw


    def ragged(raw):
        return raw.isel(item=0, y=slice(0, int(raw["item"].values[0][1:]) + 1))


    def lengths(curves):
        return xr.Dataset({"length": (("item",), [curves.sizes["y"]])})


    def note(raw):
        return ("note for " + str(raw["item"].values[0])).encode()


    def count(notes):
        return xr.Dataset({"bytes": sum(len(data) for data in notes.values())})


    def bad_shape(raw):
        return raw if raw["item"].values[0] == "i0" else raw.isel(y=slice(0, 2))


    def lazy(raw):
        return raw + 3 * raw.mean("item")


    def mean_of(derived):
        return derived.mean("item")


    def count_items(derived):
        return derived.sum("y")
"""


def three_nodes(root, **options):
    """Return scale → split (two outputs) → mean over everything."""
    return pipeline(
        root,
        data_type("raw", "L0"),
        data_type("scaled", "L1"),
        data_type("left", "L2A"),
        data_type("right", "L2B"),
        data_type("mean", "L3", subtask=""),
        node("scale", "scale", "raw", "scaled"),
        node("split", "split", "scaled", "left right"),
        node("mean", "mean", "left right", "mean", single_subtask=True),
        parameter_sets=(
            z.ParameterSet(name="S", parameters=(parameter_from_value("factor", 2.0),)),
        ),
        parameters=("S",),
        **options,
    )


def one_node(root, function, *, place="out", **options):
    """Return a pipeline of one node."""
    output = {key: options.pop(key) for key in ("kind", "subtask") if key in options}
    return pipeline(
        root,
        data_type("raw", "L0"),
        data_type("out", place, **output),
        node("work", function, "raw", "out", **options),
    )


@pytest.fixture
def ready(cluster, code):
    """A cluster with two data sets of four images, and a function that runs a pipeline."""
    store(cluster, {"set-1/L0": images(4, seed=1), "set-2/L0": images(4, seed=2)})
    root = code(ALGORITHMS)

    def go(definition, client, **options):
        cluster.register(dataclasses.replace(definition, root=root))
        return cluster.run(definition.name, client=client, **options)

    return cluster, go


def raw_pixels(cluster, number):
    return cluster.datastore[f"set-{number}/L0"]["pixels"].values


def test_a_pipeline_runs_to_its_end_with_the_right_numbers(ready, client):
    cluster, go = ready
    instance = go(three_nodes(None), client)
    assert instance.state.value == "COMPLETED"
    assert set(states(instance).values()) == {"COMPLETE"}
    assert [(t.record.total, t.record.complete) for t in instance.tasks] == [
        (4, 4),
        (4, 4),
        (4, 4),
        (4, 4),
        (1, 1),
        (1, 1),
    ]
    for number in (1, 2):
        raw = raw_pixels(cluster, number)
        found = cluster.datastore[f"set-{number}/L3"]["pixels"].values
        np.testing.assert_allclose(found, (raw * 2 + 1).mean(0) + (-raw * 2).mean(0))


def test_products_say_where_they_come_from(ready, client):
    cluster, go = ready
    instance = go(three_nodes(None), client)
    session = cluster._site.repository.reading()
    from ziggy_dask.datastore import read_product

    attributes = read_product(session, "set-2/L2B").attributes
    task = cluster.task(attributes["task"]).record
    assert (attributes["instance"], attributes["node"]) == (instance.id, "split")
    assert (task.node, task.unit) == ("split", "[set-2]")
    assert attributes["code_version"] == instance.record.code_version
    scaled = next(t.record for t in instance.tasks if t.record.node == "scale")
    assert cluster.task(task.id).record.inputs.keys() == {"set-2/L1"}
    assert scaled.inputs == {"set-1/L0": instance.record.base_snapshot}


def test_changed_parameters_leave_the_first_products_readable(ready, client):
    cluster, go = ready
    first = go(three_nodes(None), client)
    second = cluster.run("test", parameters={"S": {"factor": 10}}, client=client)
    raw = raw_pixels(cluster, 1)
    now = cluster.datastore["set-1/L1"]["pixels"].values
    then = cluster.datastore.at(1)["set-1/L1"]["pixels"].values
    np.testing.assert_allclose(now, raw * 10)
    np.testing.assert_allclose(then, raw * 2)
    assert first.parameters == {"S": {"factor": 2.0}}
    assert second.parameters == {"S": {"factor": 10.0}}
    assert cluster.datastore.at(second)["set-1/L1"].equals(
        cluster.datastore["set-1/L1"]
    )


def test_only_chosen_units_and_nodes_run(ready, client):
    cluster, go = ready
    instance = go(three_nodes(None), client, where=["dataset=set-2"], stop="split")
    assert states(instance) == {
        "scale [set-2]": "COMPLETE",
        "split [set-2]": "COMPLETE",
    }
    assert list(cluster.datastore) == [
        "set-1/L0",
        "set-2/L0",
        "set-2/L1",
        "set-2/L2A",
        "set-2/L2B",
    ]
    later = cluster.run("test", start="mean", client=client)
    assert states(later) == {"mean [set-2]": "COMPLETE"}


def with_followers(function, **options):
    return pipeline(
        None,
        data_type("raw", "L0"),
        data_type("derived", "L1"),
        data_type("sums", "L2"),
        node("work", function, "raw", "derived", **options),
        node("sum", "count_items", "derived", "sums"),
    )


def test_one_failing_subtask_fails_its_task_and_spares_other_units(ready, client):
    cluster, go = ready
    store(cluster, {"set-3/L0": images(2, seed=5)})
    instance = go(with_followers("picky"), client)
    assert instance.state.value == "ERRORS_STALLED"
    found = states(instance)
    assert found["work [set-1]"] == "ERROR - WAITING_TO_STORE"
    assert found["sum [set-1]"] != "COMPLETE"
    assert found["work [set-3]"] == found["sum [set-3]"] == "COMPLETE"
    failed = instance.tasks[0]
    assert "subtask 2 (i2): ValueError: bad weather" in failed.record.message
    log = next(one for one in failed.logs() if one.traceback)
    assert log.number == 2
    assert 'raise ValueError("bad weather")' in log.traceback
    assert "set-1/L1" not in cluster.datastore
    assert "set-3/L2" in cluster.datastore


def test_allowed_failures_leave_holes_that_what_follows_skips(ready, client):
    cluster, go = ready
    instance = go(with_followers("picky", max_failed_subtasks=1), client)
    assert instance.state.value == "COMPLETED"
    derived = cluster.datastore["set-1/L1"]["pixels"].values
    assert np.isnan(derived[2]).all()
    np.testing.assert_array_equal(derived[3], raw_pixels(cluster, 1)[3])
    left_out = instance.tasks[2].subtasks[2]
    assert left_out.state.value == "COMPLETE"
    assert left_out.outputs == ()
    again = cluster.run("test", start="sum", client=client)
    assert [task.record.total for task in again.tasks] == [3, 3]


def test_allowed_failures_are_left_out_of_what_needs_the_whole_unit(ready, client):
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("derived", "L1"),
        data_type("mean", "L3", subtask=""),
        node("work", "picky", "raw", "derived", max_failed_subtasks=1),
        node("mean", "mean_of", "derived", "mean", single_subtask=True),
    )
    instance = go(definition, client)
    assert instance.state.value == "COMPLETED"
    kept = raw_pixels(cluster, 1)[[0, 1, 3]]
    mean = cluster.datastore["set-1/L3"]["pixels"].values
    np.testing.assert_allclose(mean, kept.mean(0))


def test_a_node_waits_for_those_that_it_comes_after(ready, client):
    """It then reads what is stored, and must not take holes for data."""
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("derived", "L1"),
        data_type("other", "O"),
        data_type("sums", "L2"),
        data_type("mean", "L3", subtask=""),
        node("work", "picky", "raw", "derived", max_failed_subtasks=1),
        node("slow", "scale", "raw", "other"),
        node("sum", "count_items", "derived", "sums", after=("slow",)),
        node(
            "mean", "mean_of", "derived", "mean", after=("slow",), single_subtask=True
        ),
    )
    instance = go(definition, client)
    assert instance.state.value == "COMPLETED", [
        t.record.message for t in instance.tasks
    ]
    finished = {one.record.node: one.record for one in instance.tasks}
    published = cluster.datastore.history()
    order = [snapshot for snapshot, _, _ in published]
    assert order.index(finished["sum"].snapshot) < order.index(
        finished["slow"].snapshot
    )
    for one in instance.tasks:
        if one.record.node == "sum":
            assert one.subtasks[2].outputs == ()
            assert "has no item 'i2'" in one.subtasks[2].message
    kept = raw_pixels(cluster, 1)[[0, 1, 3]]
    mean = cluster.datastore["set-1/L3"]["pixels"].values
    np.testing.assert_allclose(mean, kept.mean(0))


def test_a_subtask_without_output_is_fine_and_what_follows_skips_it(ready, client):
    cluster, go = ready
    instance = go(with_followers("silent"), client)
    assert instance.state.value == "COMPLETED"
    quiet = instance.tasks[0].subtasks[1]
    assert (quiet.state.value, quiet.message) == (
        "COMPLETE",
        "the algorithm returned nothing",
    )
    sums = cluster.datastore["set-1/L2"]["pixels"].values
    assert np.isnan(sums[1]).all()
    assert not np.isnan(sums[[0, 2, 3]]).any()


def test_a_subtask_of_several_items_without_output_leaves_them_all_out(ready, client):
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0", chunk=2),
        data_type("derived", "L1", chunk=2),
        data_type("sums", "L2", chunk=2),
        node("work", "silent", "raw", "derived"),
        node("sum", "count_items", "derived", "sums"),
    )
    instance = go(definition, client)
    assert instance.state.value == "COMPLETED"
    assert [task.record.total for task in instance.tasks] == [2, 2, 2, 2]
    later = cluster.plan("test", start="sum")
    assert [list(task.labels) for task in later.tasks] == [["i0", "i1"]] * 2


@pytest.mark.parametrize(
    ("limit", "function", "most"), [(1, "alone", 1), (0, "in_twos", 2)]
)
def test_no_more_subtasks_of_a_node_run_at_once_than_may(
    ready, client, limit, function, most
):
    cluster, go = ready
    instance = go(one_node(None, function, max_workers=limit), client)
    assert instance.state.value == "COMPLETED"
    counts = cluster.datastore["set-2/out"]["pixels"].values - raw_pixels(cluster, 2)
    assert round(counts.max()) == most


@pytest.fixture(scope="module")
def roomy():
    """A Dask client with a worker that says how much memory it has: 100 bytes."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=3,
            processes=False,
            resources={"memory": 100},
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("workers", "memory", "function", "most"),
    [
        (0, 60, "alone", 1),
        (0, 40, "in_twos", 2),
        (0, 0, "in_threes", 3),
        (1, 40, "alone", 1),
        (2, 0, "in_twos", 2),
    ],
)
def test_limits_of_workers_and_of_memory_count_each_by_itself(
    ready, roomy, workers, memory, function, most
):
    cluster, go = ready
    limits = {"max_workers": workers, "memory_bytes": memory}
    instance = go(one_node(None, function, **limits), roomy)
    assert instance.state.value == "COMPLETED"
    counts = [
        (
            cluster.datastore[f"set-{n}/out"]["pixels"].values - raw_pixels(cluster, n)
        ).max()
        for n in (1, 2)
    ]
    assert round(max(counts)) == most


def test_a_node_that_no_worker_can_hold_fails_with_how_to_fix_it(ready, roomy, client):
    cluster, go = ready
    definition = one_node(None, "scale", memory_bytes=200)
    instance = go(definition, roomy)
    assert instance.state.value == "ERRORS_STALLED"
    task = instance.tasks[0].record
    assert task.state == "ERROR - WAITING_TO_RUN"
    assert (
        "needs 200 B of memory per subtask; the largest worker has 100 B"
        in task.message
    )
    assert "correct the node's 'memory'" in task.message
    assert any(task.message in alert.message for alert in cluster.alerts)
    (done,) = cluster.restart(instance=instance.id, client=client)
    assert done.state.value == "COMPLETED"


def test_times_and_memory_of_a_subtask_are_on_record(ready, client):
    _, go = ready
    instance = go(one_node(None, "hungry"), client)
    for one in instance.tasks[0].subtasks:
        assert one.peak_memory_bytes > 64 * 1024 * 1024
        assert one.wall_s >= one.cpu_s > 0
        assert one.host
        assert one.worker


def test_what_an_algorithm_prints_logs_and_warns_is_kept_per_subtask(ready, client):
    _, go = ready
    instance = go(one_node(None, "talk"), client)
    logs = instance.tasks[0].logs()
    assert [one.number for one in logs] == [0, 1, 2, 3]
    for one in logs:
        assert f"printed i{one.number}\n" in one.log
        for word in ("whispered", "logged", "told"):
            assert word in one.log
        assert one.log.count("printed") == 1


def test_output_that_does_not_fit_is_told_why(ready, client):
    _, go = ready
    instance = go(one_node(None, "bad_shape"), client)
    record = instance.tasks[0].record
    assert instance.state.value == "ERRORS_STALLED"
    assert "items of different shapes need 'kind: collection'" in record.message
    causes = {one.cause.value for one in instance.tasks[0].subtasks}
    assert causes == {"", "bad output"}


def test_ragged_items_make_a_collection(ready, client):
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("curves", "curves", kind=z.ProductKind.COLLECTION, subtask=""),
        data_type("lengths", "lengths"),
        node("cut", "ragged", "raw", "curves"),
        node("measure", "lengths", "curves", "lengths"),
    )
    assert go(definition, client).state.value == "COMPLETED"
    tree = cluster.datastore["set-1/curves"]
    assert [child.sizes["y"] for child in tree.children.values()] == [1, 2, 3, 4]
    lengths = cluster.datastore["set-1/lengths"]
    assert lengths["length"].values.tolist() == [1, 2, 3, 4]
    assert lengths["item"].values.tolist() == ["i0", "i1", "i2", "i3"]


def test_files_are_kept_byte_for_byte(ready, client):
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("notes", "notes", kind=z.ProductKind.FILE, subtask=""),
        data_type("size", "size", subtask=""),
        node("write", "note", "raw", "notes"),
        node("count", "count", "notes", "size", single_subtask=True),
    )
    assert go(definition, client).state.value == "COMPLETED"
    assert cluster.datastore["set-1/notes"] == {
        f"i{number}": f"note for i{number}".encode() for number in range(4)
    }
    assert int(cluster.datastore["set-1/size"]["bytes"]) == 4 * len("note for i0")


def test_a_dask_function_works_on_a_whole_unit_lazily(ready, client):
    cluster, go = ready
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("derived", "L1"),
        data_type("sums", "L2"),
        z.Node(
            name="lazy",
            step=z.DaskFunctionStep(function="algorithms:lazy"),
            inputs=(z.Input(data_type="raw"),),
            outputs=("derived",),
        ),
        node("sum", "count_items", "derived", "sums"),
    )
    instance = go(definition, client)
    assert instance.state.value == "COMPLETED", [
        t.record.message for t in instance.tasks
    ]
    raw = raw_pixels(cluster, 1)
    expected = raw.mean(0) * 3 + raw
    np.testing.assert_allclose(cluster.datastore["set-1/L1"]["pixels"].values, expected)
    found = cluster.datastore["set-1/L2"]["pixels"].values
    np.testing.assert_allclose(found, expected.sum(1))
    assert [task.record.total for task in instance.tasks] == [1, 1, 4, 4]


def test_what_follows_a_product_of_which_nothing_came_has_nothing_to_do(ready, client):
    cluster, go = ready

    def lazily(name, function, source, target):
        return z.Node(
            name=name,
            step=z.DaskFunctionStep(function=f"algorithms:{function}"),
            inputs=(z.Input(data_type=source),),
            outputs=(target,),
        )

    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("derived", "L1"),
        data_type("lazy", "L2", subtask=""),
        data_type("sums", "L3"),
        data_type("mean", "L4", subtask=""),
        node("nothing", "nothing", "raw", "derived", single_subtask=True),
        lazily("lazy", "lazy_too", "derived", "lazy"),
        node("sum", "count_items", "derived", "sums"),
        node("mean", "mean_of", "derived", "mean", single_subtask=True),
    )
    instance = go(definition, client)
    assert instance.state.value == "COMPLETED", [
        t.record.message for t in instance.tasks
    ]
    assert list(cluster.datastore) == ["set-1/L0", "set-2/L0"]
    totals = {t.record.node: t.record.total for t in instance.tasks}
    assert totals == {"nothing": 1, "lazy": 1, "sum": 0, "mean": 1}


def test_a_reader_never_sees_part_of_a_product(ready, client, tmp_path):
    """A slow writer, and a reader that looks all the time."""
    cluster, go = ready
    (tmp_path / "code" / "algorithms.py").write_text(
        "import time\n\n\ndef slow(raw):\n    time.sleep(0.05)\n    return raw + 1\n"
    )
    seen, ended = [], threading.Event()

    def watch():
        while not ended.is_set():
            view = cluster.datastore.as_of(cluster.datastore.snapshot)
            if "set-1/out" in view:
                seen.append(view["set-1/out"]["pixels"].load())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for seed in range(3):
            store(cluster, {f"set-{seed + 3}/L0": images(2)})
            go(one_node(None, "slow"), client)
    finally:
        ended.set()
        watcher.join()
    expected = raw_pixels(cluster, 1) + 1
    assert seen
    for found in seen:
        np.testing.assert_array_equal(found.values, expected)


def test_short_subtasks_share_dask_keys_and_keep_their_own_records(ready, client):
    cluster, go = ready
    store(cluster, {"set-9/L0": images(200)})
    definition = one_node(None, "scale", typical_s=0.001)
    instance = go(definition, client, where=["dataset=set-9"])
    task = instance.tasks[0]
    assert [one.number for one in task.subtasks] == list(range(200))
    assert task.record.complete == 200
    from ziggy_dask.records.outcomes import recorded_parts

    assert len(recorded_parts(cluster._site.database, task.id)) < 40


def test_nothing_to_do_is_an_error_that_says_so(ready, client):
    _, go = ready
    with pytest.raises(z.DefinitionError, match="has no units of work"):
        go(one_node(None, "scale"), client, where=["dataset=set-77"])


def test_registered_definitions_are_versioned_once_they_were_used(ready, client, code):
    cluster, _ = ready
    definition = one_node(None, "scale")
    root = code(ALGORITHMS)
    changes = []
    for seconds in (1.0, 2.0):
        new = dataclasses.replace(definition.nodes[0], typical_s=seconds)
        one = dataclasses.replace(definition, nodes=(new,), root=root)
        changes.append(cluster.register(one)[0])
    assert [(c.change.value, c.version) for c in changes] == [
        ("CREATE", 0),
        ("UPDATE", 0),
    ]
    instance = cluster.run("test", client=client)
    third = dataclasses.replace(definition, root=root)
    again = cluster.register(third)[0]
    assert (again.change.value, again.version) == ("UPDATE", 1)
    assert cluster.register(third)[0].change.value == "SAME"
    assert instance.pipeline.nodes[0].typical_s == 2.0
    assert instance.record.version == 0


def test_inputs_are_joined_exactly_where_their_labels_are_of_several_types(
    cluster, code, client
):
    algorithms = """
        def add(one, other):
            total = one["v"] * 1000 + other["w"].drop_vars("item")
            return total.to_dataset(name="sum")
    """
    cluster.register(
        pipeline(
            code(algorithms),
            data_type("one", "A"),
            data_type("other", "B"),
            data_type("out", "sum"),
            node("add", "add", "one other", "out"),
        )
    )
    ids = 5853498713190525696 + 4 * np.arange(4)  # floats can't tell them apart
    unsigned = ids[::-1].astype("u8")
    number = np.arange(4.0)
    one = xr.Dataset({"v": ("item", number)}, coords={"item": ids})
    other = xr.Dataset({"w": ("item", number[::-1])}, coords={"item": unsigned})
    store(cluster, {"set-1/A": one, "set-1/B": other})
    instance = cluster.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    found = cluster.datastore["set-1/sum"]
    assert found["item"].values.tolist() == ids.tolist()
    assert found["sum"].values.tolist() == [0, 1001, 2002, 3003]


def test_datasets_along_a_time_axis_are_cut_in_chunks(cluster, code, client):
    times = np.datetime64("2026-01-01", "ns") + np.arange(10) * np.timedelta64(1, "h")
    series = xr.Dataset({"flux": (("time",), np.arange(10.0))}, coords={"time": times})
    store(cluster, {"set-1/L0": series}, dimension="time")
    options = {"subtask": "time", "chunk": 4}
    definition = pipeline(
        code(
            "def double(raw):\n    assert raw.sizes['time'] <= 4\n    return raw * 2\n"
        ),
        data_type("raw", "L0", **options),
        data_type("out", "L1", **options),
        node("work", "double", "raw", "out"),
    )
    cluster.register(definition)
    instance = cluster.run("test", client=client)
    assert instance.tasks[0].record.complete == 3
    found = cluster.datastore["set-1/L1"].load()
    assert found["flux"].values.tolist() == (np.arange(10.0) * 2).tolist()
    np.testing.assert_array_equal(found["time"].values, times)
