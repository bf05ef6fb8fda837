"""What tasks made, held against what was planned: nothing, other items, one name twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import Pipeline, ProductKind
from ziggy_dask.planning import (
    Feed,
    Span,
    TaskPlan,
    followers,
    reopen,
    task_to_json,
)
from ziggy_dask.records import Database, outcomes
from ziggy_dask.records.restarts import Reset, reset_tasks
from ziggy_dask.workers import NOTHING_RETURNED

_MOST_NAMED = 3


def why_names_clash(database: Database, task: int) -> str:
    """Return why the items of a task can't be told apart, or an empty string.

    Parameters
    ----------
    database
        The records.
    task
        Number of a task of which all subtasks have ended.
    """
    makers: dict[tuple[str, str], list[int]] = {}
    for subtask, named in outcomes.named_items(database, task).items():
        for path, names in named.items():
            for name in names:
                makers.setdefault((path, name), []).append(subtask)
    clashes = {key: some for key, some in makers.items() if len(some) > 1}
    if not clashes:
        return ""
    (path, name), some = next(iter(clashes.items()))
    more = f" ({len(clashes)} items in all)" if len(clashes) > 1 else ""
    return (
        f"subtasks {', '.join(map(str, some))} all returned an item {name!r} of "
        f"'{path}'{more}; names must differ, or all but one would be lost"
    )


def remarks_on(
    database: Database, task: int, plan: TaskPlan, pipeline: Pipeline
) -> list[str]:
    """Return what an operator should know of the outputs of a task that is stored.

    Parameters
    ----------
    database
        The records.
    task
        Number of the task.
    plan
        Its plan.
    pipeline
        Its pipeline.
    """
    found = []
    reasons = outcomes.without_output(database, task)
    returned_nothing = reasons.pop(NOTHING_RETURNED, 0)
    without_input = sum(reasons.values())
    stays = (
        "; what an earlier instance stored there stays"
        if returned_nothing + without_input == plan.count
        else ""
    )
    if returned_nothing:
        found.append(
            f"{returned_nothing} of {plan.count} subtasks returned nothing{stays}"
        )
    if without_input:
        found.append(
            f"{without_input} of {plan.count} subtasks had nothing to read: "
            f"{next(iter(reasons))}{stays}"
        )
    collections = {
        target.path
        for target in plan.targets
        if pipeline.types[target.data_type].kind is ProductKind.COLLECTION
    }
    named = outcomes.named_items(database, task)
    names = [
        name
        for by_path in named.values()
        for path in collections & by_path.keys()
        for name in by_path[path]
    ]
    if names:
        shown = ", ".join(map(repr, names[:_MOST_NAMED]))
        found.append(
            f"its subtasks named {len(names)} items themselves: "
            f"{shown}{', …' if len(names) > _MOST_NAMED else ''}"
        )
    return found


def outdated_plans(
    pipeline: Pipeline,
    plans: Mapping[int, TaskPlan],
    ready: Iterable[int],
    stored: Callable[[Feed], Labels | None],
) -> list[int]:
    """Return the tasks that were planned with other items than their inputs got.

    Parameters
    ----------
    pipeline
        Their pipeline.
    plans
        All plans of an instance, by index.
    ready
        Indices of tasks that are not stored, but whose inputs are.
    stored
        Returns the items of an input.

    Returns
    -------
    list
        Indices, and those of all that follows from them.
    """
    first = {
        index
        for index in ready
        for feed in plans[index].feeds
        if feed.task is not None
        and feed.span is Span.SLICE
        and feed.labels is not None
        and not plans[index].was_open
        and pipeline.types[feed.data_type].kind is ProductKind.COLLECTION
        and _has_others(stored(feed), feed.labels)
    }
    return sorted(first | followers(plans.values(), first)) if first else []


def plan_again(
    database: Database, instance: int, tasks: Mapping[int, TaskPlan]
) -> dict[int, TaskPlan]:
    """Take back what tasks have done; return their plans, open again, by number."""
    opened = {number: reopen(plan) for number, plan in tasks.items()}
    reset_tasks(
        database,
        Reset(
            instance=instance,
            afresh=list(tasks),
            plans={number: task_to_json(plan) for number, plan in opened.items()},
        ),
    )
    return opened


def _has_others(stored: Labels | None, planned: Labels) -> bool:
    return stored is not None and len(stored.without(planned)) > 0
