"""The Dask graph of batches: what it has of keys, and what comes of computing it."""

from __future__ import annotations

import pickle

import pytest
from dask.threaded import get

from ziggy_dask.planning import Batch, Calls, dask_graph
from ziggy_dask.planning.batches import Part

TOKEN = "0" * 32
CALLS = Calls(
    work=pickle.loads,
    run=lambda work, numbers, *before: (work, tuple(numbers), before),
    run_alone=lambda text, numbers, *before: (
        pickle.loads(text),
        tuple(numbers),
        before,
    ),
    merge=lambda *results: results,
)


def batch(task, *numbers, waits_for=()):
    return Batch(
        key=("work", task, numbers[0]),
        node="work",
        parts=(Part(task, numbers),),
        waits_for=waits_for,
    )


def graph_of(*batches):
    """Return the keys and values of the graph of batches, whose work is a word."""
    tasks = {index for one in batches for index in one.tasks}
    return dask_graph(
        batches,
        token=TOKEN,
        recorded={},
        works={index: pickle.dumps(f"work of {index}") for index in tasks},
        calls=CALLS,
    ).to_dict()


@pytest.mark.parametrize("count", [1, 40])
def test_tasks_of_one_batch_have_one_key_each(count):
    batches = [batch(index, 0) for index in range(count)]
    graph = graph_of(*batches)
    assert set(graph) == {one.key for one in batches}
    assert get(graph, batches[-1].key) == (f"work of {count - 1}", (0,), ())


def test_batches_of_a_task_share_what_they_have_in_common():
    first, second, other = batch(0, 0, 1), batch(0, 2), batch(1, 0)
    graph = graph_of(first, second, other)
    (shared,) = set(graph) - {first.key, second.key, other.key}
    assert get(graph, shared) == "work of 0"
    assert get(graph, second.key) == ("work of 0", (2,), ())
    assert get(graph, other.key) == ("work of 1", (0,), ())


def test_a_batch_gets_what_it_waits_for():
    before = batch(0, 0)
    after = batch(1, 0, waits_for=(before.key,))
    graph = graph_of(before, after)
    assert get(graph, after.key) == ("work of 1", (0,), (("work of 0", (0,), ()),))
