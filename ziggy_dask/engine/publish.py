"""Publishing finished tasks: one commit in the datastore, then the database.

The order matters. A task counts as complete if and only if a commit names it. First comes the
commit, then the catalogue of commits, then the record of the task: after a crash between them,
whoever is in charge next brings the catalogue up to date, and `reconcile` completes the record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ziggy_dask.datastore import Publication, Repository
from ziggy_dask.definitions import DataType, ProductKind
from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.engine.origin import origins_of
from ziggy_dask.planning import Target, TaskPlan
from ziggy_dask.records import Database, TaskStep, instances, outcomes
from ziggy_dask.records.catalogue import catch_up
from ziggy_dask.records.instances import InstanceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A task whose subtasks have all ended well enough."""

    number: int
    """Number of the task."""
    plan: TaskPlan
    """Its plan."""
    attempt: int
    """How often it was restarted."""
    inputs: Mapping[str, str]
    """Snapshots from which inputs were read, by product."""


def publish(
    repository: Repository,
    database: Database,
    context: InstanceContext,
    finished: Sequence[Finished],
) -> str:
    """Publish the products of tasks that are being stored in one step; return the snapshot."""
    snapshot = repository.publish(
        _publications(database, context, finished),
        _message(context, finished),
        {
            "instance": context.number,
            "inputs": {str(one.number): dict(one.inputs) for one in finished},
            "attempts": {str(one.number): one.attempt for one in finished},
        },
    )
    catch_up(database, repository)
    outcomes.publish(database, snapshot, {one.number: one.inputs for one in finished})
    return snapshot


def publish_again(
    repository: Repository,
    database: Database,
    context: InstanceContext,
    finished: Sequence[Finished],
) -> str:
    """Do the same after a try that failed, unless that came as far as the commit."""
    attempts = {one.number: one.attempt for one in finished}
    snapshot = commit_of(repository, context.record, attempts)
    if snapshot is None:
        return publish(repository, database, context, finished)
    repository.to_disk()
    catch_up(database, repository)
    outcomes.publish(database, snapshot, {one.number: one.inputs for one in finished})
    return snapshot


def commit_of(
    repository: Repository, instance: InstanceRecord, attempts: Mapping[int, int]
) -> str | None:
    """Return the snapshot of the commit that names tasks of an instance; None: none does.

    Parameters
    ----------
    repository
        The datastore.
    instance
        The instance.
    attempts
        Which attempts of its tasks, by number; they are published in one commit.
    """
    for commit in repository.history(instance.base_snapshot, instance.id):
        named = commit.metadata["inputs"].keys()
        of_attempts = commit.metadata.get("attempts", {})
        if all(
            str(number) in named and of_attempts.get(str(number), 0) == attempt
            for number, attempt in attempts.items()
        ):
            return commit.snapshot
    return None


def reconcile(
    repository: Repository, database: Database, instance: InstanceRecord
) -> list[int]:
    """Complete the records of tasks that a commit names; return their numbers."""
    incomplete = {
        task.id: task.attempt
        for task in instances.tasks(database, instance.id)
        if task.step is not TaskStep.COMPLETE
    }
    found: list[int] = []
    if not incomplete:
        return found
    for commit in repository.history(instance.base_snapshot, instance.id):
        inputs = {int(key): read for key, read in commit.metadata["inputs"].items()}
        attempts = commit.metadata.get("attempts", {})
        missed = {
            key: inputs[key]
            for key in sorted(inputs.keys() & incomplete.keys())
            if attempts.get(str(key), 0) == incomplete[key]
        }
        if missed:
            outcomes.publish(database, commit.snapshot, missed)
            found.extend(missed)
    return found


def product_attributes(
    context: InstanceContext, task: TaskPlan, number: int, data_type: DataType
) -> dict[str, Any]:
    """Return what a product says of where it comes from."""
    return {
        "kind": data_type.kind.value,
        "dimension": data_type.subtask,
        "data_type": data_type.name,
        "pipeline": context.pipeline.name,
        "instance": context.number,
        "task": number,
        "node": task.node,
        "unit": task.unit.name,
        "values": dict(task.unit.values),
        "code_version": context.record.code_version,
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _publications(
    database: Database, context: InstanceContext, finished: Sequence[Finished]
) -> list[Publication]:
    numbers = [one.number for one in finished]
    given = outcomes.subtasks_with_output(database, numbers)
    change_sets = outcomes.change_sets(database, numbers)
    origins = origins_of(database, {one.number: one.plan for one in finished})
    mixed = [number for number in numbers if len(origins[number].get("made", ())) > 1]
    named = outcomes.named_items(database, mixed)
    return [
        _publication(
            context,
            one,
            target,
            given=given[one.number].get(target.path, set()),
            change_sets=change_sets.get((one.number, target.path), []),
            origin=origins[one.number] | _named(target.path, named.get(one.number, {})),
        )
        for one in finished
        for target in {target.path: target for target in one.plan.targets}.values()
    ]


def _publication(
    context: InstanceContext,
    one: Finished,
    target: Target,
    *,
    given: set[int],
    change_sets: list[bytes],
    origin: dict[str, Any],
) -> Publication:
    data_type = context.pipeline.types[target.data_type]
    attributes = product_attributes(context, one.plan, one.number, data_type) | origin
    attributes |= missing_items(one.plan, data_type.kind, given)
    return Publication(
        path=target.path,
        change_sets=change_sets,
        attributes=attributes,
        is_absent=data_type.kind is not ProductKind.FILE and not given,
        is_files=data_type.kind is ProductKind.FILE,
    )


def missing_items(
    task: TaskPlan, kind: ProductKind, given: Collection[int]
) -> dict[str, Any]:
    """Return the attribute that says which items a product has room for, but no values.

    Parameters
    ----------
    task
        Plan of its task.
    kind
        How it is stored.
    given
        The subtasks that made something of it.
    """
    lacking = [n for n in range(task.count) if n not in given]
    if kind is not ProductKind.ARRAY or task.labels is None or not lacking:
        return {}
    positions = np.arange(len(task.labels))
    without = positions[np.isin(positions // task.chunk, lacking)]
    return {"missing": task.labels.take([int(p) for p in without]).to_json()}


def _named(
    path: str, named: Mapping[int, Mapping[str, Sequence[str]]]
) -> dict[str, Any]:
    """Return the attribute that says which subtasks made items with names of their own."""
    found = {
        name: number
        for number, by_path in named.items()
        for name in by_path.get(path, ())
    }
    return {"named": found} if found else {}


def _message(context: InstanceContext, finished: Sequence[Finished]) -> str:
    first = finished[0]
    more = f" and {len(finished) - 1} more tasks" if len(finished) > 1 else ""
    return (
        f"{context.pipeline.name} {context.number}: {first.plan.node} "
        f"{first.plan.unit.name} (task {first.number}){more}"
    )
