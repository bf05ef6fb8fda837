"""The Icechunk repository: snapshots to read from, one way to publish.

Products are written by many workers into *forks* and published by one process.
Two rules make that safe with every version of Icechunk:

- A fork only ever creates. Forks start from a *scaffold*, a small snapshot that
  holds nothing but the groups above the products to come, so nothing old is in
  the way, and opening a fork costs the same however large the datastore is.
- Publishing works on a branch called ``staging``: what is to be replaced is
  removed there in one commit, the forks are merged in the next, and only then
  does ``main`` move to it, in one step. Readers of ``main`` see the product as
  it was before, or as it is after, and nothing in between.

Products lie in several trees; see `trees`. ``main`` names the newest publication, which
says what it changed in which tree, and which publication came before it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import icechunk
import zarr
from icechunk.session import ForkSession

from ziggy_dask.datastore.catalogue import Catalogue, Commit, Unknowing
from ziggy_dask.datastore.change_sets import (
    missing_chunks,
    open_change_set,
    place_of,
)
from ziggy_dask.datastore.digests import Digests, digests_of
from ziggy_dask.datastore.durable import sync_file_system
from ziggy_dask.datastore.history import BEFORE, PLACES, ancestry
from ziggy_dask.datastore.irregular import require_regular_files
from ziggy_dask.datastore.joined import JoinedSession
from ziggy_dask.datastore.owner import Owner, is_of_owner, owner_among
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.placings import Placings
from ziggy_dask.datastore.publication import (
    Products,
    Publication,
    files_in,
    fill,
    is_of_another,
    make_room,
    parents_of,
    require_groups,
)
from ziggy_dask.datastore.storage import memory_directory, settings_at, storage_at
from ziggy_dask.datastore.store_words import in_words
from ziggy_dask.datastore.tree import (
    Places,
    place_at,
    places_to_json,
)
from ziggy_dask.datastore.trees import (
    NODES,
    Held,
    Part,
    Parts,
    above,
    below,
    parts_to_metadata,
)
from ziggy_dask.datastore.writing import (
    STAGING,
    Draft,
    Writing,
    has_branch,
    set_branch,
)
from ziggy_dask.errors import DatastoreError

MAIN = "main"
EMPTY = "empty"
SNAPSHOTS = "snapshots"
"""Directory of the files that say which products there are."""
MANIFESTS = "manifests"
"""Directory of the files that say where their chunks are."""
CHUNKS = "chunks"
"""Directory of the files that have the values."""

_KEPT = "kept."
"""Begin of the names of branches that keep snapshots of which no other branch knows."""
_TREE = "tree."
"""Begin of the names of branches that name the newest snapshots of trees, but that of `main`."""
_SESSIONS_KEPT = 16
"""So many snapshots that were read last are kept open."""
MEMORY = "memory"

icechunk.set_logs_filter("off")


class Repository:
    """An open datastore repository.

    Parameters
    ----------
    url
        A path, or ``s3://``, ``gs://``, ``az://`` or ``memory://`` with a name.
    """

    def __init__(self, url: str, repo: icechunk.Repository) -> None:
        self.url = url
        self._repo = repo
        self.permit: Callable[[], None] = _permitted
        """Called before history is changed, after its newest snapshot was looked up;
        raises if this process may not. Who takes over from one that did not answer
        moves history on with `fence`, so that a permit from before comes to nothing."""
        self.catalogue: Catalogue = Unknowing()
        """Tells of publications that it knows, so that history is not walked."""
        self._listed: dict[str, frozenset[str]] = {}
        """The manifests of the snapshots of the last publication."""
        self._shared: dict[str, icechunk.Session] = {}
        """Snapshots read last: a session of its own would read each from the disk again."""
        self._sharing = Lock()
        self._placings = Placings(
            lambda: self.catalogue,
            self.ancestry,
            self.reading_tree,
            self._unreadable,
            url,
        )
        self._named = ""
        """The publication of which branches are known to name the trees."""

    def tip(self) -> str:
        """Return the id of the newest published snapshot."""
        return self._repo.lookup_branch(MAIN)

    def reading(self, snapshot: str | None = None) -> icechunk.Session:
        """Return a session that reads all products as of a publication; None: the newest."""
        at = snapshot or self.tip()
        if len(self.trees(at)) == 1:
            return self.reading_tree(at)
        return self.open(self.held("", at))

    def session_of(self, path: str, at: str | None = None) -> icechunk.Session:
        """Return a session in which what is at a path, and below it, can be read.

        Parameters
        ----------
        path
            A product, or a directory.
        at
            As of this publication; None: the newest one.
        """
        return self.open(self.held(path, at or self.tip()))

    def held(self, path: str, at: str) -> Held:
        """Return which snapshots have what is at a path, and below it.

        Parameters
        ----------
        path
            A product, or a directory; empty: all.
        at
            As of this publication.
        """
        trees = self.trees(at)
        if len(trees) == 1:
            return Held(snapshot=at)
        near = self._placings.near(path, at)
        inside = [one for one in near if not path or f"{one}/".startswith(f"{path}/")]
        if path not in near:
            inside += [one for one in above(path) if one in near][:1]
        snapshots = {trees[near[one]] for one in inside}
        if not snapshots:
            return Held(snapshot=self._holder_of(path, trees) or at)
        if len(snapshots) == 1:
            return Held(snapshot=snapshots.pop())
        parts = tuple((one, trees[tree]) for one, tree in sorted(near.items()))
        return Held(snapshot=at, parts=parts)

    def _holder_of(self, path: str, trees: Mapping[int, str]) -> str | None:
        """Return the snapshot that has a directory in which there is no product.

        Another program may have put files there.
        """
        for _, snapshot in sorted(trees.items(), reverse=True):
            if place_at(self._kept_session(snapshot), path) is not None:
                return snapshot
        return None

    def open(self, held: Held) -> icechunk.Session:
        """Return a session that reads what snapshots have."""
        if not held.parts:
            return self._kept_session(held.snapshot)
        snapshots = {one for _, one in held.parts}
        stores = {one: self._kept_session(one).store for one in sorted(snapshots)}
        parts = {path: stores[one] for path, one in held.parts}
        return JoinedSession(held.snapshot, parts)

    def trees(self, at: str) -> Mapping[int, str]:
        """Return the newest snapshot of each tree as of a publication."""
        return self._placings.trees(at)

    def reading_tree(self, snapshot: str) -> icechunk.Session:
        """Return a session that reads a snapshot: what is in its tree."""
        try:
            with panics_as_errors():
                session = self._repo.readonly_session(snapshot_id=snapshot)
                # Zarr takes a lost snapshot for an empty one.
                self._repo.lookup_snapshot(session.snapshot_id)
        except icechunk.IcechunkError as error:
            raise self._unreadable(snapshot, error) from error
        return session

    def _unreadable(
        self, snapshot: str, error: Exception | None = None
    ) -> DatastoreError:
        if when := self.catalogue.expired(snapshot):
            return DatastoreError(
                f"datastore {self.url}: snapshot {snapshot!r} expired on "
                f"{when:%Y-%m-%d}: no rule kept it"
            )
        return DatastoreError(
            f"datastore {self.url}: can't read snapshot {snapshot!r}: "
            f"{in_words(error) if error else 'it expired'}; "
            "ziggy doctor says what is damaged"
        )

    def _kept_session(self, snapshot: str) -> icechunk.Session:
        with self._sharing:
            session = self._shared.pop(snapshot, None) or self.reading_tree(snapshot)
            self._shared[snapshot] = session
            if len(self._shared) > _SESSIONS_KEPT:
                del self._shared[next(iter(self._shared))]
        return session

    def inspected(self) -> list[str]:
        """Return what the newest snapshots are made of, each as Icechunk's JSON."""
        with panics_as_errors():
            newest = self.trees(self.tip()).values()
            return [self._repo.inspect_snapshot(one) for one in newest]

    def paths(self, prefix: str = "", at: str | None = None) -> list[str]:
        """Return the paths of the products, in order.

        Parameters
        ----------
        prefix
            Only what is at this path or below; empty: all.
        at
            As of this publication; None: the newest one.
        """
        found = self._placings.near(prefix, at or self.tip())
        return sorted(
            (one for one in found if not prefix or f"{one}/".startswith(f"{prefix}/")),
            key=lambda one: one.split("/"),
        )

    def history(
        self, since: str | None = None, instance: int | None = None
    ) -> Iterator[Commit]:
        """Yield what was published, newest first, until the snapshot `since`.

        Steps on the way to a publication, in which products are missing, are left out.

        Parameters
        ----------
        since
            Where to stop; None: at the beginning.
        instance
            Only what this instance published; None: all.
        """
        for commit in self.ancestry():
            if commit.snapshot == since:
                return
            number = self.catalogue.number(commit.snapshot)
            if number is not None:
                yield from self.catalogue.commits(number, since, instance)
                return
            if instance in (None, commit.metadata.get("instance")):
                yield commit

    def ancestry(self, at: str | None = None) -> Iterator[Commit]:
        """Yield what was published, newest first, as the datastore itself has it.

        Parameters
        ----------
        at
            Where to begin; None: the newest publication.
        """
        return ancestry(self._repo, at or self.tip(), self._first)

    def digests(self, commit: Commit, before: str | None) -> Digests:
        """Return the digests of the snapshots and manifests that a publication added.

        Empty: one of them can't be read, or they lie in an object store.

        Parameters
        ----------
        commit
            The publication.
        before
            The one before it; None: it is the first.
        """
        parts = [replace(commit.parts.own, snapshot=commit.snapshot)]
        parts += [one for one in commit.parts.others if one.snapshot != one.start]
        names: list[str] = []
        listed: dict[str, frozenset[str]] = {}
        try:
            with panics_as_errors():
                for part in parts:
                    start = part.start or before
                    known = self._manifests_of(start) if start else frozenset()
                    steps = dict(self._steps_to(part.snapshot, start))
                    listed[part.snapshot] = steps[part.snapshot]
                    added = frozenset[str]().union(*steps.values()) - known
                    names += [f"{SNAPSHOTS}/{one}" for one in steps]
                    names += [f"{MANIFESTS}/{one}" for one in added]
        except (icechunk.IcechunkError, DatastoreError):
            return {}
        self._listed = listed
        return digests_of(self.url, names)

    def manifests_of(self, snapshot: str) -> frozenset[str]:
        """Return the names of the files that say where the chunks of a snapshot are.

        Raises
        ------
        DatastoreError
            If it can't be read.
        """
        try:
            with panics_as_errors():
                found = self._manifests_of(snapshot)
        except icechunk.IcechunkError as error:
            raise DatastoreError(
                f"datastore {self.url}: can't read {SNAPSHOTS}/{snapshot}: "
                f"{in_words(error)}"
            ) from error
        return frozenset(f"{MANIFESTS}/{one}" for one in found)

    def _steps_to(
        self, snapshot: str, before: str | None
    ) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield snapshots back to one, which is left out, with their manifests."""
        following: str | None = snapshot
        while following is not None and following != before:
            entry = self._repo.lookup_snapshot(following)
            yield following, frozenset(one.id for one in entry.manifests)
            following = entry.parent_id

    def _manifests_of(self, snapshot: str) -> frozenset[str]:
        """Return the manifests of a snapshot; those of the last publication are known."""
        known = self._listed.get(snapshot)
        return next(self._steps_to(snapshot, None))[1] if known is None else known

    def files_of(self, paths: Iterable[str], at: str) -> dict[str, list[str]]:
        """Return the names of the files that say what some products hold, by path.

        Parameters
        ----------
        paths
            The products.
        at
            As of this publication.

        Raises
        ------
        DatastoreError
            If a snapshot can't be read.
        """
        trees = self.trees(at)
        near = self._placings.near("", at) if len(trees) > 1 else {}
        by_snapshot: dict[str, set[str]] = {}
        for path in paths:
            snapshot = trees[near[path]] if path in near else at
            by_snapshot.setdefault(snapshot, set()).add(path)
        found: dict[str, list[str]] = {}
        for snapshot, some in by_snapshot.items():
            found |= self._files_in(some, snapshot)
        return found

    def _files_in(self, paths: AbstractSet[str], snapshot: str) -> dict[str, list[str]]:
        """Return the names of the files that say what products in a snapshot hold."""
        try:
            with panics_as_errors():
                nodes = json.loads(self._repo.inspect_snapshot(snapshot))["nodes"]
        except icechunk.IcechunkError as error:
            raise DatastoreError(
                f"datastore {self.url}: can't read snapshot {snapshot!r}: "
                f"{in_words(error)}"
            ) from error
        found = {path: {f"{SNAPSHOTS}/{snapshot}"} for path in paths}
        for node in nodes:
            inner = node["path"].strip("/")
            files = {
                f"{MANIFESTS}/{one['id']}" for one in node.get("manifest_refs", ())
            }
            for path in found.keys() & {inner, *above(inner)}:
                found[path] |= files
        return {path: sorted(files) for path, files in found.items()}

    def scaffold(self, name: str, paths: Iterable[str]) -> bytes:
        """Return a pickled fork in which products at `paths` can be allocated.

        Parameters
        ----------
        name
            Name of the branch that keeps the scaffold alive.
        paths
            Paths of products; the groups above them are made.
        """
        with self._translated():
            self.permit()
            self.drop_scaffold(name)
            self._repo.create_branch(name, self._first)
            session = self._repo.writable_session(name)
            require_groups(session, parents_of(paths))
            if session.has_uncommitted_changes:
                session.commit("Scaffold")
                session = self._repo.writable_session(name)
            return pickle.dumps(session.fork())

    def drop_scaffold(self, name: str) -> None:
        """Remove the branch of a scaffold that is no longer needed, if it is there."""
        if has_branch(self._repo, name):
            self._repo.delete_branch(name)

    @property
    def scaffolds(self) -> list[str]:
        """The names of all scaffolds that are kept."""
        branches = set(self._repo.list_branches()) - {MAIN, EMPTY}
        return sorted(
            one
            for one in branches
            if not one.startswith((_KEPT, _TREE, STAGING)) and not is_of_owner(one)
        )

    @property
    def owner(self) -> Owner | None:
        """The cluster that this datastore belongs to; None: nothing says so yet."""
        with self._translated():
            return owner_among(self._repo.list_branches())

    def own(self, owner: Owner) -> None:
        """Let the datastore say to which cluster it belongs."""
        with self._translated():
            self._repo.create_branch(owner.branch, self._first)

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever published here."""
        return self.tip() == self._first

    def has(self, snapshot: str) -> bool:
        """Tell whether a snapshot is in the history."""
        if snapshot == self.tip():
            return True
        if has_branch(self._repo, f"{_KEPT}{snapshot}"):
            return self._is_publication(snapshot)
        number = self.catalogue.number(self.tip())
        if number is not None:
            other = self.catalogue.number(snapshot)
            is_gone = self.catalogue.expired(snapshot) is not None
            return other is not None and other < number and not is_gone
        return any(commit.snapshot == snapshot for commit in self.history())

    def _is_publication(self, snapshot: str) -> bool:
        """Tell whether it is known what there was as of a snapshot."""
        try:
            return bool(self.trees(snapshot))
        except DatastoreError:
            return False

    def kept_aside(self) -> set[str]:
        """Return the snapshots that stay although no newer one leads to them."""
        branches = self._repo.list_branches()
        return {one.removeprefix(_KEPT) for one in branches if one.startswith(_KEPT)}

    def pinned(self) -> set[str]:
        """Return the snapshots that stay whatever expires.

        These are the first one, those of running work, and those that a restore put aside.
        """
        names = self._repo.list_branches()  # EMPTY names the first one
        branches = [one for one in names if not one.startswith((_KEPT, STAGING))]
        return {*(self._repo.lookup_branch(one) for one in branches), *self.put_aside()}

    def put_aside(self) -> set[str]:
        """Return the snapshots of states that a restore put aside."""
        tags = [self._repo.lookup_tag(one) for one in self._repo.list_tags()]
        return {snapshot for one in tags for snapshot in self.trees(one).values()}

    def expire(self, kept: Collection[str], cutoff: datetime) -> int:
        """Give up all of history but some snapshots; return how many bytes that freed.

        Parameters
        ----------
        kept
            The snapshots that stay; the newest one always does.
        cutoff
            What was written later stays, whatever it is of: nobody knows yet what
            running subtasks wrote, and a commit of theirs would be accepted without it.
        """
        with self._translated():
            self.permit()
            wanted = {f"{_KEPT}{one}": one for one in kept}
            branches = self._repo.list_branches()
            for name in wanted.keys() - branches:
                self._repo.create_branch(name, wanted[name])
            for name in branches:
                if name.startswith(f"{STAGING}."):
                    self._repo.delete_branch(name)
            set_branch(self._repo, STAGING, self.tip())
            newest = self._repo.lookup_snapshot(self.tip()).written_at
            self._repo.expire_snapshots(older_than=newest)
            for name in branches - wanted.keys():
                if name.startswith(_KEPT):
                    self._repo.delete_branch(name)
            self._placings.forget()
            return self._repo.garbage_collect(cutoff).bytes_deleted

    def go_forward(self, snapshot: str) -> None:
        """Make a snapshot the newest one that was, before `go_back`."""
        self._repo.reset_branch(MAIN, snapshot)
        self._placings.forget()
        self._name_trees(snapshot)

    def go_back(self, snapshot: str, keep_as: str) -> None:
        """Make an older snapshot the newest one.

        Parameters
        ----------
        snapshot
            A snapshot of the history.
        keep_as
            Name of a tag that keeps what was the newest one.

        Raises
        ------
        DatastoreError
            If the snapshot is not in the history; nothing is changed then.
        """
        if snapshot == self.tip():
            return
        if not self.has(snapshot):
            raise DatastoreError(
                f"datastore {self.url}: snapshot {snapshot!r} is not in its history"
            )
        self._repo.create_tag(keep_as, self.tip())
        for one in self.trees(self.tip()).values():
            set_branch(self._repo, f"{_KEPT}{one}", one)
        self._repo.reset_branch(MAIN, snapshot)
        self._placings.forget()
        self._name_trees(snapshot)

    def publish(
        self,
        publications: Sequence[Publication],
        message: str,
        metadata: Mapping[str, Any],
    ) -> str:
        """Publish products, all in one step, and return the new snapshot's id.

        Raises
        ------
        DatastoreError
            If the datastore can't be written; readers see what they saw before.
        """
        with self._translated():
            writing = self.writing()
            by_tree: dict[int, list[tuple[Publication, ForkSession | None]]] = {}
            for one in publications:
                tree = writing.draft(one.path).tree
                by_tree.setdefault(tree, []).append(
                    (one, self._merged(one.change_sets))
                )
            for tree, products in by_tree.items():
                for one, _ in products:
                    self._clear_below(writing, one, tree)
                draft = writing.draft(products[0][0].path)
                self._require_own_files(writing, products, tree)
                if make_room(draft.session, products):
                    writing.step(draft)
                fill(draft.session, products)
            return self._finish(writing, message, metadata)

    def _require_own_files(
        self, writing: Writing, products: Products, tree: int
    ) -> None:
        """Refuse files in the directory of another product that lies in another tree.

        Raises
        ------
        DatastoreError
            With the first of them.
        """
        for one, fork in products:
            near = self._placings.near(one.path, writing.tip) if one.is_files else {}
            if fork is None or set(near.values()) <= {tree}:
                continue
            for path in files_in(fork):
                inner = next((p for p in above(path) if p in near), one.path)
                if near.get(inner, tree) != tree:
                    raise DatastoreError(
                        f"datastore {self.url}: '{path}' of '{one.path}' is in the "
                        f"directory of the product '{inner}'; give one of them another "
                        "location"
                    )

    def _clear_below(self, writing: Writing, product: Publication, tree: int) -> None:
        """Remove what lies below a product that takes nothing below it, in other trees."""
        near = self._placings.near(product.path, writing.tip)
        others = [p for p in below(product.path, near) if near[p] != tree]
        if product.is_files or not others:
            return
        session = writing.session(product.path)
        if product.is_absent and is_of_another(session, product):
            return
        for path in others:
            root = zarr.open_group(writing.session(path).store, mode="a")
            if path in root:
                del root[path]

    @cached_property
    def _first(self) -> str:
        """The empty snapshot, with which history begins."""
        if has_branch(self._repo, EMPTY):
            return str(self._repo.lookup_branch(EMPTY))
        *_, first = self._repo.ancestry(branch=MAIN)
        return str(first.id)

    @cached_property
    def _place(self) -> bytes:
        """What forks of this datastore carry to say where it is."""
        return place_of(self._repo.writable_session(MAIN).fork())

    def adopt(self, change_set: bytes) -> bytes:
        """Return a change set that is on record, bound to this datastore.

        It may have been recorded by another machine, in another directory, or for the
        cluster of which this one is a copy.

        Raises
        ------
        DatastoreError
            If it is not the change set of a fork.
        """
        return pickle.dumps(open_change_set(change_set, self._place))

    def why_unusable(self, change_sets: Sequence[bytes]) -> str:
        """Return why some change sets of a product can't be published here, or "".

        That is so if this datastore lacks data of theirs.
        """
        try:
            fork = self._merged(change_sets)
            missing = missing_chunks(fork) if fork is not None else []
        except (DatastoreError, icechunk.IcechunkError, ValueError) as error:
            return str(error)
        if not missing:
            return ""
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"datastore {self.url} does not have the chunk {missing[0]!r}{more}"

    def _merged(self, change_sets: Sequence[bytes]) -> ForkSession | None:
        """Return one fork that has everything of several, or None if there is none."""
        if not change_sets:
            return None
        first, *others = (open_change_set(one, self._place) for one in change_sets)
        if others:
            first.merge(*others)
        return first

    def fence(self, message: str) -> None:
        """Move history on, so that nobody else can still publish what they began."""
        with self._translated():
            writing = self.writing()
            root = zarr.open_group(writing.newest().session.store, mode="a")
            root.attrs["ziggy_fence"] = message
            self._finish(writing, message, {})

    def writing(self) -> Writing:
        """Return what the datastore is changed with.

        For the one process that publishes. End with `finish_writing`; what is just
        dropped leaves nothing behind.
        """
        tip = self.tip()
        self.permit()
        if tip != self._named:
            # Who published it may have been killed before, or another program was here.
            self._name_trees(tip)
            self._named = tip
        return Writing(
            self._repo,
            tip,
            trees=self.trees(tip),
            empty=self._first,
            held=lambda path: self._placings.near(path, tip),
            nodes=self._nodes_of,
        )

    def finish_writing(
        self, writing: Writing, message: str, metadata: Mapping[str, Any]
    ) -> str:
        """Publish what was written."""
        with self._translated():
            return self._finish(writing, message, metadata)

    @property
    def is_in_pieces(self) -> bool:
        """Whether only several publications together say what the newest state is."""
        newest = next(self.ancestry())
        return len(self.trees(newest.snapshot)) > 1 and not newest.parts.is_whole

    def keep_whole(self, message: str) -> None:
        """Publish where all products are, so that nobody needs to know what was before."""
        with self._translated():
            writing = self.writing()
            near = self._placings.near("", writing.tip)
            trees = self.trees(writing.tip)
            own = writing.newest().tree
            others = tuple(
                Part(
                    tree=tree,
                    snapshot=snapshot,
                    start=snapshot,
                    paths=frozenset(p for p, one in near.items() if one == tree),
                )
                for tree, snapshot in trees.items()
                if tree != own
            )
            sessions = {n: self.reading_tree(trees[n]) for n in set(near.values())}
            places = {path: place_at(sessions[n], path) for path, n in near.items()}
            self._finish(writing, message, {}, places=places, others=others)

    def _nodes_of(self, snapshot: str) -> int:
        """Return the number of groups and arrays of a snapshot."""
        said = self._repo.lookup_snapshot(snapshot).metadata.get(NODES)
        if said is None:  # by an earlier version
            said = len(json.loads(self._repo.inspect_snapshot(snapshot))["nodes"])
        return int(said)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in one line why the datastore can't be written."""
        try:
            yield
        except icechunk.IcechunkError as error:
            reason = in_words(error)
            if "timestamp ordering" in reason:
                reason = (
                    "the clock of this machine is behind the newest snapshot; set it "
                    f"right ({reason})"
                )
            raise DatastoreError(
                f"datastore {self.url}: can't be written: {reason}"
            ) from error

    def _finish(
        self,
        writing: Writing,
        message: str,
        metadata: Mapping[str, Any],
        *,
        places: Places | None = None,
        others: tuple[Part, ...] = (),
    ) -> str:
        """Commit what was written, and let `main` name it.

        Parameters
        ----------
        writing
            What was written.
        message, metadata
            What the publication says of itself.
        places, others
            All that there is, and the other trees that it is in; None: what was written
            counts.
        """
        tip = writing.tip
        *drafts, last = writing.finished()
        count = len(self.trees(tip).keys() | {one.tree for one in (*drafts, last)})
        is_whole = places is not None
        if places is None:
            places = {}
            for draft in drafts:
                found = draft.places
                others += (_committed(draft, tip, message, found, count),)
                places = _joined(places, found)
            places = _joined(places, last.places)
        if not last.session.has_uncommitted_changes:
            # A task of which nothing came is complete by a commit like any other.
            root = zarr.open_group(last.session.store, mode="a")
            root.attrs["ziggy_published_nothing"] = f"{message}, after {tip}"
        own = Part(tree=last.tree, snapshot="", start=_start_said(last.start, tip))
        parts = Parts(own=own, others=others, is_whole=is_whole, count=count)
        said = {
            **metadata,
            PLACES: places_to_json(places),
            BEFORE: [tip, self.catalogue.root(tip)],
            NODES: last.nodes_now,
            **parts_to_metadata(parts),
        }
        snapshot = last.session.commit(message, metadata=said)
        commit = Commit(
            snapshot=snapshot,
            time=self._repo.lookup_snapshot(snapshot).written_at,
            message=message,
            metadata=metadata,
            places=places,
            parts=parts,
        )
        self._move_main(tip, commit)
        return snapshot

    def _move_main(self, tip: str, commit: Commit) -> None:
        """Let `main` name a publication, and branches what else is newest."""
        own = commit.parts.own
        is_of_tree_of_tip = not own.start
        self._named = ""
        if not is_of_tree_of_tip:  # nothing may lead to it any more
            (tree,) = (n for n, one in self.trees(tip).items() if one == tip)
            set_branch(self._repo, f"{_TREE}{tree}", tip)
        self.to_disk()
        self._repo.reset_branch(MAIN, commit.snapshot, from_snapshot_id=tip)
        self.to_disk()
        self._placings.published(tip, commit)
        if commit.parts.others or not is_of_tree_of_tip:
            others = {one.tree for one in commit.parts.others}
            self._name_trees(commit.snapshot, {*others, own.tree})
        self._named = commit.snapshot

    def _name_trees(self, at: str, changed: Collection[int] | None = None) -> None:
        """Let branches name the newest snapshots of trees, but for that which `main` names.

        Parameters
        ----------
        at
            The newest publication.
        changed
            The trees that it changed; None: all that there are.
        """
        trees = self.trees(at)
        if changed is None:
            changed = trees.keys()
            known = {f"{_TREE}{tree}" for tree in trees}
            for name in self._repo.list_branches() - known:
                if name.startswith(_TREE):  # of what was taken back
                    self._repo.delete_branch(name)
        for tree in changed:
            name = f"{_TREE}{tree}"
            if trees[tree] != at:
                if not self._is_named(name, trees[tree]):
                    set_branch(self._repo, name, trees[tree])
            elif has_branch(self._repo, name):
                self._repo.delete_branch(name)

    def _is_named(self, name: str, snapshot: str) -> bool:
        if not has_branch(self._repo, name):
            return False
        return bool(self._repo.lookup_branch(name) == snapshot)

    def to_disk(self) -> None:
        """Have the disk take what was written so far, where the datastore is on one.

        Icechunk leaves that to the kernel. Done before `main` names a snapshot, and
        again before anybody records that it does: after a power cut, neither names what
        is not there.
        """
        if urlsplit(self.url).scheme:
            return
        try:
            sync_file_system(Path(self.url))
        except OSError as error:
            raise DatastoreError(
                f"datastore {self.url}: the disk did not take what was written: {error}"
            ) from error

    def keep_empty_snapshot(self) -> None:
        """Give the snapshot from which scaffolds start a branch, once."""
        if not has_branch(self._repo, EMPTY):
            self._repo.create_branch(EMPTY, self._first)


def _committed(
    draft: Draft, tip: str, message: str, paths: Iterable[str], count: int
) -> Part:
    """Commit what goes to a tree beside that of the publication itself."""
    snapshot = draft.session.snapshot_id
    if draft.session.has_uncommitted_changes:
        said = {NODES: draft.nodes_now, **parts_to_metadata(Parts(count=count))}
        snapshot = draft.session.commit(message, metadata=said)
    return Part(
        tree=draft.tree,
        snapshot=snapshot,
        start=_start_said(draft.start, tip),
        paths=frozenset(paths),
    )


def _joined(places: Places, others: Places) -> Places:
    """Return what two trees have; a product counts more than a group at its path."""
    products = {path: one for path, one in places.items() if one is None or one.kind}
    return {**places, **others, **products}


def _start_said(start: str, tip: str) -> str:
    return "" if start == tip else start


def create_repository(url: str) -> Repository:
    """Create a datastore; if there is one already, open that.

    Raises
    ------
    DatastoreError
        If the place can't be written to.
    """
    if urlsplit(url).scheme == MEMORY:
        url = memory_directory(url)
    try:
        require_regular_files(url, CHUNKS)
        storage = storage_at(url, create=True)
        if not icechunk.Repository.exists(storage):
            _require_nothing(url)
        repository = Repository(
            url, icechunk.Repository.open_or_create(storage, settings_at(url))
        )
        repository.keep_empty_snapshot()
    except (icechunk.IcechunkError, OSError, ValueError) as error:
        raise DatastoreError(
            f"datastore {url}: can't be created: {in_words(error)}"
        ) from error
    return repository


def open_repository(url: str) -> Repository:
    """Open an existing datastore.

    Raises
    ------
    DatastoreError
        If there is none, or it can't be read.
    """
    if urlsplit(url).scheme == MEMORY:
        url = memory_directory(url)
    missing = DatastoreError(
        f"datastore {url}: there is none; make it with: ziggy cluster init FILE"
    )
    if not urlsplit(url).scheme and not (Path(url) / "snapshots").exists():
        raise missing
    try:
        require_regular_files(url, CHUNKS)
        storage = storage_at(url, create=False)
        if not icechunk.Repository.exists(storage):
            _require_nothing(url)
            raise missing
        repo = icechunk.Repository.open(storage, settings_at(url))
        return Repository(url, repo.reopen(settings_at(url, _newest(repo))))
    except (icechunk.IcechunkError, OSError, ValueError) as error:
        raise DatastoreError(
            f"datastore {url}: can't be opened: {in_words(error)}"
        ) from error


def _require_nothing(url: str) -> None:
    """Refuse a directory with snapshots of which nothing says which is the newest."""
    directory = Path(url) / SNAPSHOTS
    if urlsplit(url).scheme or not directory.is_dir():
        return
    if any(directory.iterdir()):
        raise DatastoreError(
            f"datastore {url}: has snapshots, but the file that says which is the newest is "
            f"lost or damaged; put what is missing beside {directory} back from a copy of "
            "the datastore; if it was being made and nothing is stored there, remove it"
        )


def _newest(repo: icechunk.Repository) -> str:
    """Return the newest snapshot; empty: it can't be told, which whoever reads it will hear."""
    try:
        with panics_as_errors():
            return repo.lookup_branch(MAIN)
    except (icechunk.IcechunkError, DatastoreError):
        return ""


@lru_cache(maxsize=16)
def shared_repository(url: str) -> Repository:
    """Return this process's open repository at `url`; for workers."""
    return open_repository(url)


def _permitted() -> None:
    """Permit everything: nobody else is known to write."""
