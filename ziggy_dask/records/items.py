"""Items of subtasks by name, as of the run: they are in the plans of tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently, pieces
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


@patiently
def find_item(database: Database, item: str, *tasks: int) -> list[tuple[int, int]]:
    """Return the numbers of tasks, and of the subtask of each, that have an item.

    Raises
    ------
    RecordsError
        If no subtask of these tasks has it.
    """
    with database.reading() as connection:
        items = items_of_tasks(connection, tasks)
    found = [
        (task, one.names.index(item) // one.chunk)
        for task, one in items.items()
        if item in one.names
    ]
    if not found:
        of = f"task {tasks[0]}" if len(tasks) == 1 else "these tasks"
        known = {name for one in items.values() for name in one.names}
        hint = suggestion(item, known) if known else "; their inputs have no items"
        raise RecordsError(f"no subtask of {of} has the item {item!r}{hint}")
    return found


@patiently
def items_of_subtask(database: Database, task: int, subtask: int) -> tuple[str, ...]:
    """Return the items of a subtask by name; empty if it has everything."""
    with database.reading() as connection:
        return items_of_tasks(connection, [task])[task].of(subtask)


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
