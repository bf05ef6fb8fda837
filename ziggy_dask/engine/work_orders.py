"""What workers are given for a task: its plan, made concrete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ziggy_dask.datastore import Labels, Repository, Storage
from ziggy_dask.definitions import (
    DataReceiptStep,
    DataType,
    ModelType,
    Node,
    ParameterSet,
    Pipeline,
    Programs,
)
from ziggy_dask.definitions.names import argument_name
from ziggy_dask.engine.history import to_leave_out
from ziggy_dask.engine.launch import request_from_options
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DefinitionError
from ziggy_dask.planning import (
    Feed,
    Processed,
    Span,
    Target,
    TaskPlan,
    Unit,
    Where,
    task_from_json,
)
from ziggy_dask.receipt import ModelVersion, applicable, model_path, model_versions
from ziggy_dask.records import instances
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.workers import ModelFile, Sink, Source, Work

NO_CHANGES: Mapping[str, Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """What all tasks of an instance have in common."""

    number: int
    """Number of the instance."""
    pipeline: Pipeline
    """The exact definition."""
    sets: Mapping[str, ParameterSet]
    """The parameter sets."""
    code_version: str
    """Version of the algorithms' code."""
    datastore: str
    """URL of the datastore."""
    base_snapshot: str
    """Snapshot that the instance reads."""
    scaffold: bytes
    """Fork in which its products are allocated."""
    models: Mapping[str, tuple[ModelVersion, ...]]
    """Stored models by model type."""
    where: Where
    """The choice of units of work."""
    event_labels: tuple[str, ...]
    """Labels of the event that started it."""
    processed: Processed
    """Items that are left out, because earlier instances have processed them."""
    programs: Programs
    """How programs are run."""


def work_of(
    facts: InstanceFacts,
    task: TaskPlan,
    number: int,
    *,
    token: str,
    snapshots: Mapping[int, str],
    allocations: Mapping[str, bytes],
    changes: Mapping[str, Mapping[str, object]] = NO_CHANGES,
    resubmits: int = 0,
) -> Work:
    """Return what the subtasks of a task have in common.

    Parameters
    ----------
    facts
        The instance.
    task
        The task's plan.
    number
        Number of the task.
    token
        Identifies this run of the supervisor.
    snapshots
        Snapshots that published tasks of this instance, by index.
    allocations
        Forks in which outputs were allocated by earlier runs, by product.
    changes
        Parameters that were changed for its restart, by set and name.
    resubmits
        How often it was restarted by itself; its time limit grows by that.
    """
    node = facts.pipeline.by_name[task.node]
    if isinstance(node.step, DataReceiptStep):
        raise TypeError(f"node {node.name!r} has no algorithm")
    return Work(
        token=work_token(token, number),
        index=task.index,
        instance=facts.number,
        task=number,
        node=task.node,
        unit=dict(task.unit.values),
        unit_name=task.unit.name,
        step=node.step,
        limit_s=node.limit_s * node.retry.time**resubmits,
        root=facts.pipeline.root,
        code_version=facts.code_version,
        sets=_sets(facts, node, changes),
        models=_models(facts, node, task.unit),
        sources=tuple(_source(facts, feed, snapshots) for feed in task.feeds),
        sinks=tuple(_sink(facts, target, allocations) for target in task.targets),
        event_labels=facts.event_labels,
        labels=task.labels,
        chunk=task.chunk,
        count=task.count,
        datastore=facts.datastore,
        scaffold=facts.scaffold,
        programs=facts.programs,
    )


def work_token(run: str, task: int) -> str:
    """Return what tells the work on a task in one run of the supervisor from others."""
    return f"{run}-{task}"


def storage_of(data_type: DataType) -> Storage:
    """Return how products of a data type are stored."""
    return Storage(
        dimension=data_type.subtask,
        chunk=data_type.chunk,
        chunks=data_type.chunks,
        compression=data_type.compression,
    )


def input_snapshots(
    facts: InstanceFacts, task: TaskPlan, snapshots: Mapping[int, str]
) -> dict[str, str]:
    """Return the snapshot from which each input of a task is read, by its path.

    Inputs are products, and the files of models.
    """
    models = _models(facts, facts.pipeline.by_name[task.node], task.unit)
    return {
        feed.path: facts.base_snapshot if feed.task is None else snapshots[feed.task]
        for feed in task.feeds
    } | {f"{one.path}/{one.stored}": one.snapshot for one in models.values()}


def _source(facts: InstanceFacts, feed: Feed, snapshots: Mapping[int, str]) -> Source:
    data_type = facts.pipeline.types[feed.data_type]
    stored: str | None = facts.base_snapshot
    if feed.task is not None:
        stored = snapshots.get(feed.task)
    return Source(
        name=argument_name(feed.data_type),
        data_type=feed.data_type,
        path=feed.path,
        kind=data_type.kind,
        dimension=data_type.subtask,
        chunk=data_type.chunk,
        is_whole=feed.span is Span.WHOLE,
        labels=feed.labels,
        snapshot=stored,
        task=feed.task if stored is None else None,
        max_failed=_max_failed(facts.pipeline, feed.data_type),
        pattern=data_type.file_pattern(facts.pipeline.patterns),
        file_format=data_type.file_format,
    )


def _max_failed(pipeline: Pipeline, data_type: str) -> int:
    allowed = [n.max_failed_subtasks for n in pipeline.nodes if data_type in n.outputs]
    return max(allowed, default=0)


def _sink(facts: InstanceFacts, target: Target, allocations: Mapping[str, Any]) -> Sink:
    data_type = facts.pipeline.types[target.data_type]
    return Sink(
        name=argument_name(target.data_type),
        data_type=target.data_type,
        path=target.path,
        kind=data_type.kind,
        storage=storage_of(data_type),
        allocation=allocations.get(target.path),
        pattern=data_type.file_pattern(facts.pipeline.patterns),
        reader=data_type.reader,
        reader_options=data_type.reader_options,
    )


def instance_facts(
    site: OpenCluster, record: InstanceRecord, *, with_scaffold: bool = True
) -> InstanceFacts:
    """Return what the tasks of an instance have in common.

    The scaffold is made anew; forks of an older one still merge with its forks,
    since products that were allocated before keep their allocation.
    """
    pipeline, sets = instances.instance_pipeline(site.database, record.id)
    request = request_from_options(pipeline.name, record.options)
    interned: dict[Labels, Labels] = {}
    plans = instances.task_plans(site.database, record.id).values()
    paths = {
        target.path
        for one in plans
        if one
        for target in task_from_json(one, interned).targets
    }
    return InstanceFacts(
        number=record.id,
        pipeline=pipeline,
        sets=sets,
        code_version=record.code_version,
        datastore=site.repository.url,
        base_snapshot=record.base_snapshot,
        scaffold=site.repository.scaffold(scaffold_name(record.id), sorted(paths))
        if with_scaffold
        else b"",
        models=stored_models(site.repository, pipeline, record.base_snapshot),
        where=request.where,
        event_labels=request.labels or (),
        processed=to_leave_out(site.database, pipeline, request.process, record.id),
        programs=site.cluster.programs,
    )


def stored_models(
    repository: Repository, pipeline: Pipeline, snapshot: str
) -> dict[str, tuple[ModelVersion, ...]]:
    """Return all versions of models in a snapshot, by model type."""
    session = repository.reading(snapshot)
    return {one.name: model_versions(session, one.name) for one in pipeline.model_types}


def require_models(
    pipeline: Pipeline,
    tasks: Iterable[TaskPlan],
    stored: Mapping[str, Sequence[ModelVersion]],
) -> None:
    """Refuse tasks that need a model which is not there.

    Raises
    ------
    DefinitionError
        With the first of them.
    """
    for task in tasks:
        for name in pipeline.by_name[task.node].models:
            model_type = pipeline.models[name]
            if applicable(model_type, stored[name], dict(task.unit.values)) is None:
                raise DefinitionError(_why_no_model(model_type, task, stored[name]))


def _why_no_model(
    model_type: ModelType, task: TaskPlan, stored: Sequence[ModelVersion]
) -> str:
    if not stored:
        return (
            f"node {task.node!r} uses the model type {model_type.name!r}, of which none "
            "was delivered yet; deliver one in 'models'"
        )
    known = ", ".join(
        f"{one.original!r} from {one.valid_from}"
        + (f" until {one.valid_until}" if one.valid_until else "")
        for one in stored[-5:]
    )
    return (
        f"node {task.node!r} {task.unit.name}: no model of type {model_type.name!r} "
        f"applies to {model_type.observed} "
        f"{dict(task.unit.values)[model_type.observed]!r}; there are {known}"
    )


def _sets(
    facts: InstanceFacts, node: Node, changes: Mapping[str, Mapping[str, object]]
) -> tuple[ParameterSet, ...]:
    """Return the parameter sets of a node, with what was changed for a restart."""
    return tuple(
        facts.sets[one.name].with_values(changes.get(one.name, {}))
        for one in facts.pipeline.sets_of(node)
    )


def _models(facts: InstanceFacts, node: Node, unit: Unit) -> dict[str, ModelFile]:
    """Return the models that apply to a unit of work, by model type."""
    found = {}
    for name in node.models:
        model_type = facts.pipeline.models[name]
        version = applicable(model_type, facts.models[name], dict(unit.values))
        if version is None:
            raise DefinitionError(f"{unit.name} has no model of type {name!r}")
        found[name] = ModelFile(
            path=model_path(name),
            stored=version.stored,
            original=version.original,
            snapshot=facts.base_snapshot,
        )
    return found


def scaffold_name(instance: int) -> str:
    """Return the name of the branch that keeps an instance's scaffold."""
    return f"scaffold-{instance}"
