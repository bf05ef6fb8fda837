"""What products say of how their values were made, in the datastore itself.

It lies beside the values, so it survives the loss of the database: which subtasks were made in
which attempt, with which code, parameters and models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ziggy_dask.planning import TaskPlan
from ziggy_dask.records import Database
from ziggy_dask.records.code import Kind
from ziggy_dask.records.recipes import Extent, extents_of, read_recipes

MOST_BYTES = 8192
"""Size up to which values of parameters stand in the attributes of a product, in bytes."""
_SHORT = 16


def origins_of(
    database: Database, tasks: Mapping[int, TaskPlan]
) -> dict[int, dict[str, Any]]:
    """Return the attributes that say how the subtasks of tasks were made, by number.

    Parameters
    ----------
    database
        The records.
    tasks
        Plans of the tasks, by number.
    """
    extents = {
        number: [one for one in some if one.recipe]
        for number, some in extents_of(database, tasks).items()
    }
    used = {one.recipe for some in extents.values() for one in some}
    read = read_recipes(database, list(used))
    recipes = {digest: _recipe(recipe) for digest, recipe in read.items()}
    return {
        number: _origin(plan, extents[number], recipes)
        for number, plan in tasks.items()
    }


def _origin(
    task: TaskPlan, extents: Sequence[Extent], recipes: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    if not extents:
        return {}
    used = dict.fromkeys(one.recipe for one in extents)
    found: dict[str, Any] = {
        "made": [_extent(one) for one in extents],
        "items_per_subtask": task.chunk,
        "recipes": {digest[:_SHORT]: recipes[digest] for digest in used},
    }
    versions = dict.fromkeys(recipes[digest]["code"] for digest in used)
    if len(extents) > 1 and task.labels is not None:
        found["items"] = task.labels.texts()  # as subtasks are counted
    return found | {"code_version": ", ".join(versions)}


def _extent(one: Extent) -> list[Any]:
    return [one.start, one.stop, one.attempt, one.recipe[:_SHORT]]


def _recipe(ingredients: Sequence[tuple[Kind, str, str, Any]]) -> dict[str, Any]:
    """Return a recipe as products have it."""
    said: dict[str, Any] = {"code": "installed", "parameters": {}, "models": {}}
    for kind, name, digest, content in ingredients:
        if kind is Kind.CODE:
            said["code"] = name or f"sha256:{digest[:_SHORT]}"
        elif kind is Kind.PARAMETERS:
            values = {key: text for key, _, text in content["parameters"]}
            fits = len(json.dumps(values)) <= MOST_BYTES
            said["parameters"][name] = values if fits else {"digest": digest}
        elif kind is Kind.MODEL:
            said["models"][name] = content["original"]
        elif kind is Kind.ENVIRONMENT:
            said["environment"] = digest[:_SHORT]
    return said
