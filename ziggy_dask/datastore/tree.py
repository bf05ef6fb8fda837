"""The tree of a snapshot: products, and the directories above and between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import icechunk
import zarr
from zarr.errors import ContainsArrayError

from ziggy_dask.definitions import ProductKind

ATTRIBUTE = "ziggy"
"""Name of the group attribute in which products carry where they come from."""
CLOSED = (ProductKind.ARRAY.value, ProductKind.COLLECTION.value)
"""Kinds of products below which there are no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is at a path: a product, or a directory."""

    kind: str = ""
    """How the product is stored; empty: it is a directory."""
    dimension: str = ""
    """Subtask dimension; empty if there is none."""
    task: int | None = None
    """Task that the product says it is of; None: it says nothing of one."""


_FIELDS = ("kind", "dimension", "task")
Places = Mapping[str, Place | None]
"""What is at some paths; None: nothing."""


def is_empty(session: icechunk.Session) -> bool:
    """Tell whether nothing was ever stored in a snapshot."""
    try:
        zarr.open_group(session.store, mode="r")
    except FileNotFoundError:
        return True
    return False


def walk(session: icechunk.Session) -> Iterator[tuple[str, Place]]:
    """Yield all products and directories of a snapshot by path, outer ones first."""
    if is_empty(session):
        return
    waiting = [("", zarr.open_group(session.store, mode="r"))]
    while waiting:
        path, group = waiting.pop()
        place = _place(group)
        if path:
            yield path, place
        if place.kind in CLOSED:
            continue
        below = sorted(group.groups(), reverse=True)
        waiting.extend((f"{path}/{name}".lstrip("/"), child) for name, child in below)


def place_at(session: icechunk.Session, path: str) -> Place | None:
    """Return what is at a path; None: neither a product nor a directory."""
    try:
        return _place(zarr.open_group(session.store, path=path, mode="r"))
    except (FileNotFoundError, ContainsArrayError):
        return None


def touched_places(session: icechunk.Session, changed: Iterable[str]) -> Places:
    """Return what is now at the places that changed.

    Parameters
    ----------
    session
        Reads them as they are now.
    changed
        Paths of groups and arrays that were made, changed or removed.

    Returns
    -------
    mapping
        Products and directories by path, outer ones first. What lies in an array product
        or a collection is part of it, and what lay in something that is gone went with it.
    """
    seen: dict[str, Place | None] = {}
    found: dict[str, Place | None] = {}
    for path in sorted(set(changed)):
        for above in (*_above(path), path):
            if above not in seen:
                seen[above] = place_at(session, above)
            place = seen[above]
            if place is None or place.kind in CLOSED or above == path:
                found[above] = place
                break
    return {path: found[path] for path in sorted(found)}


def changed_in(session: icechunk.Session) -> set[str]:
    """Return the paths of the groups that changes in a session touch.

    An array counts as the group that it is in.
    """
    status = session.status()
    groups = status.new_groups | status.updated_groups | status.deleted_groups
    arrays = status.new_arrays | status.updated_arrays | status.deleted_arrays
    holders = {one.rpartition("/")[0] for one in (*arrays, *status.updated_chunks)}
    return {path.strip("/") for path in groups | holders} - {""}


def places_to_json(places: Places) -> dict[str, list[str | int] | None]:
    """Return plain values that `places_from_json` turns back into equal places."""
    return {
        path: None if place is None else _place_to_json(place)
        for path, place in places.items()
    }


def places_from_json(content: Mapping[str, Any]) -> Places:
    """Return the places that `places_to_json` described."""
    return {
        path: None
        if place is None
        else Place(**dict(zip(_FIELDS, place, strict=False)))
        for path, place in content.items()
    }


def _place(group: zarr.Group) -> Place:
    origin: Any = group.attrs.get(ATTRIBUTE)
    if not isinstance(origin, dict) or "kind" not in origin:
        return Place()
    task = origin.get("task")
    return Place(
        kind=str(origin["kind"]),
        dimension=str(origin.get("dimension", "")),
        task=task if isinstance(task, int) else None,
    )


def _place_to_json(place: Place) -> list[str | int]:
    known = [] if place.task is None else [place.task]
    return [place.kind, place.dimension, *known]


def _above(path: str) -> list[str]:
    """Return the paths above one, outer ones first."""
    parents = [str(parent) for parent in PurePosixPath(path).parents]
    return [parent for parent in reversed(parents) if parent != "."]
