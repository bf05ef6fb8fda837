"""Versions of products: which publications made them, in which task.

A version is named by the path of its product and the number of its publication.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.tables import (
    InstanceRow,
    PipelineRow,
    PublicationRow,
    TagRow,
    TaskRow,
    VersionRow,
)


class VersionKey(NamedTuple):
    """Tells a version of a product from all others."""

    path: str
    """The product."""
    number: int
    """Number of the publication; 0: of one that is not in the history any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a product."""

    path: str
    """The product."""
    number: int
    """Number of its publication, from 1."""
    snapshot: str
    """Snapshot of that publication."""
    time: datetime | None
    """When it was published, UTC."""
    kind: str = ""
    """How it is stored; empty: it was removed, or that is not known."""
    task: int | None = None
    """Task that made it; None: another program, or that is not known."""
    attempt: int | None = None
    """Attempt of the task, from 0; None: not known, since this publication did not make it
    but is the first one that was looked at."""
    instance: int | None = None
    """Instance of the task."""
    pipeline: str = ""
    """Pipeline of the instance."""
    node: str = ""
    """Node of the task."""
    unit: str = ""
    """Unit of work of the task."""
    is_delivered: bool = False
    """Whether data receipt made it."""
    successor: int | None = None
    """Number of the next version; None: it is the newest."""
    tags: tuple[str, ...] = ()
    """Tags of states of the datastore that have this version."""
    reason: str = ""
    """Why it was made, where that was asked for: what differs from the one before."""

    @property
    def key(self) -> VersionKey:
        """What tells it from all others."""
        return VersionKey(self.path, self.number)

    @property
    def is_removal(self) -> bool:
        """Whether the product was removed."""
        return self.number > 0 and not self.kind


@patiently
def versions_of(database: Database, path: str) -> list[Version]:
    """Return all versions of a product on record, oldest first."""
    with database.reading() as connection:
        return read_versions(connection, [path])[path]


@patiently
def known_paths(database: Database) -> list[str]:
    """Return the paths of all products that ever were, in order."""
    query = select(VersionRow.path).distinct().order_by(VersionRow.path)
    with database.reading() as connection:
        return list(connection.execute(query).scalars())


@patiently
def snapshot_at(database: Database, time: datetime) -> str | None:
    """Return the newest publication up to a moment; None: there was none."""
    table = PublicationRow.__table__
    query = select(table.c.snapshot).where(table.c.time <= time)
    with database.reading() as connection:
        newest = query.order_by(table.c.number.desc()).limit(1)
        return connection.execute(newest).scalar_one_or_none()


def read_versions(
    connection: Connection, paths: Iterable[str]
) -> dict[str, list[Version]]:
    """Return all versions of some products, oldest first, by path."""
    wanted = list(dict.fromkeys(paths))
    found: dict[str, list[Version]] = {path: [] for path in wanted}
    for some in pieces(wanted):
        rows = connection.execute(_QUERY.where(VersionRow.path.in_(some)))
        for row in rows:
            found[row.path].append(_from_row(row))
    tags = _tags(connection)
    return {path: _linked(versions, tags) for path, versions in found.items()}


def read_made(connection: Connection, tasks: Iterable[int]) -> list[Version]:
    """Return the versions that some tasks made, oldest first."""
    found: list[Version] = []
    for some in pieces(sorted(set(tasks))):
        rows = connection.execute(
            _QUERY.where(VersionRow.task.in_(some), VersionRow.attempt.is_not(None))
        )
        found.extend(_from_row(row) for row in rows)
    return sorted(found, key=lambda one: (one.number, one.path))


def as_of(versions: Sequence[Version], number: int) -> Version | None:
    """Return the newest of some versions, oldest first, up to a publication."""
    place = bisect_right(versions, number, key=lambda one: one.number)
    return versions[place - 1] if place else None


def read_numbers(connection: Connection, snapshots: Iterable[str]) -> dict[str, int]:
    """Return the numbers of publications by snapshot, as far as they are known."""
    table = PublicationRow.__table__
    found: dict[str, int] = {}
    for some in pieces(sorted(set(snapshots))):
        query = select(table.c.snapshot, table.c.number).where(
            table.c.snapshot.in_(some)
        )
        found.update({row.snapshot: row.number for row in connection.execute(query)})
    return found


def read_reads(
    connection: Connection, numbers: Iterable[int]
) -> dict[int, dict[int, Mapping[str, str]]]:
    """Return which snapshots tasks read, by publication, task and path of the input."""
    table = PublicationRow.__table__
    found: dict[int, dict[int, Mapping[str, str]]] = {}
    for some in pieces(sorted(set(numbers))):
        query = select(table.c.number, table.c.said).where(table.c.number.in_(some))
        for row in connection.execute(query):
            inputs = row.said.get("inputs", {})
            found[row.number] = {int(key): read for key, read in inputs.items()}
    return found


def read_makers(connection: Connection, tasks: Iterable[int]) -> dict[int, Any]:
    """Return instance, pipeline, node, unit, position, snapshot and inputs of tasks."""
    found: dict[int, Any] = {}
    query = (
        select(
            TaskRow.id,
            TaskRow.instance_id,
            TaskRow.node,
            TaskRow.unit,
            TaskRow.position,
            TaskRow.snapshot,
            TaskRow.inputs,
            PipelineRow.name.label("pipeline"),
        )
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
    )
    for some in pieces(sorted(set(tasks))):
        rows = connection.execute(query.where(TaskRow.id.in_(some)))
        found.update((row.id, row) for row in rows)
    return found


def made_by(version: Version, task: int, maker: Any) -> Version:
    """Return a version with the task that made it, as `read_makers` tells of it."""
    if maker is None:
        return replace(version, task=task)
    return replace(
        version,
        task=task,
        instance=maker.instance_id,
        pipeline=maker.pipeline,
        node=maker.node,
        unit=maker.unit,
        is_delivered=maker.position < 0,
    )


_QUERY = (
    select(
        VersionRow.__table__,
        PublicationRow.snapshot,
        PublicationRow.time,
        TaskRow.instance_id,
        TaskRow.node,
        TaskRow.unit,
        TaskRow.position,
        PipelineRow.name.label("pipeline"),
    )
    .join(PublicationRow, PublicationRow.number == VersionRow.publication)
    .outerjoin(TaskRow, TaskRow.id == VersionRow.task)
    .outerjoin(InstanceRow, InstanceRow.id == TaskRow.instance_id)
    .outerjoin(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
    .order_by(VersionRow.path, VersionRow.publication)
)


def _from_row(row: Any) -> Version:
    return Version(
        path=row.path,
        number=row.publication,
        snapshot=row.snapshot,
        time=row.time,
        kind=row.kind,
        task=row.task,
        attempt=row.attempt,
        instance=row.instance_id,
        pipeline=row.pipeline or "",
        node=row.node or "",
        unit=row.unit or "",
        is_delivered=row.position is not None and row.position < 0,
    )


def _tags(connection: Connection) -> list[tuple[int, str]]:
    query = select(PublicationRow.number, TagRow.name).join(
        TagRow, TagRow.snapshot == PublicationRow.snapshot
    )
    return sorted((row.number, row.name) for row in connection.execute(query))


def _linked(
    versions: Sequence[Version], tags: Sequence[tuple[int, str]]
) -> list[Version]:
    """Return versions that know what came after them, and which tags have them."""
    named: dict[int, list[str]] = defaultdict(list)
    for number, name in tags:
        found = as_of(versions, number)
        if found is not None:
            named[found.number].append(name)
    after = [*(one.number for one in versions), None][1:]
    return [
        replace(one, successor=successor, tags=tuple(named[one.number]))
        for one, successor in zip(versions, after, strict=True)
    ]
