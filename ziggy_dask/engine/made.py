"""What tasks made, held against what was planned: nothing, other items, one name twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import Pipeline, ProductKind
from ziggy_dask.planning import (
    Feed,
    Span,
    TaskPlan,
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
        f"'{path}'{more}; names must differ, or all but one would be lost; correct the "
        f"algorithm, then: ziggy restart {task} --mode from-beginning"
    )


def remarks_on(
    database: Database, task: int, count: int, collections: Collection[str]
) -> list[str]:
    """Return what an operator should know of the outputs of a task that is stored.

    Parameters
    ----------
    database
        The records.
    task
        Number of the task.
    count
        Number of its subtasks.
    collections
        Paths of the collections that it makes.
    """
    reasons = outcomes.without_output(database, task)
    nothing = reasons.pop(NOTHING_RETURNED, 0)
    unread = sum(reasons.values())
    is_all = nothing + unread == count
    stays = "; what earlier instances may have stored there stays" if is_all else ""
    found = []
    if nothing:
        found.append(f"{nothing} of {count} subtasks returned nothing{stays}")
    if unread:
        reason = next(iter(reasons))
        found.append(
            f"{unread} of {count} subtasks had nothing to read: {reason}{stays}"
        )
    names = [
        name
        for by_path in outcomes.named_items(database, task).values()
        for path in sorted(by_path.keys() & set(collections))
        for name in by_path[path]
    ]
    if names:
        shown = ", ".join(map(repr, names[:_MOST_NAMED]))
        more = ", …" if len(names) > _MOST_NAMED else ""
        found.append(f"its subtasks named {len(names)} items themselves: {shown}{more}")
    return found


def outdated_plans(
    pipeline: Pipeline,
    plans: Iterable[TaskPlan],
    stored: Callable[[Feed], Labels | None],
) -> list[int]:
    """Return the indices of plans for other items than their inputs got.

    Parameters
    ----------
    pipeline
        Their pipeline.
    plans
        Plans of tasks whose inputs are stored.
    stored
        Returns the items of an input.
    """
    return [
        plan.index
        for plan in plans
        if not plan.is_open
        and not plan.was_open
        and any(_got_others(pipeline, feed, stored) for feed in plan.feeds)
    ]


def reopen_plans(
    database: Database, instance: int, plans: Mapping[int, TaskPlan]
) -> dict[int, TaskPlan]:
    """Take back what tasks have done; return their plans, open again, by number."""
    opened = {number: reopen(plan) for number, plan in plans.items()}
    contents = {number: task_to_json(plan) for number, plan in opened.items()}
    reset_tasks(database, Reset(instance=instance, afresh=list(plans), plans=contents))
    return opened


def _got_others(
    pipeline: Pipeline, feed: Feed, stored: Callable[[Feed], Labels | None]
) -> bool:
    if (
        feed.task is None
        or feed.span is Span.WHOLE
        or feed.labels is None
        or pipeline.types[feed.data_type].kind is not ProductKind.COLLECTION
    ):
        return False
    items = stored(feed)
    return items is not None and len(items.without(feed.labels)) > 0
