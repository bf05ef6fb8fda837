"""What earlier instances have made of what the datastore holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import Pipeline, Process
from ziggy_dask.planning import (
    NONE_PROCESSED,
    Processed,
    Span,
    TaskPlan,
    task_from_json,
)
from ziggy_dask.records import Database, TaskStep, instances, outcomes


def to_leave_out(
    database: Database,
    pipeline: Pipeline,
    process: Process | None,
    before: int | None = None,
) -> Processed:
    """Return the items that an instance has not to process.

    Parameters
    ----------
    database
        The records.
    pipeline
        What the instance runs.
    process
        Which items are asked for; None: as the pipeline says.
    before
        Number of the instance; None: it is not launched yet.
    """
    if (process or pipeline.process) is Process.ALL:
        return NONE_PROCESSED
    return processed_items(database, pipeline.name, before)


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
    found: dict[tuple[str, str], Labels] = {}
    for plan, given in _stored_tasks(database, pipeline, before):
        labels = _items_with_output(plan, given)
        for feed in plan.feeds:
            if feed.span is Span.SLICE and len(labels):
                key = plan.node, feed.path
                found[key] = found[key].union(labels) if key in found else labels
    return found


def _stored_tasks(
    database: Database, pipeline: str, before: int | None
) -> Iterator[tuple[TaskPlan, Mapping[str, Set[int]]]]:
    """Yield stored tasks, each with the subtasks that gave something to a product."""
    interned: dict[Labels, Labels] = {}
    for instance in instances.instances(database):
        if instance.pipeline != pipeline or (before and instance.id >= before):
            continue
        plans = instances.task_plans(database, instance.id)
        for task in instances.tasks(database, instance.id):
            if task.step is TaskStep.COMPLETE and plans[task.id]:
                plan = task_from_json(plans[task.id], interned)
                yield plan, outcomes.subtasks_with_output(database, task.id)


def _items_with_output(plan: TaskPlan, given: Mapping[str, Set[int]]) -> Labels:
    if plan.labels is None:
        return Labels.of([])
    numbers = sorted({number for some in given.values() for number in some})
    length = len(plan.labels)
    return plan.labels.take(
        [at for number in numbers for at in range(length)[plan.items(number)]]
    )
