"""Where products come from and what became of them, as people see it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from ziggy_dask.datastore.files import tasks_of_files
from ziggy_dask.datastore.tree import place_at
from ziggy_dask.definitions.names import member, suggestion
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError
from ziggy_dask.interface.states_at import When, number_at
from ziggy_dask.records.dependents import Dependent, Used, dependents
from ziggy_dask.records.expiry import kept_state
from ziggy_dask.records.lineage import (
    Edge,
    Lineage,
    Relation,
    Step,
    lineage_down,
    lineage_up,
)
from ziggy_dask.records.reasons import reasons
from ziggy_dask.records.versions import (
    Version,
    VersionKey,
    as_of,
    known_paths,
    versions_of,
)

_MOST_ALIKE = 20
"""So many versions of one product are shown below each other."""


class DatastoreLooks:
    """Looks into the datastore for what is not on record.

    Parameters
    ----------
    site
        The open cluster.
    """

    def __init__(self, site: OpenCluster) -> None:
        self._repository = site.repository
        self._database = site.database

    def task_of(self, path: str, snapshot: str) -> int | None:
        """Return the task that a product says it is of."""
        try:
            session = self._repository.session_of(path, snapshot)
        except DatastoreError:  # of a history that was taken back
            return None
        place = place_at(session, path)
        return None if place is None else place.task

    def tasks_of_files(self, path: str, snapshot: str) -> Collection[int] | None:
        """Return the tasks that the files of a product say they are of.

        None: that version of the product has expired.
        """
        kept = kept_state(self._database, path, snapshot)
        if kept is None:
            return None
        return tasks_of_files(self._repository.session_of(path, kept), path)


def history_of(site: OpenCluster, path: str) -> list[Version]:
    """Return the versions of a product, oldest first, each with why it was made.

    Raises
    ------
    DatastoreError
        If there never was such a product.
    """
    number_at(site, None)
    found = _versions(site, path)
    why = reasons(site.database, found)
    return [replace(one, reason=why[one.key]) for one in found]


def lineage_of(
    site: OpenCluster,
    path: str,
    at: When | None,
    *,
    is_up: bool,
    depth: int | None = None,
) -> Lineage:
    """Return what a product was made of, or what was made of it.

    Raises
    ------
    DatastoreError
        If there was no such product then.
    """
    number = number_at(site, at)
    start = as_of(_versions(site, path), number)
    if start is None or start.is_removal:
        then = "now" if at is None else f"at {at}"
        raise DatastoreError(
            f"the datastore has no product '{path}' {then}; its versions: "
            f"ziggy history {path}"
        )
    looks = DatastoreLooks(site)
    if is_up:
        return lineage_up(site.database, looks, start, depth)
    return lineage_down(site.database, looks, [Step(version=start)], depth)


def parts_of(site: OpenCluster, version: Version) -> tuple[Version, ...]:
    """Return the earlier versions of which a version of a product has parts."""
    lineage = lineage_up(site.database, DatastoreLooks(site), version, 1)
    kept = [one for one in lineage.edges if one.relation is Relation.KEPT]
    return tuple(lineage.versions[one.source] for one in kept)


def which_depend(site: OpenCluster, used: str, name: str) -> list[Dependent]:
    """Return the versions of products that depend on something; see `dependents`.

    Raises
    ------
    DefinitionError
        If `used` is not a kind of thing that products depend on.
    """
    kind = member(Used, used, "what products depend on")
    number_at(site, None)
    return dependents(site.database, DatastoreLooks(site), kind, name)


def _versions(site: OpenCluster, path: str) -> list[Version]:
    found = versions_of(site.database, path.strip("/"))
    if not found:
        known = suggestion(path, known_paths(site.database))
        raise DatastoreError(f"the datastore never had a product at '{path}'{known}")
    return found


class TreeLine(NamedTuple):
    """A line of a tree."""

    branch: str
    """What leads to it."""
    path: str
    """The product."""
    text: str
    """What there is to say about the version."""


def tree_lines(lineage: Lineage) -> Iterator[TreeLine]:
    """Yield a lineage as the lines of a tree; what was shown is not shown again."""
    beyond = lineage.next
    shown: set[VersionKey] = set()
    root = lineage.versions[lineage.root]
    yield TreeLine("", root.path, version_text(root))
    waiting = _branches(lineage, beyond[lineage.root], "")
    shown.add(lineage.root)
    while waiting:
        prefix, sign, edge, more = waiting.pop()
        branch = f"{prefix}{sign}── "
        if edge is None:
            yield TreeLine(branch, "", f"and {more} more versions; --json has all")
            continue
        one = lineage.versions[lineage.beyond(edge)]
        text = _edge_text(edge, is_up=lineage.is_up) + version_text(one)
        is_repeated = one.key in shown and bool(beyond[one.key])
        yield TreeLine(branch, one.path, text + (", as above" if is_repeated else ""))
        if one.key not in shown:
            shown.add(one.key)
            rail = "    " if sign == "└" else "│   "
            waiting += _branches(lineage, beyond[one.key], prefix + rail)


_Branch = tuple[str, str, Edge | None, int]


def _branches(lineage: Lineage, edges: list[Edge], prefix: str) -> list[_Branch]:
    """Return branches, the last one first."""
    found: list[_Branch] = []
    by_path: dict[str, list[Edge]] = {}
    for edge in sorted(edges, key=lambda one: (lineage.beyond(one), one.item)):
        by_path.setdefault(lineage.beyond(edge).path, []).append(edge)
    for alike in by_path.values():
        found += [(prefix, "├", edge, 0) for edge in alike[:_MOST_ALIKE]]
        if len(alike) > _MOST_ALIKE:
            found.append((prefix, "├", None, len(alike) - _MOST_ALIKE))
    if found:
        found[-1] = (prefix, "└", *found[-1][2:])
    return found[::-1]


def _edge_text(edge: Edge, *, is_up: bool) -> str:
    if edge.relation is Relation.KEPT:
        perhaps = "" if edge.is_sure else "perhaps "
        return perhaps + ("parts of " if is_up else "kept in part by ")
    if not edge.item:
        return ""
    return f"file {edge.item} of " if is_up else f"of file {edge.item}: "


def version_text(one: Version) -> str:
    """Return what there is to say about a version, on one line."""
    words = [f"version {one.number}" if one.number else "a version that is gone"]
    words.append(maker_text(one))
    if one.time is not None:
        words.append(f"{one.time:%Y-%m-%d %H:%M} UTC")
    if one.tags:
        words.append(f"tag {', '.join(one.tags)}")
    if one.successor is not None:
        words.append(f"replaced since by version {one.successor}")
    return ", ".join(word for word in words if word)


def maker_text(one: Version) -> str:
    """Return who made a version."""
    if one.task is None:
        return "by another program" if one.kind else ""
    if one.instance is None:
        return f"by task {one.task}, which is not on record"
    return f"by {one.node} {one.unit}, task {one.task}, instance {one.instance}"


def lineage_to_json(lineage: Lineage) -> dict[str, Any]:
    """Return a lineage as plain values: a graph of versions."""
    return {
        "root": list(lineage.root),
        "direction": "up" if lineage.is_up else "down",
        "versions": list(lineage.versions.values()),
        "edges": [
            {
                "made": list(edge.made),
                "source": list(edge.source),
                "relation": edge.relation,
                "item": edge.item,
                "is_sure": edge.is_sure,
            }
            for edge in lineage.edges
        ],
    }
