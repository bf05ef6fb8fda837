"""What tasks made, held against what was planned: nothing, other items, one name twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def name_clashes(database: Database, tasks: Collection[int]) -> dict[int, str]:
    """Return why the items of tasks can't be told apart, for those of which that is so.

    Parameters
    ----------
    database
        The records.
    tasks
        Numbers of tasks of which all subtasks have ended.
    """
    named = outcomes.named_items(database, tasks)
    found = {task: _why_names_clash(task, some) for task, some in named.items()}
    return {task: why for task, why in found.items() if why}


def _why_names_clash(task: int, named: Mapping[int, Mapping[str, list[str]]]) -> str:
    makers: dict[tuple[str, str], list[int]] = {}
    for subtask, by_path in named.items():
        for path, names in by_path.items():
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A task that is stored."""

    number: int
    """Its number."""
    count: int
    """Number of its subtasks."""
    collections: Collection[str]
    """Paths of the collections that it makes."""


def remarks_on(database: Database, tasks: Sequence[Stored]) -> dict[int, list[str]]:
    """Return what an operator should know of the outputs of stored tasks, by number."""
    numbers = [one.number for one in tasks]
    reasons = outcomes.without_output(database, numbers)
    named = outcomes.named_items(database, numbers)
    return {
        one.number: _remarks(one, reasons[one.number], named[one.number])
        for one in tasks
    }


def _remarks(
    task: Stored,
    reasons: Mapping[str, int],
    named: Mapping[int, Mapping[str, list[str]]],
) -> list[str]:
    others = {why: n for why, n in reasons.items() if why != NOTHING_RETURNED}
    nothing = reasons.get(NOTHING_RETURNED, 0)
    unread = sum(others.values())
    is_all = nothing + unread == task.count
    stays = "; what earlier instances may have stored there stays" if is_all else ""
    found = []
    if nothing:
        found.append(f"{nothing} of {task.count} subtasks returned nothing{stays}")
    if unread:
        reason = next(iter(others))
        found.append(
            f"{unread} of {task.count} subtasks had nothing to read: {reason}{stays}"
        )
    names = [
        name
        for by_path in named.values()
        for path in sorted(by_path.keys() & set(task.collections))
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
