"""The history of a datastore, as its own commits tell it.

Each publication names the one before it. Icechunk's own ancestry stays within a tree; it is
followed where a commit names nothing, since an earlier version or another program made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import icechunk

from ziggy_dask.datastore.catalogue import Commit
from ziggy_dask.datastore.tree import places_from_json
from ziggy_dask.datastore.trees import Parts, parts_from_metadata
from ziggy_dask.datastore.writing import STEP

PLACES = "places"
"""Name under which the metadata of a commit say what is where it changed something."""
BEFORE = "before"
"""Name under which they have snapshot and root digest of the publication before."""


def ancestry(repo: icechunk.Repository, at: str, first: str) -> Iterator[Commit]:
    """Yield publications, newest first.

    Parameters
    ----------
    repo
        The datastore.
    at
        Where to begin.
    first
        The empty snapshot, with which history begins.
    """
    following: str | None = at
    while following is not None:
        entry = repo.lookup_snapshot(following)
        commit, is_cut = _commit(entry, first)
        if PLACES not in entry.metadata and entry.id != first:
            commit = _in_tree_of_parent(repo, entry, commit)
        yield commit
        following = commit.before[0] or parent_of(repo, entry)
        is_end = commit.parts.is_whole and not _leads_to(repo, following, first)
        if is_cut or is_end:
            following = first


def parent_of(repo: icechunk.Repository, entry: icechunk.SnapshotInfo) -> str | None:
    """Return the snapshot that one was made from, passing over steps; None: it is the first."""
    parent = entry.parent_id
    while parent is not None:
        found = repo.lookup_snapshot(parent)
        if found.message != STEP or found.metadata:
            return str(found.id)
        parent = found.parent_id
    return None


def _commit(entry: icechunk.SnapshotInfo, first: str) -> tuple[Commit, bool]:
    """Return what a commit says, and whether what was before it may have expired.

    Icechunk makes the first snapshot the parent of what is left of a history; such a commit
    does not tell what else there is.
    """
    metadata = dict(entry.metadata)
    places = metadata.pop(PLACES, None if entry.parent_id else {})
    before, root = metadata.pop(BEFORE, ("", ""))
    parts = parts_from_metadata(metadata)
    is_cut = (
        entry.parent_id == first != before
        and parts.own.start != first
        and not parts.is_whole
    )
    commit = Commit(
        snapshot=entry.id,
        time=entry.written_at,
        message=entry.message,
        metadata=metadata,
        places=None if places is None or is_cut else places_from_json(places),
        before=(before, root),
        parts=parts,
    )
    return commit, is_cut


def _in_tree_of_parent(
    repo: icechunk.Repository, entry: icechunk.SnapshotInfo, commit: Commit
) -> Commit:
    """Return a commit of a program that knows nothing of trees with that which it is in."""
    parent = parent_of(repo, entry)
    if parent is None:
        return commit
    own = parts_from_metadata(dict(repo.lookup_snapshot(parent).metadata)).own
    return replace(commit, parts=Parts(own=replace(own, start="")))


def _leads_to(repo: icechunk.Repository, snapshot: str | None, first: str) -> bool:
    """Tell whether all publications up to one are there."""
    try:
        while snapshot is not None and snapshot != first:
            entry = repo.lookup_snapshot(snapshot)
            commit, is_cut = _commit(entry, first)
            for part in commit.parts.others:
                repo.lookup_snapshot(part.snapshot)
            if is_cut and commit.parts.count > 1:
                return False
            snapshot = commit.before[0] or parent_of(repo, entry)
    except icechunk.IcechunkError:
        return False
    return snapshot is not None
