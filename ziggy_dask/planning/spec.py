"""Task plans as plain values, and back; how an instance remembers its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggy_dask.datastore import Labels
from ziggy_dask.planning.plan import Feed, Span, Target, TaskPlan
from ziggy_dask.planning.units import Unit

SAME = "same"
"""Stands for labels that are those of the task."""


def task_to_json(task: TaskPlan) -> dict[str, Any]:
    """Return plain values that `task_from_json` turns back into an equal plan."""
    return {
        "index": task.index,
        "node": task.node,
        "unit": {"name": task.unit.name, "values": dict(task.unit.values)},
        "feeds": [_feed_to_json(task, feed) for feed in task.feeds],
        "targets": [{"data_type": t.data_type, "path": t.path} for t in task.targets],
        "labels": task.labels.to_json() if task.labels is not None else None,
        "chunk": task.chunk,
        "after": list(task.after),
        "is_open": task.is_open,
        "was_open": task.was_open,
    }


def task_from_json(
    content: Mapping[str, Any], interned: dict[Labels, Labels]
) -> TaskPlan:
    """Return the plan that `task_to_json` described.

    Parameters
    ----------
    content
        What `task_to_json` returned.
    interned
        Labels by themselves; lets the tasks of an instance share equal labels.
    """
    labels = _labels(content["labels"], None, interned)
    return TaskPlan(
        index=content["index"],
        node=content["node"],
        unit=Unit(
            name=content["unit"]["name"],
            values=tuple(sorted(content["unit"]["values"].items())),
        ),
        feeds=tuple(
            Feed(
                data_type=one["data_type"],
                path=one["path"],
                span=Span(one["span"]),
                labels=_labels(one["labels"], labels, interned),
                task=one["task"],
            )
            for one in content["feeds"]
        ),
        targets=tuple(Target(**one) for one in content["targets"]),
        labels=labels,
        chunk=content["chunk"],
        after=tuple(content["after"]),
        is_open=content["is_open"],
        was_open=content.get("was_open", False),
    )


def _feed_to_json(task: TaskPlan, feed: Feed) -> dict[str, Any]:
    labels: Any = feed.labels.to_json() if feed.labels is not None else None
    if feed.labels is not None and feed.labels == task.labels:
        labels = SAME
    return {
        "data_type": feed.data_type,
        "path": feed.path,
        "span": feed.span.value,
        "labels": labels,
        "task": feed.task,
    }


def _labels(
    content: Any, same: Labels | None, interned: dict[Labels, Labels]
) -> Labels | None:
    if content is None:
        return None
    if content == SAME:
        return same
    labels = Labels.from_json(content)
    return interned.setdefault(labels, labels)
