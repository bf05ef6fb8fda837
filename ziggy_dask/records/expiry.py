"""Which publications the datastore need not keep any more, as rows and as set arithmetic."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggy_dask.datastore.digests import Digests, root_of
from ziggy_dask.definitions.retention import Retention
from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.records.tables import (
    ChangeSetRow,
    InstanceRow,
    PublicationRow,
    StoredFileRow,
    TagRow,
    TaskRow,
    TreeRow,
    VersionRow,
)

UNSETTLED = b""
"""Digest of a file that is about to be written anew."""
REMOVED = "removed"
"""Name under which a publication says which products an operator removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A publication that the datastore still has."""

    number: int
    """Its number."""
    snapshot: str
    """Its snapshot."""
    time: datetime
    """When it was made, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All that decides which publications expire."""

    publications: Sequence[Published]
    """Those that the datastore still has, oldest first."""
    versions: Mapping[str, Sequence[tuple[int, bool]]]
    """Numbers of the versions of products by path, oldest first, and whether each is the
    end of the product."""
    removals: Mapping[str, int]
    """The last publication by which an operator removed a product, by path."""
    needed: Collection[int]
    """Publications that tags name, or that work which has not ended may read."""
    began: datetime | None
    """When the oldest work began that has not ended, or whose results wait; None: there is
    none."""


def to_expire(
    stored: Stored,
    rules_of: Callable[[str], Sequence[Retention]],
    now: datetime,
    margin: timedelta,
) -> list[Published]:
    """Return the publications that nothing keeps, oldest first.

    Parameters
    ----------
    stored
        What there is.
    rules_of
        Returns the rules for the product at a path; none: all its versions stay.
    now
        The time.
    margin
        What was the newest state so short a time ago stays: somebody may be reading it.

    Notes
    -----
    A version that is kept keeps the publication that made it. The newest version of a
    product is in the newest publication, which always stays, so it needs no other one, unless
    all versions are kept. What an operator removed is kept by its age alone.
    """
    times = {one.number: one.time for one in stored.publications}
    order = sorted(times)
    kept = {*stored.needed, order[0], order[-1]}
    kept |= {
        one for one, following in pairwise(order) if times[following] > now - margin
    }
    for path, versions in stored.versions.items():
        kept |= _kept(path, versions, stored, rules_of(path), now, times)
    has_rules = any(rules_of(path) for path in stored.versions)
    made = {number for some in stored.versions.values() for number, _ in some}
    if not has_rules:  # publications of nothing are not a burden
        kept |= times.keys() - made
    return [one for one in stored.publications if one.number not in kept]


def _kept(
    path: str,
    versions: Sequence[tuple[int, bool]],
    stored: Stored,
    rules: Sequence[Retention],
    now: datetime,
    times: Mapping[int, datetime],
) -> set[int]:
    """Return the publications that the versions of a product keep."""
    numbers = [number for number, _ in versions]
    removed = stored.removals.get(path, 0)
    real = [number for number, is_end in versions if not is_end]
    current = [number for number in real if number > removed]
    days = max((one.days for one in rules), default=0)
    last = max((one.last for one in rules), default=0)
    kept = set(current[-last:] if last else ())
    for number in real:
        place = bisect_right(numbers, number)
        following = numbers[place] if place < len(numbers) else None
        if following is None:
            kept.discard(number)  # it is in the newest publication
        elif days and times.get(following, now) > now - timedelta(days=days):
            kept.add(number)
    if not rules or any(one.is_all for one in rules):
        kept |= set(current)
    return kept


@patiently
def stored(database: Database) -> Stored:
    """Return what decides which publications expire."""
    with database.reading() as connection:
        table = PublicationRow.__table__
        rows = connection.execute(
            select(table).where(table.c.expired.is_(None)).order_by(table.c.number)
        ).all()
        found: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        query = select(VersionRow.path, VersionRow.publication, VersionRow.kind)
        for row in connection.execute(query.order_by(VersionRow.publication)):
            found[row.path].append((row.publication, not row.kind))
        snapshots = set(connection.execute(select(TagRow.snapshot)).scalars())
        bases, read, began = _unfinished(connection)
    numbers = {row.snapshot: row.number for row in rows}
    oldest = min((numbers[one] for one in bases if one in numbers), default=None)
    needed = {numbers[one] for one in snapshots | read if one in numbers}
    if oldest is not None:
        needed |= {number for number in numbers.values() if number >= oldest}
    removals: dict[str, int] = {}
    for row in rows:
        removals.update(dict.fromkeys(row.said.get(REMOVED, ()), row.number))
    return Stored(
        publications=[
            Published(number=row.number, snapshot=row.snapshot, time=row.time)
            for row in rows
        ],
        versions=dict(found),
        removals=removals,
        needed=needed,
        began=began,
    )


def _unfinished(
    connection: Connection,
) -> tuple[set[str], set[str], datetime | None]:
    """Return what work that has not ended began with, what it read, and since when.

    An instance that has ended counts as long as some of its tasks can be restarted: its
    results may wait, and what they read is asked for again.
    """
    final = [one.value for one in InstanceState if one.is_final]
    waiting = set(connection.execute(select(ChangeSetRow.task_id).distinct()).scalars())
    rows = connection.execute(
        select(
            TaskRow.id,
            TaskRow.inputs,
            TaskRow.step,
            InstanceRow.state,
            InstanceRow.created,
            InstanceRow.base_snapshot,
        ).join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
    ).all()
    open_ = connection.execute(
        select(InstanceRow.created, InstanceRow.base_snapshot).where(
            InstanceRow.state.not_in(final)
        )
    ).all()
    left = [
        row for row in rows if row.step != TaskStep.COMPLETE.value or row.id in waiting
    ]
    bases = {row.base_snapshot for row in open_}
    read = {snapshot for row in left for snapshot in row.inputs.values()}
    read |= {row.base_snapshot for row in left}
    times = [row.created for row in (*open_, *(r for r in left if r.id in waiting))]
    return bases, read, min(times, default=None)


@patiently
def snapshots_of(database: Database, numbers: Collection[int]) -> dict[str, int]:
    """Return the snapshots that have what publications show, in all trees.

    Parameters
    ----------
    database
        The records.
    numbers
        The publications.

    Returns
    -------
    dict
        For each snapshot one of the publications.
    """
    query = select(TreeRow.tree, TreeRow.publication, TreeRow.snapshot).where(
        TreeRow.is_gone.is_(False)
    )
    lines: dict[int, list[tuple[int, str]]] = defaultdict(list)
    with database.reading() as connection:
        for row in connection.execute(query.order_by(TreeRow.publication)):
            lines[row.tree].append((row.publication, row.snapshot))
    found: dict[str, int] = {}
    order = sorted(numbers)
    for line in lines.values():
        ends = [*(number for number, _ in line[1:]), None]
        for (begin, snapshot), end in zip(line, ends, strict=True):
            place = bisect_left(order, begin)
            if place < len(order) and (end is None or order[place] < end):
                found.setdefault(snapshot, order[place])
    return found


@patiently
def note_expired(
    database: Database,
    numbers: Sequence[int],
    files: Collection[str],
    snapshots: Collection[str],
    rewritten: Mapping[str, int],
) -> None:
    """Note that publications are given up, before any file of theirs goes.

    If what follows is interrupted, `unsettled` tells of which files the digests are to be
    taken again.

    Parameters
    ----------
    database
        The records.
    numbers
        The publications.
    files
        Manifests that stay as they are.
    snapshots
        Snapshots that stay, with what is in their trees.
    rewritten
        Names of the files that are written anew, and publications that have them.

    Raises
    ------
    RecordsError
        If a tag was given to one of them since it was found that nothing needs them;
        nothing is changed then.
    """
    now = datetime.now(UTC)
    with database.writing() as connection:
        _require_untagged(connection, numbers)
        for some in pieces(numbers):
            connection.execute(
                update(PublicationRow)
                .where(PublicationRow.number.in_(some))
                .values(expired=now, root="")
            )
        there = set(connection.execute(select(TreeRow.snapshot)).scalars())
        for gone in pieces(sorted(there - set(snapshots))):
            connection.execute(
                update(TreeRow).where(TreeRow.snapshot.in_(gone)).values(is_gone=True)
            )
        known = set(connection.execute(select(StoredFileRow.name)).scalars())
        for names in pieces(sorted(known - set(files))):
            connection.execute(
                delete(StoredFileRow).where(StoredFileRow.name.in_(names))
            )
        rows = [
            {"name": name, "publication": number, "digest": UNSETTLED}
            for name, number in rewritten.items()
        ]
        if rows:
            connection.execute(insert(StoredFileRow), rows)
        for some in pieces(sorted(set(rewritten.values()))):
            connection.execute(
                update(PublicationRow)
                .where(PublicationRow.number.in_(some))
                .values(root="")
            )


def _require_untagged(connection: Connection, numbers: Collection[int]) -> None:
    query = (
        select(TagRow.name, PublicationRow.number)
        .join(PublicationRow, PublicationRow.snapshot == TagRow.snapshot)
        .order_by(TagRow.name)
    )
    gone = set(numbers)
    given = [row.name for row in connection.execute(query) if row.number in gone]
    if given:
        raise RecordsError(
            f"nothing has expired: meanwhile the tag {given[0]!r} was given to a state that "
            "was about to; expire again, which will keep it"
        )


@patiently
def unsettled(database: Database) -> dict[str, int]:
    """Return the files of which the digests are to be taken again, with publications."""
    query = select(StoredFileRow.name, StoredFileRow.publication).where(
        StoredFileRow.digest == UNSETTLED
    )
    with database.reading() as connection:
        return {row.name: row.publication for row in connection.execute(query)}


@patiently
def note_rewritten(database: Database, digests: Sequence[tuple[int, Digests]]) -> None:
    """Note the digests of snapshots that were written anew, each with a publication."""
    with database.writing() as connection:
        for number, some in digests:
            rows: list[dict[str, Any]] = [
                {"name": name, "publication": number, "digest": digest}
                for name, digest in some.items()
            ]
            if not rows:
                continue
            for names in pieces(sorted(some)):
                connection.execute(
                    delete(StoredFileRow).where(StoredFileRow.name.in_(names))
                )
            connection.execute(insert(StoredFileRow), rows)
            query = select(StoredFileRow.name, StoredFileRow.digest).where(
                StoredFileRow.publication == number, StoredFileRow.digest != UNSETTLED
            )
            all_ = {row.name: row.digest for row in connection.execute(query)}
            connection.execute(
                update(PublicationRow)
                .where(PublicationRow.number == number)
                .values(root=root_of(all_))
            )


@patiently
def expired_at(database: Database, snapshot: str) -> datetime | None:
    """Return when a publication was given up; None: it was not."""
    query = select(PublicationRow.expired).where(PublicationRow.snapshot == snapshot)
    with database.reading() as connection:
        return connection.execute(query).scalar_one_or_none()


@patiently
def kept_state(database: Database, path: str, snapshot: str) -> str | None:
    """Return a snapshot that can be read and has what a product was as of another one.

    Parameters
    ----------
    database
        The records.
    path
        The product; empty: any snapshot that came later does.
    snapshot
        The other one, which may have expired.

    Returns
    -------
    str or None
        The snapshot itself, if it has not expired; None: there is none any more.
    """
    table = PublicationRow.__table__
    with database.reading() as connection:
        found = connection.execute(
            select(table.c.number, table.c.expired).where(table.c.snapshot == snapshot)
        ).first()
        if found is None or found.expired is None:
            return snapshot
        following = select(func.min(VersionRow.publication)).where(
            VersionRow.path == path, VersionRow.publication > found.number
        )
        end = connection.execute(following).scalar_one()
        made = select(func.max(VersionRow.publication)).where(
            VersionRow.path == path, VersionRow.publication <= found.number
        )
        begin = connection.execute(made).scalar_one() or found.number
        kept = select(table.c.snapshot).where(
            table.c.expired.is_(None), table.c.number >= begin
        )
        if end is not None:
            kept = kept.where(table.c.number < end)
        return connection.execute(
            kept.order_by(table.c.number).limit(1)
        ).scalar_one_or_none()
