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
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
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
from ziggy_dask.datastore.owner import Owner, is_of_owner, owner_among
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.places import memory_directory, settings_at, storage_at
from ziggy_dask.datastore.publication import (
    Publication,
    files_in,
    is_of_another,
    parents_of,
    require_groups,
    takes_files,
)
from ziggy_dask.datastore.store_words import in_words
from ziggy_dask.datastore.tree import (
    ATTRIBUTE,
    changed_in,
    places_from_json,
    places_to_json,
    touched_places,
    walk,
)
from ziggy_dask.errors import DatastoreError

MAIN = "main"
STAGING = "staging"
EMPTY = "empty"
SNAPSHOTS = "snapshots"
"""Directory of the files that say which products there are."""
MANIFESTS = "manifests"
"""Directory of the files that say where their chunks are."""
CHUNKS = "chunks"
"""Directory of the files that have the values."""

PLACES = "places"
"""Name under which the metadata of a commit say what is where it changed something."""
BEFORE = "before"
"""Name under which they have snapshot and root digest of the publication before."""
_KEPT = "kept."
"""Begin of the names of branches that keep snapshots to which `main` does not lead."""
_STEP = "Make room for new products"
"""Message of snapshots that are only steps on the way to a publication."""
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
        self._listed: tuple[str, frozenset[str]] = ("", frozenset())
        self._shared: tuple[str, icechunk.Session | None] = ("", None)
        """The snapshot read last: a session of its own would read it from the disk again."""

    def tip(self) -> str:
        """Return the id of the newest published snapshot."""
        return self._repo.lookup_branch(MAIN)

    def reading(self, snapshot: str | None = None) -> icechunk.Session:
        """Return a session that reads a snapshot, by default the newest one."""
        try:
            with panics_as_errors():
                if snapshot is None:
                    session = self._repo.readonly_session(MAIN)
                else:
                    session = self._repo.readonly_session(snapshot_id=snapshot)
                # Zarr takes a lost snapshot for an empty one.
                self._repo.lookup_snapshot(session.snapshot_id)
        except icechunk.IcechunkError as error:
            if snapshot and (when := self.catalogue.expired(snapshot)):
                raise DatastoreError(
                    f"datastore {self.url}: snapshot {snapshot!r} expired on "
                    f"{when:%Y-%m-%d}: no rule kept it"
                ) from error
            what = f"snapshot {snapshot!r}" if snapshot else "the newest snapshot"
            raise DatastoreError(
                f"datastore {self.url}: can't read {what}: {in_words(error)}; "
                "ziggy doctor says what is damaged"
            ) from error
        return session

    def inspected(self) -> str:
        """Return what the newest snapshot is made of, as Icechunk's JSON."""
        with panics_as_errors():
            return self._repo.inspect_snapshot(self.tip())

    def session_of(self, path: str, at: str | None = None) -> icechunk.Session:
        """Return a session in which the product at a path can be read.

        Parameters
        ----------
        path
            The product.
        at
            As of this snapshot; None: the newest one.
        """
        del path  # one snapshot holds all products
        if at is None:
            return self.reading()
        known, session = self._shared
        if session is None or known != at:
            session = self.reading(at)
            self._shared = at, session
        return session

    def paths(self, prefix: str = "", at: str | None = None) -> list[str]:
        """Return the paths of the products, in order.

        Parameters
        ----------
        prefix
            Only what is at this path or below; empty: all.
        at
            As of this snapshot; None: the newest one.
        """
        snapshot = at or self.tip()
        number = self.catalogue.number(snapshot)
        found = None
        if number is not None:
            found = self.catalogue.products(number, prefix)
        if found is None:
            found = [p for p, one in walk(self.reading(snapshot)) if one.kind]
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

    def ancestry(self) -> Iterator[Commit]:
        """Yield what was published, newest first, as the datastore itself has it."""
        first = self._repo.lookup_branch(EMPTY)
        for entry in self._repo.ancestry(branch=MAIN):
            if entry.message == _STEP and not entry.metadata:
                continue
            metadata = dict(entry.metadata)
            places = metadata.pop(PLACES, None if entry.parent_id else {})
            if entry.parent_id == first:
                places = None  # what was before it may have expired
            snapshot, root = metadata.pop(BEFORE, ("", ""))
            yield Commit(
                snapshot=entry.id,
                time=entry.written_at,
                message=entry.message,
                metadata=metadata,
                places=None if places is None else places_from_json(places),
                before=(snapshot, root),
            )

    def digests(self, snapshot: str, before: str | None) -> Digests:
        """Return the digests of the snapshots and manifests that a publication added.

        Empty: one of them can't be read, or they lie in an object store.

        Parameters
        ----------
        snapshot
            The publication.
        before
            The one before it; None: it is the first.
        """
        try:
            with panics_as_errors():
                known = self._manifests_of(before) if before else frozenset()
                steps = dict(self._steps_to(snapshot, before))
        except (icechunk.IcechunkError, DatastoreError):
            return {}
        self._listed = snapshot, steps[snapshot]
        added = frozenset[str]().union(*steps.values()) - known
        return digests_of(
            self.url,
            [
                *(f"{SNAPSHOTS}/{one}" for one in steps),
                *(f"{MANIFESTS}/{one}" for one in added),
            ],
        )

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
        if self._listed[0] == snapshot:
            return self._listed[1]
        return next(self._steps_to(snapshot, None))[1]

    def files_of(self, paths: Iterable[str], at: str) -> dict[str, list[str]]:
        """Return the names of the files that say what some products hold, by path.

        Parameters
        ----------
        paths
            The products.
        at
            As of this snapshot.

        Raises
        ------
        DatastoreError
            If the snapshot can't be read.
        """
        try:
            with panics_as_errors():
                nodes = json.loads(self._repo.inspect_snapshot(at))["nodes"]
        except icechunk.IcechunkError as error:
            raise DatastoreError(
                f"datastore {self.url}: can't read snapshot {at!r}: {in_words(error)}"
            ) from error
        found = {path: {f"{SNAPSHOTS}/{at}"} for path in paths}
        for node in nodes:
            parts = node["path"].strip("/").split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            files = {
                f"{MANIFESTS}/{one['id']}" for one in node.get("manifest_refs", ())
            }
            for path in found.keys() & set(above):
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
            self._repo.create_branch(name, self._repo.lookup_branch(EMPTY))
            session = self._repo.writable_session(name)
            require_groups(session, parents_of(paths))
            if session.has_uncommitted_changes:
                session.commit("Scaffold")
                session = self._repo.writable_session(name)
            return pickle.dumps(session.fork())

    def drop_scaffold(self, name: str) -> None:
        """Remove the branch of a scaffold that is no longer needed, if it is there."""
        if name in self._repo.list_branches():
            self._repo.delete_branch(name)

    @property
    def scaffolds(self) -> list[str]:
        """The names of all scaffolds that are kept."""
        branches = set(self._repo.list_branches()) - {MAIN, STAGING, EMPTY}
        return sorted(
            one
            for one in branches
            if not one.startswith(_KEPT) and not is_of_owner(one)
        )

    @property
    def owner(self) -> Owner | None:
        """The cluster that this datastore belongs to; None: nothing says so yet."""
        with self._translated():
            return owner_among(self._repo.list_branches())

    def own(self, owner: Owner) -> None:
        """Let the datastore say to which cluster it belongs."""
        with self._translated():
            self._repo.create_branch(owner.branch, self._repo.lookup_branch(EMPTY))

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever published here."""
        return self.tip() == self._repo.lookup_branch(EMPTY)

    def has(self, snapshot: str) -> bool:
        """Tell whether a snapshot is in the history."""
        if snapshot == self.tip() or snapshot in self.kept_aside():
            return True
        number = self.catalogue.number(self.tip())
        if number is not None:
            other = self.catalogue.number(snapshot)
            is_gone = self.catalogue.expired(snapshot) is not None
            return other is not None and other < number and not is_gone
        return any(commit.snapshot == snapshot for commit in self.history())

    def kept_aside(self) -> set[str]:
        """Return the snapshots that stay although what was after them expired."""
        branches = self._repo.list_branches()
        return {one.removeprefix(_KEPT) for one in branches if one.startswith(_KEPT)}

    def pinned(self) -> set[str]:
        """Return the snapshots that stay whatever expires.

        These are the first one, those of running work, and those that a restore put aside.
        """
        names = self._repo.list_branches() - {STAGING}  # EMPTY names the first one
        branches = [one for one in names if not one.startswith(_KEPT)]
        return {
            *(self._repo.lookup_branch(one) for one in branches),
            *(self._repo.lookup_tag(one) for one in self._repo.list_tags()),
        }

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
            self._reset_staging(self.tip())
            newest = self._repo.lookup_snapshot(self.tip()).written_at
            self._repo.expire_snapshots(older_than=newest)
            for name in branches - wanted.keys():
                if name.startswith(_KEPT):
                    self._repo.delete_branch(name)
            return self._repo.garbage_collect(cutoff).bytes_deleted

    def go_forward(self, snapshot: str) -> None:
        """Make a snapshot the newest one that was, before `go_back`."""
        self._repo.reset_branch(MAIN, snapshot)

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
        self._repo.reset_branch(MAIN, snapshot)

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
            merged = [self._merged(one.change_sets) for one in publications]
            tip, session, changed = self._stage(
                list(zip(publications, merged, strict=True))
            )
            for one, fork in zip(publications, merged, strict=True):
                if one.is_absent:
                    continue
                if fork is not None:
                    session.merge(fork)
                group = zarr.open_group(session.store, path=one.path, mode="a")
                group.attrs[ATTRIBUTE] = dict(one.attributes)
            return self._move_main(tip, session, message, metadata, changed)

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
            tip, session = self.writing()
            zarr.open_group(session.store, mode="a").attrs["ziggy_fence"] = message
            self._move_main(tip, session, message, {})

    def writing(self) -> tuple[str, icechunk.Session]:
        """Return the newest snapshot's id and a session to change it directly.

        For the one process that publishes. End with `finish_writing`; a session
        that is just dropped leaves nothing behind.
        """
        tip = self._permitted_tip()
        return tip, self._repo.writable_session(STAGING)

    def finish_writing(
        self,
        tip: str,
        session: icechunk.Session,
        message: str,
        metadata: Mapping[str, Any],
    ) -> str:
        """Publish what was changed in a session of `writing`."""
        with self._translated():
            return self._move_main(tip, session, message, metadata)

    def _stage(
        self, products: Sequence[tuple[Publication, ForkSession | None]]
    ) -> tuple[str, icechunk.Session, set[str]]:
        """Clear the ground for products on the staging branch.

        Returns
        -------
        str, Session, set
            The tip of `main`, a session to merge forks into, and what was removed before:
            that takes a commit of its own, which is made only if something is in the way.
        """
        tip = self._permitted_tip()
        session = self._repo.writable_session(STAGING)
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
        if not in_the_way:
            return tip, session, set()
        changed = changed_in(session)
        session.commit(_STEP)
        return tip, self._repo.writable_session(STAGING), changed

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

    def _permitted_tip(self) -> str:
        """Return the newest snapshot, from which staging now starts, if we may."""
        tip = self.tip()
        self.permit()
        self._reset_staging(tip)
        return tip

    def _reset_staging(self, tip: str) -> None:
        if STAGING in self._repo.list_branches():
            self._repo.reset_branch(STAGING, tip)
        else:
            self._repo.create_branch(STAGING, tip)

    def _move_main(
        self,
        tip: str,
        session: icechunk.Session,
        message: str,
        metadata: Mapping[str, Any],
        changed: AbstractSet[str] = frozenset(),
    ) -> str:
        """Commit what is in a session of staging, and let `main` name it.

        The commit says what is now where something changed, in it or in the step before it.
        """
        places = touched_places(session, changed | changed_in(session))
        if not session.has_uncommitted_changes:
            # A task of which nothing came is complete by a commit like any other.
            root = zarr.open_group(session.store, mode="a")
            root.attrs["ziggy_published_nothing"] = message
        said = {**metadata, PLACES: places_to_json(places)}
        if root_before := self.catalogue.root(tip):
            said[BEFORE] = [tip, root_before]
        snapshot = session.commit(message, metadata=said)
        self._to_disk()
        self._repo.reset_branch(MAIN, snapshot, from_snapshot_id=tip)
        self._to_disk()
        return snapshot

    def _to_disk(self) -> None:
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
        if EMPTY not in self._repo.list_branches():
            *_, first = self._repo.ancestry(branch=MAIN)
            self._repo.create_branch(EMPTY, first.id)


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
        storage = storage_at(url, create=True)
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
        storage = storage_at(url, create=False)
        if not icechunk.Repository.exists(storage):
            raise missing
        repo = icechunk.Repository.open(storage, settings_at(url))
        return Repository(url, repo.reopen(settings_at(url, _newest(repo))))
    except (icechunk.IcechunkError, OSError, ValueError) as error:
        raise DatastoreError(
            f"datastore {url}: can't be opened: {in_words(error)}"
        ) from error


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
