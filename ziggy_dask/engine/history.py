"""What earlier instances have made of what the datastore holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from weakref import WeakKeyDictionary

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import Pipeline, Process
from ziggy_dask.planning import (
    NONE_PROCESSED,
    Processed,
    Span,
    TaskPlan,
    task_from_json,
)
from ziggy_dask.records import Database, instances, outcomes

Items = tuple[tuple[tuple[str, str], Labels], ...]
"""Items by node and path of the product that they are of."""

_known: WeakKeyDictionary[Database, dict[tuple[int, int], Items]] = WeakKeyDictionary()
"""What stored tasks have processed, by number and attempt: it stays as it is."""


def to_leave_out(
    database: Database,
    pipeline: Pipeline,
    process: Process | None,
    before: int | None = None,
) -> Processed:
    """Return the items that an instance can skip.

    Parameters
    ----------
    database
        The records.
    pipeline
        What the instance runs.
    process
        Which items are asked for; None: as the pipeline says.
    before
        Number of the instance; None: it is about to be planned. Then it leaves out what
        other instances are about to process, too.
    """
    if (process or pipeline.process) is Process.ALL:
        return NONE_PROCESSED
    found = processed_items(database, pipeline.name, before)
    if before is not None:
        return found
    return _together([*found.items(), *_in_flight(database, pipeline.name)])


def processed_items(
    database: Database, pipeline: str, before: int | None = None
) -> Processed:
    """Return the items that instances of a pipeline have made products of.

    An item counts if its subtask gave an output and the task was stored. Nodes are
    known by name, so what was processed stays so when a definition changes.

    Parameters
    ----------
    database
        The records.
    pipeline
        Name of the pipeline.
    before
        Instances from this number on do not count; None: all do.
    """
    known = _known.setdefault(database, {})
    stored = instances.stored_tasks(database, pipeline, before)
    for task in stored:
        if task not in known:
            known[task] = _items_of(database, task[0])
    return _together(pair for task in stored for pair in known[task])


def _in_flight(
    database: Database, pipeline: str
) -> Iterator[tuple[tuple[str, str], Labels]]:
    """Yield the items that planned tasks are going to process, or do so now."""
    interned: dict[Labels, Labels] = {}
    for content in instances.plans_in_flight(database, pipeline):
        plan = task_from_json(content, interned)
        if plan.labels is not None:
            yield from _by_feed(plan, plan.labels)


def _items_of(database: Database, task: int) -> Items:
    """Return what a stored task has processed."""
    content = instances.task_plan(database, task)
    if not content:
        return ()
    plan = task_from_json(content, {})
    given = outcomes.subtasks_with_output(database, task)
    return tuple(_by_feed(plan, _items_with_output(plan, given)))


def _by_feed(
    plan: TaskPlan, labels: Labels
) -> Iterator[tuple[tuple[str, str], Labels]]:
    for feed in plan.feeds:
        if feed.span is Span.SLICE and len(labels):
            yield (plan.node, feed.path), labels


def _together(pairs: Iterable[tuple[tuple[str, str], Labels]]) -> Processed:
    found: dict[tuple[str, str], Labels] = {}
    for key, labels in pairs:
        found[key] = found[key].union(labels) if key in found else labels
    return found


def _items_with_output(plan: TaskPlan, given: Mapping[str, Set[int]]) -> Labels:
    if plan.labels is None:
        return Labels.of([])
    numbers = sorted({number for some in given.values() for number in some})
    length = len(plan.labels)
    return plan.labels.take(
        [at for number in numbers for at in range(length)[plan.items(number)]]
    )
