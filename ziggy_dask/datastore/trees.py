"""Trees: the products of a datastore lie in several, so that none grows without end.

A tree is a line of snapshots. Icechunk lists all groups and arrays of a tree in each of its
snapshots, so what a publication costs follows the size of the tree that it goes to. New products
go to the newest tree until that is full; then another one begins. A product stays in its tree.
Most publications go to one tree. If one goes to several, the last of its snapshots names the
others, and stands for all.

What is in which tree follows from the publications alone: each says which places it changed, in
which tree. So one snapshot, that of a publication, stands for all trees as of then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ziggy_dask.datastore.tree import CLOSED, Places

if TYPE_CHECKING:
    pass

FULL = 128
"""A tree of so many groups and arrays gets no more new products."""
FIRST = 0
"""The first tree of a datastore, which is the only one in those of earlier versions."""
NODES = "nodes"
"""Name under which the metadata of a commit say how many groups and arrays its tree has."""

_TREE = "tree"
_START = "start"
_PARTS = "parts"
_IS_WHOLE = "whole"
_COUNT = "trees"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a publication has in a tree."""

    tree: int
    """Number of the tree."""
    snapshot: str
    """Its newest snapshot as of the publication; empty: that of the publication itself."""
    start: str
    """The snapshot that it was made from; empty: that of the publication before."""
    paths: frozenset[str] = frozenset()
    """The places that it changed in this tree; those of the publication's own are all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a publication has in all trees that it changed."""

    own: Part = Part(tree=FIRST, snapshot="", start="")
    """What is in the snapshot of the publication itself."""
    others: tuple[Part, ...] = ()
    """What is in snapshots beside."""
    is_whole: bool = False
    """Whether it names all places that there are, instead of those that changed."""
    count: int = 1
    """Number of trees of the datastore."""

    def tree_of(self, path: str) -> int:
        """Return the tree in which a place was changed."""
        for one in self.others:
            if path in one.paths:
                return one.tree
        return self.own.tree

    def snapshots(self, own: str) -> dict[int, str]:
        """Return the newest snapshots of the trees, with that of the publication itself."""
        return {one.tree: one.snapshot for one in self.others} | {self.own.tree: own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Where something can be read."""

    snapshot: str
    """The snapshot; with `parts`, the publication that stands for theirs."""
    parts: tuple[tuple[str, str], ...] = ()
    """Paths of products with the snapshots that have them; empty: one snapshot has all."""


def parts_to_metadata(parts: Parts) -> dict[str, Any]:
    """Return what the metadata of a commit say of its trees; see `parts_from_metadata`."""
    said: dict[str, Any] = {}
    if parts.own.tree != FIRST:
        said[_TREE] = parts.own.tree
    if parts.own.start:
        said[_START] = parts.own.start
    if parts.others:
        said[_PARTS] = [
            [one.tree, one.snapshot, one.start, sorted(one.paths)]
            for one in parts.others
        ]
    if parts.is_whole:
        said[_IS_WHOLE] = True
    if parts.count > 1:
        said[_COUNT] = parts.count
    return said


def parts_from_metadata(metadata: dict[str, Any]) -> Parts:
    """Take what the metadata of a commit say of its trees out of them, and return it."""
    metadata.pop(NODES, None)
    return Parts(
        own=Part(
            tree=metadata.pop(_TREE, FIRST), snapshot="", start=metadata.pop(_START, "")
        ),
        others=tuple(
            Part(tree=tree, snapshot=snapshot, start=start, paths=frozenset(paths))
            for tree, snapshot, start, paths in metadata.pop(_PARTS, ())
        ),
        is_whole=bool(metadata.pop(_IS_WHOLE, False)),
        count=metadata.pop(_COUNT, 1),
    )


def place(held: dict[str, int], places: Places, parts: Parts) -> None:
    """Bring the trees of products, by path, up to date with a publication.

    Parameters
    ----------
    held
        As of the publication before; changed in place.
    places
        What is now where it changed something.
    parts
        The trees that it changed.
    """
    if parts.is_whole:
        held.clear()
    for path, one in sorted(places.items()):
        tree = parts.tree_of(path)
        if one is not None and not one.kind:
            if held.get(path) == tree:  # in another tree, it is a group above products
                del held[path]
            continue
        if one is None or one.kind in CLOSED:
            for gone in [path, *below(path, held)]:
                held.pop(gone, None)
        if one is not None:
            held[path] = tree


def home_of(path: str, held: Mapping[str, int]) -> int | None:
    """Return the tree that something goes to; None: any.

    Products in products lie in one tree, as they share groups.

    Examples
    --------
    >>> home_of("a/b", {"a": 1, "c": 2}), home_of("a", {"a/b": 1}), home_of("d", {"a": 1})
    (1, 1, None)
    """
    for one in (path, *above(path)):
        if one in held:
            return held[one]
    return next((held[one] for one in sorted(below(path, held))), None)


def below(path: str, paths: Iterable[str]) -> list[str]:
    """Return those of some paths that are below one."""
    return [one for one in paths if one.startswith(f"{path}/")]


def above(path: str) -> Iterator[str]:
    """Yield the paths above one, inner ones first.

    Examples
    --------
    >>> list(above("a/b/c"))
    ['a/b', 'a']
    """
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
