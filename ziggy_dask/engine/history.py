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
from ziggy_dask.records import Database, feeds, instances, outcomes

Items = tuple[tuple[tuple[str, str], Labels], ...]
"""Items by node and path of the product that they are of."""

_known: WeakKeyDictionary[Database, dict[tuple[int, int], Items]] = WeakKeyDictionary()
"""What stored tasks have processed, by number and attempt: it stays as it is."""
_MOST_KNOWN = 10_000
"""So many tasks are remembered."""


class ProcessedItems:
    """The items that instances of a pipeline have made products of.

    An item counts if its subtask gave an output and the task was stored. Nodes are
    known by name, so what was processed stays so when a definition changes. Looked up when
    it is asked for.

    Parameters
    ----------
    database
        The records.
    pipeline
        Name of the pipeline.
    before
        Instances from this number on do not count; None: all do, and what other instances
        are about to process counts, too.
    """

    def __init__(
        self, database: Database, pipeline: str, before: int | None = None
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._before = before
        flying = _in_flight(database, pipeline) if before is None else ()
        self.in_flight = _together(flying)

    def get(self, key: tuple[str, str], /) -> Labels | None:
        """Return the items of an input that a node has processed.

        Parameters
        ----------
        key
            Name of the node, and path of the input.
        """
        stored = feeds.stored_readers(
            self._database, self._pipeline, *key, self._before
        )
        found = [*self._of_tasks(stored), *self.in_flight.items()]
        return _together(pair for pair in found if pair[0] == key).get(key)

    def _of_tasks(
        self, tasks: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[tuple[str, str], Labels]]:
        known = _known.setdefault(self._database, {})
        for task in tasks:
            if task not in known:
                if len(known) >= _MOST_KNOWN:
                    known.clear()
                known[task] = _items_of(self._database, task[0])
            yield from known[task]


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
    found = ProcessedItems(database, pipeline.name, before)
    if found.in_flight or feeds.has_stored(database, pipeline.name, before):
        return found
    return NONE_PROCESSED


def _in_flight(
    database: Database, pipeline: str
) -> Iterator[tuple[tuple[str, str], Labels]]:
    """Yield the items that planned tasks are going to process, or do so now."""
    interned: dict[Labels, Labels] = {}
    for content in feeds.plans_in_flight(database, pipeline):
        plan = task_from_json(content, interned)
        if plan.labels is not None:
            yield from _by_feed(plan, plan.labels)


def _items_of(database: Database, task: int) -> Items:
    """Return what a stored task has processed."""
    content = instances.task_plan(database, task)
    if not content:
        return ()
    plan = task_from_json(content, {})
    given = outcomes.subtasks_with_output(database, [task])[task]
    return tuple(_by_feed(plan, _items_with_output(plan, given)))


def _by_feed(
    plan: TaskPlan, labels: Labels
) -> Iterator[tuple[tuple[str, str], Labels]]:
    for feed in plan.feeds:
        if feed.span is Span.SLICE and len(labels):
            yield (plan.node, feed.path), labels


def _together(
    pairs: Iterable[tuple[tuple[str, str], Labels]],
) -> dict[tuple[str, str], Labels]:
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
