"""The catalogue: what the datastore published, and what it holds, as rows.

The datastore counts. The catalogue repeats what its history says, so that nobody has to walk
through that, or through the tree of all products. Publications have numbers, from 1. One that
main does not lead to, or that is not in the catalogue yet, is looked up in the datastore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from ziggy_dask.datastore import Commit, Place, Places, Repository, walk
from ziggy_dask.datastore.digests import Digests, root_of
from ziggy_dask.datastore.tree import CLOSED
from ziggy_dask.datastore.trees import Parts, above
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.expiry import UNSETTLED, expired_at
from ziggy_dask.records.states import TaskStep
from ziggy_dask.records.tables import (
    InstanceRow,
    PipelineRow,
    PlaceRow,
    PublicationRow,
    SettledRow,
    StoredFileRow,
    TaskRow,
    TreeRow,
    VersionRow,
)

_AT_FIRST = 32
"""So many publications are read first, since most callers need a few; then more and more."""
_AT_MOST = 4096
"""So many are read at a time."""
_GONE = Place()
"""What is left of a product that was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentPlace:
    """A product or directory that the newest publication has."""

    path: str
    """Where it is."""
    kind: str
    """How the product is stored; empty: it is a directory."""
    dimension: str
    """Subtask dimension; empty if there is none."""
    changed: int
    """The newest publication that changed something here, above or below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A stored task, and the snapshot that is said to have its products."""

    number: int
    """Number of the task."""
    snapshot: str
    """The snapshot."""
    pipeline: str
    """Name of its pipeline."""


@dataclass(frozen=True, slots=True)
class RecordedCatalogue:
    """What the records know of the datastore's history; see `datastore.Catalogue`."""

    database: Database

    def number(self, snapshot: str) -> int | None:
        """Return the number of a publication; None: it is not known."""
        return number_of(self.database, snapshot)

    def commits(
        self, upto: int, since: str | None, instance: int | None
    ) -> Iterator[Commit]:
        """Yield publications up to a number, newest first."""
        first = number_of(self.database, since) if since is not None else None
        last, count = first or 0, _AT_FIRST
        while upto > last:
            after = max(last, upto - count)
            yield from publications(
                self.database, after=after, upto=upto, instance=instance
            )
            upto, count = after, min(2 * count, _AT_MOST)

    def products(self, upto: int, prefix: str) -> dict[str, int]:
        """Return the trees of products as of a publication, by path."""
        return products_at(self.database, upto, prefix)

    def trees(self, upto: int) -> dict[int, str] | None:
        """Return the newest snapshot of each tree as of a publication."""
        return trees_at(self.database, upto)

    def root(self, snapshot: str) -> str:
        """Return the root digest of a publication; empty: not known."""
        return root_of_publication(self.database, snapshot)

    def expired(self, snapshot: str) -> datetime | None:
        """Return when a publication was given up; None: it was not."""
        return expired_at(self.database, snapshot)


@patiently
def number_of(database: Database, snapshot: str) -> int | None:
    """Return the number of a publication; None: the catalogue does not have it."""
    query = select(PublicationRow.number).where(PublicationRow.snapshot == snapshot)
    with database.reading() as connection:
        return connection.execute(query).scalar_one_or_none()


@patiently
def root_of_publication(database: Database, snapshot: str) -> str:
    """Return the root digest of a publication; empty: it has none, or is not known."""
    query = select(PublicationRow.root).where(PublicationRow.snapshot == snapshot)
    with database.reading() as connection:
        return connection.execute(query).scalar_one_or_none() or ""


@patiently
def stored_digests(
    database: Database, names: Sequence[str] | None = None
) -> dict[str, bytes]:
    """Return the digests of snapshots and manifests, as far as they are on record.

    Parameters
    ----------
    database
        The records.
    names
        Names of the files; None: all.
    """
    table = StoredFileRow.__table__
    query = select(table.c.name, table.c.digest).where(table.c.digest != UNSETTLED)
    queries = (
        [query]
        if names is None
        else [query.where(table.c.name.in_(some)) for some in pieces(names)]
    )
    with database.reading() as connection:
        return {
            row.name: row.digest for one in queries for row in connection.execute(one)
        }


@patiently
def unlike_successor(database: Database) -> list[tuple[int, str]]:
    """Return the publications whose files did not fit what the next one says of them."""
    has_files = select(StoredFileRow.name).where(
        StoredFileRow.publication == PublicationRow.number
    )
    query = (
        select(PublicationRow.number, PublicationRow.snapshot)
        .where(PublicationRow.root != "", ~has_files.exists())
        .order_by(PublicationRow.number)
    )
    with database.reading() as connection:
        return [(row.number, row.snapshot) for row in connection.execute(query)]


@patiently
def publications(
    database: Database, *, after: int, upto: int, instance: int | None = None
) -> list[Commit]:
    """Return publications with their numbers in a range, newest first.

    Parameters
    ----------
    database
        The records.
    after
        Those up to this number are left out.
    upto
        The newest number.
    instance
        Only those of this instance; None: all.
    """
    table = PublicationRow.__table__
    query = select(table).where(table.c.number > after, table.c.number <= upto)
    if instance is not None:
        query = query.where(table.c.instance == instance)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(table.c.number.desc())).all()
    return [
        Commit(
            snapshot=row.snapshot,
            time=row.time,
            message=row.message,
            metadata=row.said,
            expired=row.expired,
        )
        for row in rows
    ]


@patiently
def products_at(database: Database, number: int, prefix: str = "") -> dict[str, int]:
    """Return the trees of products as of a publication, by path.

    Parameters
    ----------
    database
        The records.
    number
        The publication, of which `trees_at` knows.
    prefix
        Only what is at this path, below or above it; empty: all.
    """
    with database.reading() as connection:
        wanted = [VersionRow.publication <= number]
        if prefix:
            is_above = VersionRow.path.in_([prefix, *above(prefix)])
            wanted.append(is_above | _is_below(connection, prefix))
        return _held(connection, *wanted)


def _is_below(connection: Connection, prefix: str) -> ColumnElement[bool]:
    """Return the condition that a version is of a product below a path."""
    if connection.dialect.name == "sqlite":
        # a range, which its index serves; "0" is what follows "/"
        return (VersionRow.path > f"{prefix}/") & (VersionRow.path < f"{prefix}0")
    # other databases sort text as people do
    return VersionRow.path.startswith(f"{prefix}/", autoescape=True)


@patiently
def trees_at(database: Database, number: int) -> dict[int, str] | None:
    """Return the newest snapshot of each tree as of a publication.

    None: what was before is not known, since it was made by an earlier version of this
    package, or by another program.
    """
    counted = select(PublicationRow.is_counted).where(PublicationRow.number == number)
    newest = (
        select(TreeRow.tree, func.max(TreeRow.publication).label("publication"))
        .where(TreeRow.publication <= number, TreeRow.is_gone.is_(False))
        .group_by(TreeRow.tree)
        .subquery()
    )
    query = select(TreeRow.tree, TreeRow.snapshot).join(
        newest,
        (newest.c.tree == TreeRow.tree) & (newest.c.publication == TreeRow.publication),
    )
    with database.reading() as connection:
        if not connection.execute(counted).scalar_one_or_none():
            return None
        return {row.tree: row.snapshot for row in connection.execute(query)}


@patiently
def snapshots_of_trees(database: Database) -> set[str]:
    """Return all snapshots of publications, and those beside them."""
    with database.reading() as connection:
        return set(connection.execute(select(TreeRow.snapshot)).scalars())


@patiently
def current_places(
    database: Database, snapshot: str
) -> tuple[int, list[CurrentPlace]] | None:
    """Return what the newest publication holds, with its number.

    None: the catalogue is of another snapshot than this one.
    """
    table = PlaceRow.__table__
    with database.reading() as connection:
        newest = _newest(connection)
        if newest is None or newest.snapshot != snapshot or not newest.is_counted:
            return None
        rows = connection.execute(select(table)).all()
    return newest.number, [
        CurrentPlace(
            path=row.path, kind=row.kind, dimension=row.dimension, changed=row.changed
        )
        for row in rows
    ]


def position(database: Database, repository: Repository) -> tuple[int, list[Commit]]:
    """Return the number of the newest publication that is known, and those after it.

    0 stands for none. The newest one comes first.
    """
    new: list[Commit] = []
    for commit in repository.ancestry():
        number = number_of(database, commit.snapshot)
        if number is not None:
            return number, new
        new.append(commit)
    return 0, new


@patiently
def newest_number(database: Database) -> int:
    """Return the number of the newest publication in the catalogue; 0: it is empty."""
    with database.reading() as connection:
        return _number(_newest(connection))


@patiently
def stored_by_unknown(database: Database, after: int) -> list[StoredTask]:
    """Return the stored tasks whose snapshots are not among the first publications.

    Parameters
    ----------
    database
        The records.
    after
        Number of the last publication that counts.
    """
    query = (
        select(TaskRow.id, TaskRow.snapshot, PipelineRow.name)
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .outerjoin(
            PublicationRow,
            (PublicationRow.snapshot == TaskRow.snapshot)
            & (PublicationRow.number <= after),
        )
        .where(TaskRow.step == TaskStep.COMPLETE.value, PublicationRow.number.is_(None))
        .order_by(TaskRow.id)
    )
    with database.reading() as connection:
        return [
            StoredTask(number=row.id, snapshot=row.snapshot, pipeline=row.name)
            for row in connection.execute(query)
        ]


@patiently
def of_unknown_instances(database: Database) -> list[tuple[str, int]]:
    """Return the snapshots of instances that are not on record, with their numbers."""
    query = (
        select(PublicationRow.snapshot, PublicationRow.instance)
        .outerjoin(InstanceRow, InstanceRow.id == PublicationRow.instance)
        .where(PublicationRow.instance.is_not(None), InstanceRow.id.is_(None))
        .order_by(PublicationRow.number.desc())
    )
    with database.reading() as connection:
        return [(row.snapshot, row.instance) for row in connection.execute(query)]


@patiently
def catch_up(database: Database, repository: Repository) -> None:
    """Bring the catalogue up to date with the datastore.

    It costs what was published since; if some of that does not say what it changed, the
    newest tree is walked through once. Publications that `main` does not lead to any more
    are dropped.

    Parameters
    ----------
    database
        The records.
    repository
        The datastore.
    """
    while True:
        known, new = position(database, repository)
        tree = _tree_of_unknown(repository, new)
        written = _written(database, repository, known, new)
        with database.writing() as connection:
            before = select(func.count()).where(PublicationRow.number == known)
            if known and not connection.execute(before).scalar_one():
                continue  # another process has just changed it
            if not new and known == _number(_newest(connection)):
                return
            _drop_after(connection, repository, known)
            for number, commit in enumerate(reversed(new), start=known + 1):
                _add(connection, number, commit, tree)
                _keep_digests(connection, number, *written[commit.snapshot])
            return


def _newest(connection: Connection) -> Any:
    table = PublicationRow.__table__
    return connection.execute(
        select(table).order_by(table.c.number.desc()).limit(1)
    ).first()


def _number(row: Any) -> int:
    return 0 if row is None else int(row.number)


def _tree_of_unknown(
    repository: Repository, new: Sequence[Commit]
) -> tuple[str, Places] | None:
    """Return the newest snapshot that does not say what it changed, and all it holds."""
    unknown = next((one.snapshot for one in new if one.places is None), None)
    if unknown is None:
        return None
    return unknown, dict(walk(repository.reading_tree(unknown)))


def _written(
    database: Database, repository: Repository, known: int, new: Sequence[Commit]
) -> dict[str, tuple[str, Digests]]:
    """Return root digest and digests of the files of publications, by snapshot.

    Taken is that of the newest one, which has just been made. Of those before it, what the next
    one says counts: files that do not agree with it have none of their own.
    """
    if not new:
        return {}
    before = _snapshot_of(database, known)
    older = [*(one.snapshot for one in new[1:]), before]
    said = dict(newer.before for newer in new)
    found: dict[str, tuple[str, Digests]] = {}
    for commit, previous in zip(new, older, strict=True):
        root = said.get(commit.snapshot, "")
        is_made_now = commit is new[0] and (known > 0 or len(new) == 1)
        digests: Digests = {}
        if root or is_made_now:
            digests = repository.digests(commit, previous)
        if root and root_of(digests) != root:
            digests = {}
        found[commit.snapshot] = root or (root_of(digests) if digests else ""), digests
    return found


@patiently
def _snapshot_of(database: Database, number: int) -> str | None:
    query = select(PublicationRow.snapshot).where(PublicationRow.number == number)
    with database.reading() as connection:
        return connection.execute(query).scalar_one_or_none()


def _keep_digests(
    connection: Connection, number: int, root: str, digests: Digests
) -> None:
    if not root:
        return
    connection.execute(
        update(PublicationRow).where(PublicationRow.number == number).values(root=root)
    )
    names = sorted(digests)
    known: set[str] = set()
    for some in pieces(names):
        query = select(StoredFileRow.name).where(StoredFileRow.name.in_(some))
        known.update(connection.execute(query).scalars())
    rows = [
        {"name": name, "publication": number, "digest": digests[name]}
        for name in names
        if name not in known
    ]
    if rows:
        connection.execute(insert(StoredFileRow), rows)


def _drop_after(connection: Connection, repository: Repository, number: int) -> None:
    """Take back all publications after one, with what they changed."""
    if number == _number(_newest(connection)):
        return
    connection.execute(delete(VersionRow).where(VersionRow.publication > number))
    connection.execute(delete(PublicationRow).where(PublicationRow.number > number))
    connection.execute(delete(TreeRow).where(TreeRow.publication > number))
    connection.execute(delete(StoredFileRow).where(StoredFileRow.publication > number))
    connection.execute(delete(SettledRow).where(SettledRow.publication > number))
    connection.execute(delete(PlaceRow))
    newest = _newest(connection)
    if newest is None or not newest.is_counted:
        return
    found = dict(walk(repository.reading(newest.snapshot)))
    _put(connection, number, found)


def _add(
    connection: Connection,
    number: int,
    commit: Commit,
    walked: tuple[str, Places] | None,
) -> None:
    """Add a publication and what it changed, if all before it is known as well."""
    newest = _newest(connection)
    places = commit.places
    is_counted = places is not None and (newest is None or newest.is_counted)
    is_walked = walked is not None and commit.snapshot == walked[0]
    is_counted |= is_walked or commit.parts.is_whole
    connection.execute(
        insert(PublicationRow).values(
            number=number,
            snapshot=commit.snapshot,
            time=commit.time,
            instance=commit.metadata.get("instance"),
            message=commit.message,
            said=dict(commit.metadata),
            is_counted=is_counted,
        )
    )
    connection.execute(
        insert(TreeRow),
        [
            {"publication": number, "tree": tree, "snapshot": snapshot}
            for tree, snapshot in commit.parts.snapshots(commit.snapshot).items()
        ],
    )
    if commit.parts.is_whole:
        there = {path: commit.parts.tree_of(path) for path in places or {}}
        known = _held(connection)
        if known == there:
            return
        places = {**dict.fromkeys(known), **(places or {})}
    if walked is not None and is_walked:
        versions = _replace(connection, number, walked[1], commit.parts.own.tree)
    elif is_counted and places:
        versions = _change(connection, number, places, commit.parts)
    else:
        return
    attempts = commit.metadata.get("attempts", {})
    rows = [
        {
            "path": path,
            "publication": number,
            "kind": place.kind,
            "tree": commit.parts.tree_of(path),
            "task": place.task,
            "attempt": attempts.get(str(place.task)),
        }
        for path, place in versions.items()
    ]
    if rows:
        connection.execute(insert(VersionRow), rows)


def _held(connection: Connection, *wanted: ColumnElement[bool]) -> dict[str, int]:
    """Return the trees of products by path, going by versions that meet all conditions."""
    last = (
        select(VersionRow.path, func.max(VersionRow.publication).label("publication"))
        .where(*wanted)
        .group_by(VersionRow.path)
        .subquery()
    )
    query = (
        select(VersionRow.path, VersionRow.tree)
        .join(
            last,
            (last.c.path == VersionRow.path)
            & (last.c.publication == VersionRow.publication),
        )
        .where(VersionRow.kind != "")
    )
    return {row.path: row.tree for row in connection.execute(query)}


def _replace(
    connection: Connection, number: int, found: Places, tree: int
) -> dict[str, Place]:
    """Take all places of a tree as they were found; return its products, and what is gone."""
    known = _held(connection)
    if set(known.values()) <= {tree}:
        gone = set(connection.execute(select(VersionRow.path).distinct()).scalars())
        connection.execute(delete(PlaceRow))
        _put(connection, number, found)
    else:
        gone = {path for path, one in known.items() if one == tree}
        _remove(connection, sorted(gone))
        for path, place in found.items():
            if place is not None and known.get(path, tree) == tree:
                _set(connection, number, path, place)
    held = {path: place for path, place in found.items() if place and place.kind}
    return {**dict.fromkeys(sorted(gone), _GONE), **held}


def _put(connection: Connection, number: int, tree: Places) -> None:
    rows = [
        _place_row(path, place, number)
        for path, place in tree.items()
        if place is not None
    ]
    if rows:
        connection.execute(insert(PlaceRow), rows)


def _change(
    connection: Connection, number: int, places: Places, parts: Parts
) -> dict[str, Place]:
    """Bring the places up to date; return the products that are new or gone."""
    versions: dict[str, Place] = {}
    touched: set[str] = set()
    for path, place in sorted(places.items()):
        before = _kinds(connection, [path])
        if place is not None and not place.kind and path in before:
            tree = _held(connection, VersionRow.path == path).get(path)
            if not before[path] or tree != parts.tree_of(path):
                continue  # a group above products, which each tree has
        below = _below(connection, path)
        if place is None or place.kind in CLOSED:
            versions.update({one: _GONE for one, kind in below.items() if kind})
            _remove(connection, [*below, *([path] if place is None else [])])
        else:
            touched.update(below)
        if place is not None:
            _set(connection, number, path, place)
        if place is not None and place.kind:
            versions[path] = place
        elif before.get(path):
            versions[path] = _GONE
        touched.update(_parents(path))
    known = _kinds(connection, sorted(touched))
    for path in sorted(touched - known.keys()):
        _set(connection, number, path, Place())
    for some in pieces(sorted(known)):
        connection.execute(
            update(PlaceRow).where(PlaceRow.path.in_(some)).values(changed=number)
        )
    return versions


def _kinds(connection: Connection, paths: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in pieces(paths):
        query = select(PlaceRow.path, PlaceRow.kind).where(PlaceRow.path.in_(some))
        found.update({row.path: row.kind for row in connection.execute(query)})
    return found


def _below(connection: Connection, path: str) -> dict[str, str]:
    """Return the kinds of all places below one, by path."""
    found: dict[str, str] = {}
    waiting = [path]
    while waiting:
        parents, waiting = waiting, []
        for some in pieces(parents):
            query = select(PlaceRow.path, PlaceRow.kind).where(
                PlaceRow.parent.in_(some)
            )
            below = {row.path: row.kind for row in connection.execute(query)}
            found.update(below)
            waiting.extend(below)
    return found


def _set(connection: Connection, number: int, path: str, place: Place) -> None:
    row = _place_row(path, place, number)
    change = update(PlaceRow).where(PlaceRow.path == path).values(**row)
    if not connection.execute(change).rowcount:
        connection.execute(insert(PlaceRow).values(**row))


def _remove(connection: Connection, paths: Sequence[str]) -> None:
    for some in pieces(paths):
        connection.execute(delete(PlaceRow).where(PlaceRow.path.in_(some)))


def _place_row(path: str, place: Place, number: int) -> dict[str, Any]:
    return {
        "path": path,
        "parent": path.rpartition("/")[0],
        "kind": place.kind,
        "dimension": place.dimension,
        "changed": number,
    }


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
