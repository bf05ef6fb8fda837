"""A plan that an instance remembers is the plan that was made."""

import json
from dataclasses import replace

import pytest

from ziggy_dask.datastore import Labels
from ziggy_dask.planning import (
    Feed,
    Span,
    Target,
    TaskPlan,
    Unit,
    task_from_json,
    task_to_json,
)

ITEMS = Labels.of(["a", "b", "c"])


def feed(labels=ITEMS, task=None, span=Span.SLICE):
    return Feed(data_type="raw", path="n-1/in", span=span, labels=labels, task=task)


PLAN = TaskPlan(
    index=3,
    node="work",
    unit=Unit(name="[n-1]", values=(("night", "n-1"), ("set", "x"))),
    feeds=(feed(),),
    targets=(Target(data_type="out", path="n-1/out"),),
    labels=ITEMS,
    chunk=2,
)
PLANS = {
    "of items": PLAN,
    "of one whole": replace(PLAN, labels=None, feeds=(feed(None, span=Span.WHOLE),)),
    "of fewer items than its input": replace(PLAN, labels=Labels.of(["b"])),
    "of another task": replace(PLAN, feeds=(feed(task=1), feed(None)), after=(0, 2)),
    "open": replace(PLAN, labels=None, is_open=True),
    "settled": replace(PLAN, was_open=True),
    "done": replace(PLAN, labels=Labels.of([]), targets=()),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_comes_back_as_it_was(name):
    content = json.loads(json.dumps(task_to_json(PLANS[name])))
    assert task_from_json(content, {}) == PLANS[name]


def test_tasks_share_labels_that_are_equal():
    interned = {}
    contents = (task_to_json(replace(PLAN, index=n)) for n in range(2))
    first, second = (task_from_json(one, interned) for one in contents)
    assert first.labels is second.labels is first.feeds[0].labels


def test_labels_that_a_feed_has_in_common_with_its_task_are_kept_once():
    content = json.dumps(task_to_json(PLAN))
    assert content.count("same") == 1
    many = replace(PLAN, labels=Labels.of(["b"]))
    assert "same" not in json.dumps(task_to_json(many))
