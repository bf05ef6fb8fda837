"""Recipes: all that a part was made with, once per part, each ingredient once by content.

A million subtasks of one node with one set of parameters on equal workers have one recipe.
Recipes and ingredients are never changed and never removed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from ziggy_dask.definitions import CodeTree
from ziggy_dask.records.code import Kind, digest_of, save_ingredients, save_tree
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.tables import (
    IngredientRow,
    InstanceRow,
    MakingRow,
    PartRow,
    RecipeRow,
    RecipeUseRow,
    SubtaskRow,
    TaskRow,
)
from ziggy_dask.workers import SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """Something that values are made with."""

    kind: Kind
    """What it is."""
    name: str
    """Its name."""
    digest: str
    """Tells it from others of its kind."""
    content: bytes | None = None
    """What it says, as JSON; None: that is on record already."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a part was made with."""

    node: str
    """Name of the node."""
    ingredients: tuple[Ingredient, ...]
    """What it was made with."""

    @cached_property
    def digest(self) -> str:
        """Tells it from others."""
        lines = sorted(f"{i.kind.value} {i.name} {i.digest}" for i in self.ingredients)
        return hashlib.sha256("\n".join([self.node, *lines]).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Subtasks that follow each other and were made in the same way."""

    start: int
    """The first of them."""
    stop: int
    """The first one that is not among them any more."""
    attempt: int
    """Attempt of the task that made them; 0: the first."""
    recipe: str
    """Digest of their recipe; empty: there is none on record."""


def ingredient(kind: Kind, name: str, content: object) -> Ingredient:
    """Return an ingredient from plain values."""
    text = json.dumps({name: content}, sort_keys=True, default=str).encode()
    return Ingredient(kind=kind, name=name, digest=digest_of(text), content=text)


def save_recipes(connection: Connection, recipes: Iterable[Recipe]) -> dict[str, int]:
    """Put recipes on record that are not yet; return the keys of all, by digest."""
    wanted = {one.digest: one for one in recipes}
    known = _known(connection, wanted)
    for digest in sorted(wanted.keys() - known.keys()):
        recipe = wanted[digest]
        made = insert(RecipeRow).values(digest=digest, node=recipe.node)
        key = connection.execute(made.returning(RecipeRow.id)).scalar_one()
        uses = {_save(connection, one) for one in recipe.ingredients}
        rows = [{"recipe_id": key, "ingredient_id": use} for use in sorted(uses)]
        connection.execute(insert(RecipeUseRow), rows)
        known[digest] = key
    return known


@patiently
def change_code(database: Database, instance: int, tree: CodeTree) -> None:
    """Let an instance run other code from now on; both are on record afterwards."""
    with database.writing() as connection:
        set_code(connection, instance, tree)


def set_code(connection: Connection, instance: int, tree: CodeTree) -> None:
    """Let an instance run other code from now on, in a transaction."""
    query = select(InstanceRow.code, InstanceRow.code_version)
    before = connection.execute(query.where(InstanceRow.id == instance)).one()
    if not before.code:
        _keep_version(connection, instance, before.code_version)
    save_tree(connection, tree)
    connection.execute(
        update(InstanceRow)
        .where(InstanceRow.id == instance)
        .values(code=tree.digest, code_version=tree.version)
    )


def _keep_version(connection: Connection, instance: int, version: str) -> None:
    """Give the parts of an instance from before code was kept what is known of theirs."""
    tasks = select(TaskRow.id).where(TaskRow.instance_id == instance)
    of_old = PartRow.task_id.in_(tasks) & PartRow.recipe_id.is_(None)
    if connection.execute(select(PartRow.id).where(of_old).limit(1)).first() is None:
        return
    code = Ingredient(kind=Kind.CODE, name=version, digest=version)
    recipe = Recipe(node="", ingredients=(code,))
    key = save_recipes(connection, [recipe])[recipe.digest]
    connection.execute(update(PartRow).where(of_old).values(recipe_id=key))


def keep_makings(connection: Connection, tasks: Iterable[int]) -> None:
    """Note by which recipes tasks that are being stored made something."""
    known = exists().where(
        MakingRow.recipe_id == PartRow.recipe_id,
        MakingRow.task_id == TaskRow.id,
        MakingRow.attempt == TaskRow.attempt,
    )
    for some in pieces(tasks):
        made = (
            select(PartRow.recipe_id, TaskRow.id, TaskRow.attempt)
            .join(SubtaskRow, SubtaskRow.task_id == TaskRow.id)
            .join(PartRow, PartRow.id == SubtaskRow.part_id)
            .where(
                TaskRow.id.in_(some),
                SubtaskRow.state == SubtaskState.COMPLETE.value,
                PartRow.recipe_id.is_not(None),
                ~known,
            )
            .distinct()
        )
        columns = ["recipe_id", "task_id", "attempt"]
        connection.execute(insert(MakingRow).from_select(columns, made))


def _save(connection: Connection, one: Ingredient) -> int:
    content = b"" if one.content is None else one.content
    keys = save_ingredients(
        connection, one.kind, {one.digest: content}, {one.digest: one.name}
    )
    return keys[one.digest]


def _known(connection: Connection, digests: Iterable[str]) -> dict[str, int]:
    query = select(RecipeRow.digest, RecipeRow.id).where(
        RecipeRow.digest.in_(list(digests))
    )
    return {row.digest: row.id for row in connection.execute(query)}


@patiently
def extents_of(database: Database, tasks: Collection[int]) -> dict[int, list[Extent]]:
    """Return how the complete subtasks of tasks were made, in runs of equal ones, by task."""
    alike = (
        select(
            PartRow.task_id,
            PartRow.attempt,
            RecipeRow.digest,
            func.max(SubtaskRow.number).label("last"),
            func.count().label("count"),
        )
        .join(SubtaskRow, SubtaskRow.part_id == PartRow.id)
        .outerjoin(RecipeRow, RecipeRow.id == PartRow.recipe_id)
        .where(SubtaskRow.state == SubtaskState.COMPLETE.value)
        .group_by(PartRow.task_id, PartRow.attempt, RecipeRow.digest)
    )
    kinds: dict[int, list[Any]] = {task: [] for task in tasks}
    with database.reading() as connection:
        for some in pieces(tasks):
            for row in connection.execute(alike.where(PartRow.task_id.in_(some))):
                kinds[row.task_id].append(row)
        # Most often all of a task are alike, without gaps, and there may be a million.
        runs = {
            task: [[0, one.last + 1, one.attempt, one.digest] for one in rows]
            if len(rows) < 2 and all(one.count == one.last + 1 for one in rows)
            else _runs(connection.execute(_in_order(task)))
            for task, rows in kinds.items()
        }
    return {
        task: [
            Extent(start=start, stop=stop, attempt=attempt, recipe=digest or "")
            for start, stop, attempt, digest in some
        ]
        for task, some in runs.items()
    }


def _in_order(task: int) -> Any:
    """Return the query for number, attempt and recipe of the complete subtasks of a task."""
    return (
        select(SubtaskRow.number, PartRow.attempt, RecipeRow.digest)
        .join(PartRow, PartRow.id == SubtaskRow.part_id)
        .outerjoin(RecipeRow, RecipeRow.id == PartRow.recipe_id)
        .where(SubtaskRow.task_id == task)
        .where(SubtaskRow.state == SubtaskState.COMPLETE.value)
        .order_by(SubtaskRow.number)
    )


def _runs(rows: Iterable[Any]) -> list[list[Any]]:
    """Return first and last number, attempt and recipe of rows that follow each other."""
    found: list[list[Any]] = []
    for number, attempt, digest in rows:
        last = found[-1] if found else None
        if last and last[1] == number and last[2:] == [attempt, digest]:
            last[1] = number + 1
        else:
            found.append([number, number + 1, attempt, digest])
    return found


@patiently
def read_recipes(
    database: Database, digests: Sequence[str]
) -> dict[str, list[tuple[Kind, str, str, Any]]]:
    """Return kind, name, digest and content of the ingredients of recipes, by digest.

    Of files of code nothing is returned; see `ziggy_dask.records.code.load_code`.
    """
    query = (
        select(
            RecipeRow.digest.label("recipe"),
            IngredientRow.kind,
            IngredientRow.name,
            IngredientRow.digest,
            IngredientRow.content,
        )
        .join(RecipeUseRow, RecipeUseRow.recipe_id == RecipeRow.id)
        .join(IngredientRow, IngredientRow.id == RecipeUseRow.ingredient_id)
        .where(RecipeRow.digest.in_(list(digests)))
        .order_by(IngredientRow.kind, IngredientRow.name)
    )
    found: dict[str, list[tuple[Kind, str, str, Any]]] = {one: [] for one in digests}
    with database.reading() as connection:
        for row in connection.execute(query):
            text = zlib.decompress(row.content)
            content = json.loads(text) if text else None
            if row.kind != Kind.CODE.value and isinstance(content, dict):
                content = content.get(row.name)
            entry = (Kind(row.kind), row.name, row.digest, content)
            found[row.recipe].append(entry)
    return found


@patiently
def find_recipes(
    database: Database, beginnings: Sequence[str]
) -> dict[str, list[tuple[Kind, str, str, Any]]]:
    """Return recipes like `read_recipes`, by the first characters of their digests."""
    digests: list[str] = []
    with database.reading() as connection:
        for beginning in beginnings:
            query = select(RecipeRow.digest).where(
                RecipeRow.digest.startswith(beginning)
            )
            digests += connection.execute(query).scalars().all()
    return read_recipes(database, digests)


@patiently
def recipe_of_subtask(
    database: Database, task: int, number: int
) -> tuple[int, str] | None:
    """Return attempt and recipe of the newest record of a subtask; None: there is none."""
    query = (
        select(PartRow.attempt, RecipeRow.digest)
        .join(SubtaskRow, SubtaskRow.part_id == PartRow.id)
        .outerjoin(RecipeRow, RecipeRow.id == PartRow.recipe_id)
        .where(SubtaskRow.task_id == task, SubtaskRow.number == number)
    )
    with database.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else (row.attempt, row.digest or "")
