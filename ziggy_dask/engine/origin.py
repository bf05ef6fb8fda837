"""What products say of how their values were made, in the datastore itself.

It lies beside the values, so it survives the loss of the database: which subtasks were made in
which attempt, with which code, parameters and models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ziggy_dask.planning import TaskPlan
from ziggy_dask.records import Database
from ziggy_dask.records.code import Kind
from ziggy_dask.records.recipes import Extent, extents_of, read_recipes

MOST_BYTES = 8192
"""Size up to which values of parameters stand in the attributes of a product, in bytes."""
_SHORT = 16


def origin_of(database: Database, number: int, task: TaskPlan) -> dict[str, Any]:
    """Return the attributes that say how the subtasks of a task were made.

    Parameters
    ----------
    database
        The records.
    number
        Number of the task.
    task
        Its plan.
    """
    extents = [one for one in extents_of(database, number) if one.recipe]
    if not extents:
        return {}
    recipes = read_recipes(database, list({one.recipe for one in extents}))
    found: dict[str, Any] = {
        "made": [_extent(one) for one in extents],
        "items_per_subtask": task.chunk,
        "recipes": {d[:_SHORT]: _recipe(recipe) for d, recipe in recipes.items()},
    }
    used = {one.recipe: None for one in extents}
    versions = {found["recipes"][digest[:_SHORT]]["code"]: None for digest in used}
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
