"""What the datastore holds for an instance, found in the catalogue.

Units of work in which a node had nothing left to do, and of whose inputs nothing was published
since, are known; so a plan opens only products that it has to look at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from ziggy_dask.datastore import Labels, stored_items, unlike_stored
from ziggy_dask.definitions import DataType, Pipeline, ProductKind
from ziggy_dask.definitions.pipeline import text_digest
from ziggy_dask.definitions.text import pipeline_to_yaml
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.planning import (
    Holding,
    IsSettled,
    UnitInputs,
    Where,
    never_settled,
    stored_holdings,
)
from ziggy_dask.records import catalogue, settled
from ziggy_dask.records.catalogue import CurrentPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a snapshot holds of what a pipeline reads."""

    number: int | None
    """Number of its publication; None: the catalogue does not have it."""
    holdings: dict[str, list[Holding]]
    """Products by data type."""
    is_settled: IsSettled = never_settled
    """Tells whether nothing is left to do in a unit."""


def held(site: OpenCluster, pipeline: Pipeline, where: Where) -> Held:
    """Return what the newest snapshot holds of what a pipeline reads.

    Parameters
    ----------
    site
        The open cluster.
    pipeline
        The pipeline.
    where
        Choice among the files of a product; products themselves are all returned.
    """
    snapshot = site.repository.tip()
    current = catalogue.current_places(site.database, snapshot)
    if current is None:
        session = site.repository.reading(snapshot)
        return Held(number=None, holdings=stored_holdings(session, pipeline, where))
    number, places = current
    changed = {one.path: one.changed for one in places}
    key = key_of(pipeline)

    @cache
    def known(node: str) -> dict[str, int]:
        return settled.settled_units(site.database, key, node)

    def is_settled(node: str, paths: Sequence[str]) -> bool:
        since = known(node).get(inputs_to_text(paths))
        return since is not None and all(changed[path] <= since for path in paths)

    def items(data_type: DataType, path: str) -> Labels | None:
        session = site.repository.session_of(path, snapshot)
        return stored_items(session, path, data_type, pipeline.patterns, where.accepts)

    wanted = {one.data_type for node in pipeline.nodes for one in node.inputs}
    return Held(
        number=number,
        holdings={
            name: _of_type(pipeline, pipeline.types[name], places, items)
            for name in sorted(wanted)
        },
        # A choice among files shows fewer items than there are.
        is_settled=never_settled if where.is_choice else is_settled,
    )


def keep_settled(
    site: OpenCluster,
    pipeline: Pipeline,
    number: int | None,
    units: Sequence[UnitInputs],
) -> None:
    """Note in which units nothing is left to do as of a publication, for later plans."""
    if number is not None:
        some = [(node, inputs_to_text(paths)) for node, paths in units]
        settled.keep_settled(site.database, key_of(pipeline), number, some)


def inputs_to_text(paths: Sequence[str]) -> str:
    """Return the inputs of a unit as one text."""
    return json.dumps(list(paths), separators=(",", ":"))


def key_of(pipeline: Pipeline) -> str:
    """Return name and digest of a definition: another one may see other items."""
    named = tuple(replace(one, parameters=()) for one in pipeline.parameter_sets)
    text = pipeline_to_yaml(replace(pipeline, parameter_sets=named))
    return f"{pipeline.name} {text_digest(text)[:16]}"


def _of_type(
    pipeline: Pipeline,
    data_type: DataType,
    places: Sequence[CurrentPlace],
    items: Callable[[DataType, str], Labels | None],
) -> list[Holding]:
    """Return the products of a type; their items are read when they are needed."""
    location = data_type.location
    depth = len(location.segments)
    is_files = data_type.kind is ProductKind.FILE
    found = []
    for place in places:
        if place.path.count("/") + 1 != depth or not (place.kind or is_files):
            continue
        values = location.match(place.path, pipeline.patterns)
        if values is None:
            continue
        misfit = ""
        if place.kind:
            misfit = unlike_stored(place.path, place.kind, place.dimension, data_type)
        look = None if misfit else cache(partial(items, data_type, place.path))
        found.append(
            Holding(
                path=place.path, values=values, labels=None, misfit=misfit, look=look
            )
        )
    return sorted(found, key=lambda one: one.path.split("/"))
