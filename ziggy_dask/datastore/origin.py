"""Why a value is what it is, as far as the datastore itself can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ziggy_dask.datastore.index import Product
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DatastoreError


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


def origin_in(product: Product, where: Mapping[str, object]) -> Origin:
    """Return where a product, or an item of it, comes from.

    Parameters
    ----------
    product
        The product.
    where
        Dimension and label of an item; ``item`` stands for any dimension. Empty: all.

    Raises
    ------
    DatastoreError
        If the product has no such item.
    """
    said = product.attributes
    chosen = _chosen(product, where)
    subtask = None if chosen is None else _subtask(product, chosen)
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
        path=product.path,
        item=chosen,
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
    order = product.attributes.get("items")
    size = product.attributes.get("items_per_subtask")
    place: int | None = None
    if order is not None:
        place = order.index(item) if item in order else None
    elif product.kind is ProductKind.ARRAY and product.labels is not None:
        place = product.labels.place(item)
    return None if place is None or size is None else int(place // size)
