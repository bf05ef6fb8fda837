"""Why a value is what it is, as far as the datastore itself can tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ziggy_dask.datastore.index import Product
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DatastoreError

_EARLIER = "earlier"
"""Attribute in which a product of files says who made those that it keeps."""
_MAKER = (
    *("pipeline", "instance", "task", "node", "unit", "published"),
    *("code_version", "made"),
)
"""What it says of each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a product, or an item of it, comes from."""

    path: str
    """The product."""
    item: str | None = None
    """Label of the item; None: all of the product is meant."""
    pipeline: str = ""
    """Pipeline that made it."""
    instance: int | None = None
    """Instance that made it."""
    node: str = ""
    """Node that made it."""
    unit: str = ""
    """Unit of work."""
    task: int | None = None
    """Task that made it."""
    subtask: int | None = None
    """Subtask that made the item; None: all of them, or that is not known."""
    attempt: int | None = None
    """Attempt of the task that made it, from 0; None: several, or not known."""
    recipes: tuple[str, ...] = ()
    """Digests of what it was made with; several, where restarts changed that."""
    code: tuple[str, ...] = ()
    """Versions of the code that ran."""
    parameters: tuple[Mapping[str, Any], ...] = ()
    """Values of the parameter sets of the node, one mapping per recipe."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Original file names of models by type."""
    published: str = ""
    """When it was published, UTC."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """All that the product says of itself."""


def origin_in(
    product: Product,
    where: Mapping[str, object],
    of_file: Callable[[str], Mapping[str, Any]] | None = None,
) -> Origin:
    """Return where a product, or an item of it, comes from.

    Parameters
    ----------
    product
        The product.
    where
        Dimension and label of an item; ``item`` stands for any dimension. Empty: all.
    of_file
        Returns what a file of the product says of where it comes from.

    Raises
    ------
    DatastoreError
        If the product has no such item.
    """
    said = product.attributes
    chosen = _chosen(product, where)
    if chosen is None or of_file is None:
        subtask = None if chosen is None else _subtask(product, chosen)
        return origin_said(product.path, chosen, said, subtask)
    own = of_file(chosen)
    task = own.get("task")
    if task is None or task != said.get("task"):
        said = _earlier(said).get(str(task), own)
    return origin_said(product.path, chosen, said, own.get("subtask"))


def origin_said(
    path: str, item: str | None, said: Mapping[str, Any], subtask: int | None
) -> Origin:
    """Return where an item comes from, by what its product said when it was published.

    Parameters
    ----------
    path
        The product.
    item
        Label of the item; None: all of the product.
    said
        What the product said.
    subtask
        Subtask that made the item; None: all, or that is not known.
    """
    extents = [
        one
        for one in said.get("made", [])
        if subtask is None or one[0] <= subtask < one[1]
    ]
    digests = tuple(dict.fromkeys(one[3] for one in extents))
    recipes = [said["recipes"][digest] for digest in digests]
    attempts = {one[2] for one in extents}
    old = (str(said["code_version"]),) if said.get("code_version") else ()
    return Origin(
        path=path,
        item=item,
        pipeline=said.get("pipeline", ""),
        instance=said.get("instance"),
        node=said.get("node", ""),
        unit=said.get("unit", ""),
        task=said.get("task"),
        subtask=subtask,
        attempt=attempts.pop() if len(attempts) == 1 else None,
        recipes=digests,
        code=tuple(dict.fromkeys(one["code"] for one in recipes)) or old,
        parameters=tuple(one["parameters"] for one in recipes),
        models=recipes[-1]["models"] if recipes else {},
        published=said.get("published", ""),
        said=said,
    )


def with_earlier(
    before: Mapping[str, Any] | None,
    said: Mapping[str, Any],
    tasks: Callable[[], Collection[int]],
) -> dict[str, Any]:
    """Return what a product of files says, with what it said of tasks whose files it keeps.

    Parameters
    ----------
    before
        What it said until now; None: it is new.
    said
        What it says of its new files.
    tasks
        Returns the tasks of which it has files. It is asked rarely, since that takes long.
    """
    if before is None or before.get("kind") != ProductKind.FILE.value:
        return dict(said)
    kept: dict[str, Any] = before.get(_EARLIER, {"tasks": {}, "recipes": {}})
    of_tasks = dict(kept["tasks"])
    recipes = {**before.get("recipes", {}), **kept["recipes"]}
    if "made" in before:
        of_tasks[str(before["task"])] = {k: before[k] for k in _MAKER if k in before}
    of_tasks.pop(str(said.get("task")), None)
    if len(of_tasks).bit_count() == 1:  # 1, 2, 4, 8 …
        there = {str(task) for task in tasks()}
        of_tasks = {task: one for task, one in of_tasks.items() if task in there}
    if not of_tasks:
        return dict(said)
    used = {one[3] for some in of_tasks.values() for one in some["made"]}
    recipes = {digest: one for digest, one in recipes.items() if digest in used}
    return {**said, _EARLIER: {"tasks": of_tasks, "recipes": recipes}}


def _earlier(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a product of files said of earlier tasks, by their numbers."""
    kept = said.get(_EARLIER, {"tasks": {}, "recipes": {}})
    of_all = {"kind": said.get("kind"), "recipes": kept["recipes"]}
    return {task: {**one, **of_all} for task, one in kept["tasks"].items()}


def is_of_product(origin: Origin) -> bool:
    """Tell whether an origin is what its product says; else it is one of its files that does."""
    return "kind" in origin.said


def _chosen(product: Product, where: Mapping[str, object]) -> str | None:
    """Return the label of the item that is asked for."""
    if not where:
        return None
    ((name, value),) = where.items() if len(where) == 1 else ((None, None),)
    dimension = product.dimension or "item"
    if name not in (dimension, "item"):
        raise DatastoreError(
            f"product '{product.path}' has items along {dimension!r} alone; ask for one "
            f"of them, as in {dimension}=LABEL"
        )
    if product.labels is None or product.labels.place(str(value)) is None:
        texts = [] if product.labels is None else product.labels.texts()
        raise DatastoreError(
            f"product '{product.path}' has no item {str(value)!r}{suggestion(str(value), texts)}"
        )
    return str(value)


def _subtask(product: Product, item: str) -> int | None:
    """Return the subtask that made an item, if the product tells."""
    named = product.attributes.get("named", {})
    if item in named:
        return int(named[item])
    order = product.attributes.get("items")
    size = product.attributes.get("items_per_subtask")
    place: int | None = None
    if order is not None:
        place = order.index(item) if item in order else None
    elif product.kind is ProductKind.ARRAY and product.planned is not None:
        place = product.planned.place(item)
    return None if place is None or size is None else int(place // size)
