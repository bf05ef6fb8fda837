"""A product that is ready to be published, and what is in its way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import icechunk
import zarr
from icechunk.session import ForkSession
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ziggy_dask.datastore.files import tasks_of_files
from ziggy_dask.datastore.origin import with_earlier
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.definitions import ProductKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A product that is ready to be published."""

    path: str
    """Where it goes."""
    change_sets: Sequence[bytes]
    """Pickled forks; all descend from one in which the product was allocated."""
    attributes: Mapping[str, Any]
    """What the product says of itself, under the attribute ``ziggy``."""
    is_absent: bool = False
    """Whether nothing came of it. An older product of the same instance goes away; one of
    another instance stays."""
    is_files: bool = False
    """Whether it is a directory of files: only those of the same names are replaced."""


def parents_of(paths: Iterable[str]) -> list[str]:
    """Return all groups above some paths, outer ones first.

    Examples
    --------
    >>> parents_of(["a/b/c", "a/d"])
    ['a', 'a/b']
    """
    parents = {
        str(parent)
        for path in paths
        for parent in PurePosixPath(path).parents
        if str(parent) != "."
    }
    return sorted(parents)


def files_in(fork: ForkSession) -> list[str]:
    """Return the paths of the files that a fork holds."""
    return sync(_array_paths(fork.store))


async def _array_paths(store: icechunk.IcechunkStore) -> list[str]:
    ending = "/zarr.json"
    found = []
    async for key in store.list_prefix(""):
        if key.endswith(ending):
            buffer = await store.get(key, default_buffer_prototype())
            if buffer and json.loads(buffer.to_bytes())["node_type"] == "array":
                found.append(key.removesuffix(ending))
    return found


def maker_of(session: icechunk.Session, path: str) -> object:
    """Return the number of the instance that made a product, or None."""
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return None
    origin: Any = group.attrs.get(ATTRIBUTE)
    return None if origin is None else origin.get("instance")


def is_of_another(session: icechunk.Session, publication: Publication) -> bool:
    """Tell whether another instance made what is stored where nothing new came."""
    maker = maker_of(session, publication.path)
    return maker is not None and maker != publication.attributes.get("instance")


def takes_files(member: zarr.Group | zarr.Array[Any]) -> bool:
    """Tell whether files can be added to what is stored somewhere."""
    stored: Any = member.attrs.get(ATTRIBUTE)
    return stored is None or stored["kind"] == ProductKind.FILE.value


def require_groups(session: icechunk.Session, paths: Sequence[str]) -> None:
    """Make those of some groups that are not there."""
    root = zarr.open_group(session.store, mode="a")
    for path in paths:
        if path not in root:
            root.create_group(path)


Products = Sequence[tuple[Publication, ForkSession | None]]
"""Products with what their subtasks wrote; None: nothing."""


def make_room(session: icechunk.Session, products: Products) -> bool:
    """Remove what is in the way of products; tell whether something was.

    That takes a commit of its own, before forks are merged.
    """
    files = {
        path
        for one, fork in products
        if one.is_files and fork is not None
        for path in files_in(fork)
    }
    gone = {
        one.path
        for one, _ in products
        if not one.is_files and not (one.is_absent and is_of_another(session, one))
    }
    directories = {one.path for one, _ in products if one.is_files}
    require_groups(session, sorted({*parents_of(files | gone), *directories}))
    root = zarr.open_group(session.store, mode="a")
    gone |= {path for path in directories if not takes_files(root[path])}
    in_the_way = [path for path in sorted(files | gone) if path in root]
    for path in in_the_way:
        if path in root:  # it may have lain in one that is gone
            del root[path]
    require_groups(session, sorted(directories))
    return bool(in_the_way)


def fill(session: icechunk.Session, products: Products) -> None:
    """Merge what subtasks wrote into a session, and let products say where they come from."""
    for one, fork in products:
        if one.is_absent:
            continue
        if fork is not None:
            session.merge(fork)
        group = zarr.open_group(session.store, path=one.path, mode="a")
        sign(session, group, one.attributes)


def sign(
    session: icechunk.Session, group: zarr.Group, attributes: Mapping[str, Any]
) -> None:
    """Let a product say where it comes from; one of files also where those before do."""
    said: dict[str, Any] = dict(attributes)
    if attributes["kind"] == ProductKind.FILE.value:
        before: Any = group.attrs.get(ATTRIBUTE)
        path = group.path
        said = with_earlier(before, said, lambda: tasks_of_files(session, path))
    group.attrs[ATTRIBUTE] = said
