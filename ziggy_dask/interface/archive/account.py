"""What the tasks of an instance read, were given and made, as it is on record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ziggy_dask.engine.loading import LoadedTasks, load_tasks
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ClusterError
from ziggy_dask.interface.lineage import parts_of
from ziggy_dask.records.code import Kind
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.recipes import Extent, extents_of, read_recipes
from ziggy_dask.records.versions import (
    Version,
    as_of,
    read_made,
    read_numbers,
    read_versions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """A product that a task read or made, or a file of a model."""

    path: str
    """Its path."""
    version: Version | None
    """Which version; None: it is not in the history any more."""
    data_type: str
    """Data type that it is of; empty: none, e.g. of a model."""
    parts: tuple[Version, ...] = ()
    """Of what was made: earlier versions of which it has parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAccount:
    """What became of a task."""

    record: TaskRecord
    """The task."""
    inputs: tuple[Handled, ...]
    """What it read, by path."""
    outputs: tuple[Handled, ...]
    """What it published, oldest first."""
    extents: tuple[Extent, ...]
    """How its complete subtasks were made."""
    recipes: Mapping[str, Sequence[tuple[Kind, str, str, Any]]]
    """What they were made with: kind, name, digest and content, by digest of the recipe."""


def ended_tasks(site: OpenCluster, record: InstanceRecord) -> LoadedTasks:
    """Return the tasks of an instance that has ended.

    Raises
    ------
    ClusterError
        If it has not, or ran no task.
    """
    if not record.state.is_final:
        raise ClusterError(
            f"instance {record.id} has not ended: it is {record.state.value}; export it "
            "when it has"
        )
    tasks = load_tasks(site.database, record.id)
    if not tasks.records:
        raise ClusterError(
            f"instance {record.id} ran no task that could be exported; "
            f"ziggy tasks {record.id} lists what it did"
        )
    return tasks


def accounts(site: OpenCluster, tasks: LoadedTasks) -> Iterator[TaskAccount]:
    """Yield what became of the tasks of an instance, in the order of its plan."""
    records = [tasks.records[index] for index in sorted(tasks.records)]
    numbers = [one.id for one in records]
    extents = extents_of(site.database, numbers)
    digests = {e.recipe for some in extents.values() for e in some if e.recipe}
    recipes = read_recipes(site.database, sorted(digests))
    types = {t.path: t.data_type for plan in tasks.plans.values() for t in plan.targets}
    feeds = {f.path: f.data_type for plan in tasks.plans.values() for f in plan.feeds}
    with site.database.reading() as connection:
        made = read_made(connection, numbers)
        snapshots = {s for one in records for s in one.inputs.values()}
        known = read_numbers(connection, snapshots)
        paths = {one.path for one in made} | {p for r in records for p in r.inputs}
        versions = read_versions(connection, sorted(paths))

    def handled(path: str, number: int | None, data_type: str) -> Handled:
        found = None if number is None else as_of(versions[path], number)
        return Handled(path=path, version=found, data_type=data_type)

    for record in records:
        own = extents[record.id]
        yield TaskAccount(
            record=record,
            inputs=tuple(
                handled(path, known.get(snapshot), feeds.get(path, ""))
                for path, snapshot in sorted(record.inputs.items())
            ),
            outputs=tuple(
                replace(
                    handled(one.path, one.number, types.get(one.path, "")),
                    parts=parts_of(site, one),
                )
                for one in made
                if one.task == record.id and not one.is_removal
            ),
            extents=tuple(own),
            recipes={e.recipe: recipes[e.recipe] for e in own if e.recipe},
        )
