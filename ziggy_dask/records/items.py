"""Items of subtasks by name, as of the run: they are in the plans of tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggy_dask.records.database import pieces
from ziggy_dask.records.tables import TaskRow

_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItems:
    """The items of a task, in the order of its subtasks."""

    names: tuple[str, ...] = ()
    """All of them; empty: one subtask has everything."""
    chunk: int = 1
    """Items per subtask."""

    def of(self, subtask: int) -> tuple[str, ...]:
        """Return the items of a subtask."""
        return self.names[subtask * self.chunk : (subtask + 1) * self.chunk]


def items_of_tasks(
    connection: Connection, tasks: Collection[int]
) -> dict[int, TaskItems]:
    """Return the items of some tasks, by their numbers."""
    found: dict[int, TaskItems] = {}
    for some in pieces(tasks):
        query = select(TaskRow.id, TaskRow.plan).where(TaskRow.id.in_(some))
        found.update((row.id, _items(row.plan)) for row in connection.execute(query))
    return found


def shown_items(items: Collection[str]) -> str:
    """Return the names of a subtask's items in short; empty if it has everything."""
    names = list(items)
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _items(plan: Mapping[str, Any]) -> TaskItems:
    content = plan.get("labels") if plan else None
    if content is None:
        return TaskItems()
    return TaskItems(names=tuple(_texts(content)), chunk=plan["chunk"])


def _texts(labels: Mapping[str, Any]) -> list[str]:
    if labels["dtype"] == "U":
        return list(labels["values"])
    from ziggy_dask.datastore import (
        Labels,  # numbers and times are rare, and this is slow
    )

    return Labels.from_json(dict(labels)).texts()
