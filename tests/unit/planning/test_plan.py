import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import data_type, node, pipeline
from ziggy_dask.datastore import Labels
from ziggy_dask.errors import DefinitionError
from ziggy_dask.planning import (
    Holding,
    Recorded,
    Where,
    batch_size,
    layout_graph,
    plan_instance,
    selected_nodes,
    settle,
    task_from_json,
    task_to_json,
)

TOKEN = "0" * 32


def holding(path: str, labels) -> Holding:
    dataset = path.partition("/")[0]
    found = Labels.of(labels) if labels is not None else None
    return Holding(path=path, values={"dataset": dataset}, labels=found)


def chain(**options):
    """Return scale → split (two outputs) → mean over everything."""
    return pipeline(
        None,
        data_type("raw", "L0", **options),
        data_type("scaled", "L1", **options),
        data_type("left", "L2A", **options),
        data_type("right", "L2B", **options),
        data_type("mean", "L3", subtask=""),
        node("scale", "scale", "raw", "scaled"),
        node("split", "split", "scaled", "left right"),
        node("mean", "mean", "left right", "mean", single_subtask=True),
    )


def planned(definition, held, **options):
    nodes = selected_nodes(
        definition, options.pop("start", None), options.pop("stop", None)
    )
    return plan_instance(
        definition, held, nodes=nodes, where=options.pop("where", Where())
    )


def four_images():
    labels = ["a", "b", "c", "d"]
    return {"raw": [holding("set-2/L0", labels), holding("set-1/L0", labels)]}


def test_all_nodes_are_planned_before_anything_exists():
    plan = planned(chain(), four_images())
    assert [(t.node, t.unit.name, t.count) for t in plan.tasks] == [
        ("scale", "[set-1]", 4),
        ("scale", "[set-2]", 4),
        ("split", "[set-1]", 4),
        ("split", "[set-2]", 4),
        ("mean", "[set-1]", 1),
        ("mean", "[set-2]", 1),
    ]
    assert [t.path for t in plan.tasks[2].targets] == ["set-1/L2A", "set-1/L2B"]
    assert plan.tasks[4].feeds[0].task == 2
    assert plan.subtask_count == 18


def test_planning_twice_gives_the_same_plan():
    assert planned(chain(), four_images()) == planned(chain(), four_images())


def test_start_and_stop_choose_nodes():
    assert selected_nodes(chain(), "split") == ("split", "mean")
    assert selected_nodes(chain(), None, "split") == ("scale", "split")
    assert selected_nodes(chain(), "split", "split") == ("split",)


def test_stop_must_come_after_start():
    with pytest.raises(DefinitionError, match="does not come after"):
        selected_nodes(chain(), "mean", "scale")


def test_items_that_are_not_in_all_inputs_are_left_out_with_a_warning():
    definition = pipeline(
        None,
        data_type("one", "A"),
        data_type("two", "B"),
        data_type("both", "C"),
        node("join", "join", "one two", "both"),
    )
    held = {
        "one": [holding("set-1/A", ["a", "b", "c", "d"])],
        "two": [holding("set-1/B", ["d", "b", "x"])],
    }
    plan = planned(definition, held)
    assert plan.tasks[0].labels == Labels.of(["b", "d"])
    assert (
        "3 items are not in all inputs and are left out, e.g. 'a'" in plan.warnings[0]
    )


def test_chunks_of_items_make_one_subtask_each():
    plan = planned(chain(chunk=3), four_images())
    assert plan.tasks[0].count == 2
    assert [plan.tasks[0].items(n) for n in range(2)] == [slice(0, 3), slice(3, 4)]


def test_a_node_without_inputs_says_why_it_has_nothing_to_do():
    plan = planned(chain(), {})
    assert plan.tasks == ()
    assert "the datastore has no 'raw' at '{dataset}/L0'" in plan.warnings[0]


def test_two_units_that_would_write_one_product_are_refused():
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        dataclasses.replace(
            data_type("all", "X"), location=type(data_type("x", "y").location)("all")
        ),
        node("sum", "sum", "raw", "all"),
    )
    with pytest.raises(
        DefinitionError, match="needs the placeholder in which they differ"
    ):
        planned(definition, four_images())


def test_what_follows_an_output_of_unknown_items_stays_open_until_it_is_stored():
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("found", "F"),
        data_type("out", "O"),
        node("find", "find", "raw", "found", single_subtask=True),
        node("measure", "measure", "found", "out"),
    )
    plan = planned(definition, {"raw": [holding("set-1/L0", ["a", "b"])]})
    assert plan.tasks[1].is_open
    assert plan.tasks[1].count == 0
    settled = settle(plan.tasks[1], definition, [Labels.of(["x", "y", "z"])])
    assert settled.count == 3
    assert not settled.is_open


@pytest.mark.parametrize("labels", [["a", "b"], []])
def test_a_task_survives_being_plain_values(labels):
    plan = planned(chain(), {"raw": [holding("set-1/L0", labels)]})
    for task in plan.tasks:
        assert task_from_json(task_to_json(task), {}) == task


def test_a_choice_that_leaves_no_item_makes_no_task_and_says_so():
    where = Where(include=(("dataset", "set-1"),))
    held = {"raw": [holding("set-1/L0", [])]}
    plan = planned(chain(), held, where=where)
    assert plan.tasks == ()
    assert "no item of 'raw'" in plan.warnings[0]
    assert len(planned(chain(), held).tasks) == 3


# -- the graph -----------------------------------------------------------------


def graphs(plan, size=1, recorded=None):
    return layout_graph(
        plan.tasks, token=TOKEN, recorded=recorded or {}, size_of=lambda task: size
    )


def merges(graph):
    return {one.key: one.waits_for for one in graph.merges}


def test_edges_run_from_subtask_to_subtask_where_they_line_up():
    made = graphs(planned(chain(), four_images()))
    split = made[2]
    for number, batch in enumerate(split.batches):
        assert batch.waits_for == ((f"scale-{TOKEN}", 0, number),)


def test_edges_come_from_the_whole_task_where_everything_is_needed():
    made = graphs(planned(chain(), four_images()))
    mean = made[4].batches[0]
    assert mean.waits_for == ((f"ziggy/merge-split-{TOKEN}", 2, 0),)
    assert set(merges(made[2])[mean.waits_for[0]]) == {b.key for b in made[2].batches}


def test_a_scattered_subset_waits_only_for_its_own_items():
    definition = pipeline(
        None,
        data_type("raw", "L0"),
        data_type("scaled", "L1"),
        data_type("mask", "M"),
        data_type("out", "O"),
        node("scale", "scale", "raw", "scaled"),
        node("join", "join", "scaled mask", "out"),
    )
    held = {
        "raw": [holding("set-1/L0", ["a", "b", "c", "d"])],
        "mask": [holding("set-1/M", ["d", "b"])],
    }
    join = graphs(planned(definition, held))[1]
    assert [batch.waits_for[0][2] for batch in join.batches] == [1, 3]


def test_recorded_subtasks_do_not_run_again_but_serve_what_follows():
    plan = planned(chain(), {"raw": [holding("set-1/L0", ["a", "b", "c"])]})
    key = (f"recorded-{TOKEN}", 0, 7)
    done = {0: Recorded(parts={key: "result"}, part_of={0: key, 2: key})}
    scale, split, _ = graphs(plan, recorded=done)
    assert [list(batch.parts[0].subtasks) for batch in scale.batches] == [[1]]
    assert [batch.waits_for for batch in split.batches] == [
        (key,),
        ((f"scale-{TOKEN}", 0, 1),),
        (key,),
    ]


@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    done=st.sets(st.integers(0, 59)),
)
def test_every_subtask_is_in_exactly_one_batch(count, size, done):
    labels = [f"{n:03d}" for n in range(count)]
    plan = planned(chain(), {"raw": [holding("set-1/L0", labels)]})
    key = (f"recorded-{TOKEN}", 0, 1)
    known = {n: key for n in done if n < count}
    recorded = {0: Recorded(parts={key: None}, part_of=known)} if known else {}
    scale, split, _ = graphs(plan, size, recorded)
    ran = [n for batch in scale.batches for n in batch.parts[0].subtasks]
    assert sorted([*ran, *known]) == list(range(count))
    keys = {batch.key for batch in scale.batches} | {key}
    for batch in split.batches:
        assert set(batch.waits_for) <= keys


def test_many_parts_are_merged_in_a_tree():
    labels = [f"{n:05d}" for n in range(10_000)]
    plan = planned(chain(), {"raw": [holding("set-1/L0", labels)]})
    split = graphs(plan)[1]
    below = merges(split)
    assert max(map(len, below.values())) <= 64
    final = split.merges[-1].key
    leaves, waiting = set(), [final]
    while waiting:
        key = waiting.pop()
        if key in below:
            waiting.extend(below[key])
        else:
            leaves.add(key)
    assert leaves == {batch.key for batch in split.batches}


@given(st.integers(1, 10**6), st.floats(0, 1000), st.integers(1, 1000))
def test_batches_are_never_longer_than_half_a_second_or_a_fair_share(
    count, seconds, slots
):
    size = batch_size(count, seconds, slots)
    assert size >= 1
    assert size == 1 or (size * seconds <= 0.5 and size * 8 * slots <= count)


def test_subtasks_of_unknown_length_are_not_batched():
    assert [batch_size(n, 0.0, 2) for n in (400, 2_000, 100_000)] == [1, 3, 4]


def test_short_subtasks_are_batched():
    assert batch_size(10_000, 0.005, 2) == 100


def test_labels_of_numbers_can_be_cut_too():
    definition = chain()
    held = Holding(
        path="set-1/L0", values={"dataset": "set-1"}, labels=Labels(np.arange(5))
    )
    assert planned(definition, {"raw": [held]}).tasks[0].count == 5
