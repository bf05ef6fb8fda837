"""What the parts of an instance are made with, as it goes on record with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.engine.work_orders import models_of_unit, sets_of_node
from ziggy_dask.planning import TaskPlan
from ziggy_dask.records import library
from ziggy_dask.records.code import Kind
from ziggy_dask.records.recipes import Ingredient, Recipe, ingredient
from ziggy_dask.workers import BatchResult

logger = logging.getLogger(__name__)
Changes = Mapping[str, Mapping[str, object]]


class RecipeBook:
    """The recipes of an instance, while it runs.

    Parameters
    ----------
    context
        What the tasks of the instance have in common.
    ask_workers
        Returns the surroundings of all workers by digest, for those of which no result
        told them.
    """

    def __init__(
        self, context: InstanceContext, ask_workers: Callable[[], Mapping[str, bytes]]
    ) -> None:
        self._context = context
        self._ask_workers = ask_workers
        self._surroundings: dict[str, bytes] = {}
        self._recipes: dict[tuple[int, str], Recipe] = {}

    def note(self, results: Iterable[BatchResult]) -> None:
        """Learn what workers bring along."""
        digests = set()
        for one in results:
            if one.surroundings:
                digests.add(one.surroundings)
            if one.surroundings_text:
                self._surroundings[one.surroundings] = one.surroundings_text
        if digests - self._surroundings.keys():
            self._surroundings.update(self._ask_workers())
            for digest in sorted(digests - self._surroundings.keys()):
                logger.warning(
                    "what Python and packages a worker has is not on record: it did not "
                    "answer; subtasks that it ran name them by the digest %s",
                    digest,
                )

    def recipe_of(
        self, plan: TaskPlan, changes: Changes, result: BatchResult
    ) -> Recipe:
        """Return what a result of a task was made with.

        Parameters
        ----------
        plan
            Plan of the task.
        changes
            Parameters that were changed for its restart, by set and name.
        result
            The result.
        """
        key = plan.index, result.surroundings
        if key not in self._recipes:
            self._recipes[key] = self._make(plan, changes, result.surroundings)
        return self._recipes[key]

    def _make(self, plan: TaskPlan, changes: Changes, surroundings: str) -> Recipe:
        context = self._context
        node = context.pipeline.by_name[plan.node]
        sets = sets_of_node(context, node, changes)
        models = models_of_unit(context, node, plan.unit)
        used = [
            ingredient(Kind.NODE, node.name, asdict(node)),
            *(
                ingredient(Kind.PARAMETERS, s.name, library.set_to_json(s))
                for s in sets
            ),
            *(ingredient(Kind.MODEL, n, asdict(model)) for n, model in models.items()),
        ]
        if context.code is not None:
            version = context.record.code_version
            tree = context.code.tree.digest
            used.append(Ingredient(kind=Kind.CODE, name=version, digest=tree))
        if surroundings:
            used.append(
                Ingredient(
                    kind=Kind.ENVIRONMENT,
                    name="",
                    digest=surroundings,
                    content=self._surroundings.get(surroundings),
                )
            )
        return Recipe(node=node.name, ingredients=tuple(used))
