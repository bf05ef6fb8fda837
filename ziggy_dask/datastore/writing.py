"""What is being written: a session for each tree that a publication goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import icechunk

from ziggy_dask.datastore.tree import Places, changed_in, touched_places
from ziggy_dask.datastore.trees import FULL, home_of

STAGING = "staging"
"""Name of the branch for what is written, and begin of the names of others."""
STEP = "Make room for new products"
"""Message of snapshots that are only steps on the way to a publication."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """What is being written to a tree."""

    tree: int
    """Number of the tree."""
    start: str
    """The snapshot that it is made from."""
    branch: str
    """Branch that it is written on."""
    session: icechunk.Session
    """Writes it."""
    nodes: int
    """Groups and arrays that the tree had before what is in the session."""
    changed: set[str] = field(default_factory=set)
    """Paths of groups that steps before the session changed."""

    @property
    def nodes_now(self) -> int:
        """Groups and arrays of the tree with what is in the session."""
        status = self.session.status()
        new = len(status.new_groups) + len(status.new_arrays)
        gone = len(status.deleted_groups) + len(status.deleted_arrays)
        return self.nodes + new - gone

    @property
    def is_changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.changed) or self.session.has_uncommitted_changes

    @property
    def places(self) -> Places:
        """What is now at the places that it changes."""
        return touched_places(self.session, self.changed | changed_in(self.session))


class Writing:
    """What is being written; a publication when it is finished, nothing if it is dropped.

    Parameters
    ----------
    repo
        The datastore.
    tip
        The newest publication, after which this one comes.
    trees
        Newest snapshots of the trees.
    empty
        The snapshot from which trees begin.
    held
        Returns the trees of the products at, above and below a path.
    nodes
        Returns the number of groups and arrays of a snapshot.
    """

    def __init__(
        self,
        repo: icechunk.Repository,
        tip: str,
        *,
        trees: Mapping[int, str],
        empty: str,
        held: Callable[[str], Mapping[str, int]],
        nodes: Callable[[str], int],
    ) -> None:
        self._repo = repo
        self.tip = tip
        self._trees = trees
        self._empty = empty
        self._held = held
        self._nodes = nodes
        self._drafts: dict[int, Draft] = {}
        self._newest: int | None = None

    def session(self, path: str) -> icechunk.Session:
        """Return the session in which something at a path is to be written."""
        return self.draft(path).session

    def draft(self, path: str) -> Draft:
        """Return what something at a path is written with."""
        home = home_of(path, self._held(path))
        return self.newest() if home is None else self._opened(home, self._trees[home])

    def newest(self) -> Draft:
        """Return what new products are written with."""
        if self._newest is not None:
            return self._drafts[self._newest]
        tree = max(self._trees)
        start = self._trees[tree]
        if self._nodes(start) >= FULL:
            tree, start = tree + 1, self._empty
        self._newest = tree
        return self._opened(tree, start)

    def step(self, draft: Draft) -> None:
        """Commit what is in a draft: what it removed is not in the way any more."""
        draft.changed |= changed_in(draft.session)
        draft.nodes = draft.nodes_now
        draft.session.commit(STEP)
        draft.session = self._repo.writable_session(draft.branch)

    def finished(self) -> list[Draft]:
        """Return what was written, the newest tree last."""
        drafts = [one for one in self._drafts.values() if one.is_changed]
        return sorted(drafts, key=lambda one: one.tree) or [self.newest()]

    def _opened(self, tree: int, start: str) -> Draft:
        if tree not in self._drafts:
            count = len(self._drafts)
            branch = f"{STAGING}.{count}" if count else STAGING
            set_branch(self._repo, branch, start)
            self._drafts[tree] = Draft(
                tree=tree,
                start=start,
                branch=branch,
                session=self._repo.writable_session(branch),
                nodes=0 if start == self._empty else self._nodes(start),
            )
        return self._drafts[tree]


def set_branch(repo: icechunk.Repository, name: str, snapshot: str) -> None:
    """Let a branch name a snapshot, whether it is there or not."""
    if has_branch(repo, name):
        repo.reset_branch(name, snapshot)
    else:
        repo.create_branch(name, snapshot)


def has_branch(repo: icechunk.Repository, name: str) -> bool:
    """Tell whether there is a branch of a name, without a list of all."""
    try:
        repo.lookup_branch(name)
    except icechunk.IcechunkError as error:
        if "ref not found" in str(error):
            return False
        raise
    return True
