"""Where products are: in which trees, and in which snapshots of these.

The catalogue says it. What it does not have yet is taken from the commits after its last one, and
without a catalogue from all commits.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import icechunk

from ziggy_dask.datastore.catalogue import Catalogue, Commit
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.tree import walk
from ziggy_dask.datastore.trees import above, place
from ziggy_dask.errors import DatastoreError

_KEPT = 8
"""As of so many publications it is kept where products are."""
_CURRENT_S = 1.0
"""So long it is not asked again whether the catalogue says the same, in seconds."""
_ASKED_OFTEN = 16
"""Who asks so often for products as of a publication has all of them looked up at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """In which trees products are as of a publication."""

    trees: Mapping[int, str]
    """The newest snapshot of each tree."""
    number: int | None
    """The newest publication that the catalogue has; None: `held` says all."""
    later: tuple[Commit, ...] = ()
    """Those after it, oldest first."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Trees of products by path."""
    looked: float = field(default_factory=time.monotonic)
    """When it was compared with the catalogue."""

    def after(self, commit: Commit) -> Placing:
        """Return where products are after one more publication, which says what it changed."""
        trees = {**self.trees, **commit.parts.snapshots(commit.snapshot)}
        if self.number is not None:
            return replace(self, trees=trees, later=(*self.later, commit))
        held = dict(self.held)
        place(held, commit.places or {}, commit.parts)
        return replace(self, trees=trees, held=held)


@dataclass(frozen=True, slots=True)
class AllHeld:
    """Trees of products, of which those near a path are found at once."""

    held: Mapping[str, int]
    """By path."""
    order: Sequence[str]
    """The paths in order."""

    def near(self, path: str) -> dict[str, int]:
        """Return those at a path, above and below it; empty: all.

        Examples
        --------
        >>> held = {"a": 0, "a/b": 1, "a/b/c": 1, "a-b": 2}
        >>> AllHeld(held, sorted(held)).near("a/b")
        {'a': 0, 'a/b': 1, 'a/b/c': 1}
        """
        if not path:
            return dict(self.held)
        begin = bisect_left(self.order, f"{path}/")
        end = bisect_left(self.order, f"{path}0")  # "0" is what follows "/"
        paths = (*above(path), path, *self.order[begin:end])
        return {one: self.held[one] for one in paths if one in self.held}


class Placings:
    """Where products are, as of any publication.

    Parameters
    ----------
    catalogue
        Returns the catalogue.
    ancestry
        Returns publications, newest first, from a snapshot on.
    read_tree
        Returns a session that reads what is in a snapshot.
    unreadable
        Returns what is to be raised of a publication that can't be read, given the error;
        None: it expired.
    url
        Where the datastore is.
    """

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        ancestry: Callable[[str], Iterator[Commit]],
        read_tree: Callable[[str], icechunk.Session],
        unreadable: Callable[[str, Exception | None], DatastoreError],
        url: str,
    ) -> None:
        self._catalogue = catalogue
        self._ancestry = ancestry
        self._read_tree = read_tree
        self._unreadable = unreadable
        self._url = url
        self._lock = Lock()
        self._placings: dict[str, Placing] = {}
        """Of the publications that were asked for last."""
        self._asked: tuple[str, int, AllHeld | None] = ("", 0, None)
        """How often was asked for products as of a publication; if often, all of them."""

    def trees(self, at: str) -> Mapping[int, str]:
        """Return the newest snapshot of each tree as of a publication.

        Raises
        ------
        DatastoreError
            If it expired, can't be read, or nobody knows it any more.
        """
        return self._at(at).trees

    def near(self, path: str, at: str) -> dict[str, int]:
        """Return the trees of the products at a path, above and below it; empty: of all.

        Raises
        ------
        DatastoreError
            As by `trees`.
        """
        known, asked, every = self._asked
        if known != at:
            asked, every = 0, None
        if every is None:
            is_often = bool(path) and asked >= _ASKED_OFTEN
            held = self._products(self._at(at), "" if is_often else path)
            every = AllHeld(held, sorted(held))
            self._asked = at, asked + 1, every if is_often else None
        return every.near(path)

    def published(self, before: str, commit: Commit) -> None:
        """Note a publication that was made after another one."""
        self._keep(commit.snapshot, self._at(before).after(commit))

    def forget(self) -> None:
        """Forget where products are: publications may get the numbers of others."""
        with self._lock:
            self._placings.clear()
            self._asked = "", 0, None

    def _products(self, found: Placing, path: str) -> dict[str, int]:
        """Return the trees of the products near a path, and maybe of others."""
        if found.number is None:
            return dict(found.held)
        held = self._catalogue().products(found.number, path)
        for commit in found.later:
            place(held, commit.places or {}, commit.parts)
        return held

    def _at(self, at: str) -> Placing:
        known = self._placings.get(at)
        found = None if known is None else self._compared(at, known)
        if found is None:
            try:
                with panics_as_errors():
                    found = self._find(at)
            except icechunk.IcechunkError as error:
                raise self._unreadable(at, error) from error
        if found is not known:
            self._keep(at, found)
        return found

    def _keep(self, at: str, placing: Placing) -> None:
        with self._lock:
            self._placings.pop(at, None)
            self._placings[at] = placing
            if len(self._placings) > _KEPT:
                del self._placings[next(iter(self._placings))]

    def _compared(self, at: str, known: Placing) -> Placing | None:
        """Return what is known, as far as the catalogue says the same; None: it does not."""
        now = time.monotonic()
        is_fresh = not known.later and now - known.looked < _CURRENT_S
        if known.number is None or is_fresh:
            return known
        number = self._catalogue().number(at)
        if known.later:
            return known if number is None else replace(known, number=number, later=())
        return replace(known, looked=now) if number == known.number else None

    def _find(self, at: str) -> Placing:
        number, trees, later = self._since_known(at)
        for commit in later:
            trees |= commit.parts.snapshots(commit.snapshot)
        if number is not None and all(one.places is not None for one in later):
            return Placing(trees=trees, number=number, later=tuple(later))
        held = {} if number is None else self._catalogue().products(number, "")
        silent = {one.parts.own.tree: one for one in later if one.places is None}
        for commit in later:
            tree = commit.parts.own.tree
            if commit.places is not None:
                place(held, commit.places, commit.parts)
            elif silent[tree] is commit:  # later ones of this tree say the same
                found = walk(self._read_tree(commit.snapshot))
                held = {path: one for path, one in held.items() if one != tree}
                held |= {path: tree for path, one in found if one.kind}
        return Placing(trees=trees, number=None, held=held)

    def _since_known(self, at: str) -> tuple[int | None, dict[int, str], list[Commit]]:
        """Return the newest publication that the catalogue knows, its trees, what came after.

        None: it knows none up to this one.
        """
        later: list[Commit] = []
        for commit in self._ancestry(at):
            number = self._catalogue().number(commit.snapshot)
            trees = None if number is None else self._catalogue().trees(number)
            if trees is not None:
                if commit.snapshot == at and self._catalogue().expired(at):
                    raise self._unreadable(at, None)
                return number, dict(trees), later[::-1]
            if commit.places is None and commit.parts.count > 1:
                raise DatastoreError(
                    f"datastore {self._url}: nobody knows any more what there was as of "
                    f"snapshot {at!r}: it is a part of a publication, or its records were "
                    "lost after others had expired"
                )
            later.append(commit)
        return None, {}, later[::-1]
