"""What workers are given for a task: its plan, made concrete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ziggy_dask.datastore import Repository, Storage
from ziggy_dask.definitions import (
    DataReceiptStep,
    DataType,
    ModelType,
    Node,
    ParameterSet,
    Pipeline,
)
from ziggy_dask.definitions.names import argument_name
from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.errors import DefinitionError
from ziggy_dask.planning import (
    Feed,
    Span,
    Target,
    TaskPlan,
    Unit,
)
from ziggy_dask.receipt import ModelVersion, applicable, model_path
from ziggy_dask.records.attempts import Growth
from ziggy_dask.workers import ModelFile, Sink, Source, Work

NO_CHANGES: Mapping[str, Mapping[str, object]] = MappingProxyType({})
UNGROWN = Growth()


def work_of(
    context: InstanceContext,
    task: TaskPlan,
    number: int,
    *,
    token: str,
    scaffold: bytes,
    snapshots: Mapping[int, str],
    allocations: Mapping[str, bytes],
    changes: Mapping[str, Mapping[str, object]] = NO_CHANGES,
    attempt: int = 0,
    grown: Growth = UNGROWN,
) -> Work:
    """Return what the subtasks of a task have in common.

    Parameters
    ----------
    context
        The instance.
    scaffold
        Fork in which its products are allocated.
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
    attempt
        How often it was restarted or planned again.
    grown
        How often it was restarted by itself for want of time; its limit grows by that.
    """
    node = context.pipeline.by_name[task.node]
    if isinstance(node.step, DataReceiptStep):
        raise TypeError(f"node {node.name!r} has no algorithm")
    return Work(
        token=work_token(token, number, attempt),
        index=task.index,
        instance=context.number,
        task=number,
        node=task.node,
        unit=dict(task.unit.values),
        unit_name=task.unit.name,
        step=node.step,
        limit_s=node.limit_s * node.retry.time**grown.time,
        root=context.pipeline.root,
        code_version=context.record.code_version,
        sets=sets_of_node(context, node, changes),
        models=models_of_unit(context, node, task.unit),
        sources=tuple(_source(context, feed, snapshots) for feed in task.feeds),
        sinks=tuple(_sink(context, target, allocations) for target in task.targets),
        event_labels=context.event_labels,
        labels=task.labels,
        chunk=task.chunk,
        count=task.count,
        datastore=context.datastore,
        scaffold=scaffold,
        programs=context.programs,
    )


def located(repository: Repository, work: Work) -> Work:
    """Return work of which workers know which snapshots have its inputs and models."""
    sources = [
        one
        if one.snapshot is None
        else replace(one, held=repository.held(one.path, one.snapshot))
        for one in work.sources
    ]
    models = {
        name: replace(one, held=repository.held(one.path, one.snapshot))
        for name, one in work.models.items()
    }
    return replace(work, sources=tuple(sources), models=models)


def work_token(run: str, task: int, attempt: int) -> str:
    """Return what tells the work on a task in one run of the supervisor from others."""
    return f"{run}-{task}-{attempt}"


def storage_of(data_type: DataType) -> Storage:
    """Return how products of a data type are stored."""
    return Storage(
        dimension=data_type.subtask,
        chunk=data_type.chunk,
        chunks=data_type.chunks,
        compression=data_type.compression,
        dtypes=data_type.dtypes,
    )


def input_snapshots(
    context: InstanceContext, task: TaskPlan, snapshots: Mapping[int, str]
) -> dict[str, str]:
    """Return the snapshot from which each input of a task is read, by its path.

    Inputs are products, and the files of models.
    """
    models = models_of_unit(context, context.pipeline.by_name[task.node], task.unit)
    return {
        feed.path: context.record.base_snapshot
        if feed.task is None
        else snapshots[feed.task]
        for feed in task.feeds
    } | {f"{one.path}/{one.stored}": one.snapshot for one in models.values()}


def _source(
    context: InstanceContext, feed: Feed, snapshots: Mapping[int, str]
) -> Source:
    data_type = context.pipeline.types[feed.data_type]
    stored: str | None = context.record.base_snapshot
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
        instance=context.number if feed.task is not None else None,
        task=feed.task if stored is None else None,
        max_failed=_max_failed(context.pipeline, feed.data_type),
        pattern=data_type.file_pattern(context.pipeline.patterns),
        file_format=data_type.file_format,
    )


def _max_failed(pipeline: Pipeline, data_type: str) -> int:
    allowed = [n.max_failed_subtasks for n in pipeline.nodes if data_type in n.outputs]
    return max(allowed, default=0)


def _sink(
    context: InstanceContext, target: Target, allocations: Mapping[str, Any]
) -> Sink:
    data_type = context.pipeline.types[target.data_type]
    return Sink(
        name=argument_name(target.data_type),
        data_type=target.data_type,
        path=target.path,
        kind=data_type.kind,
        storage=storage_of(data_type),
        allocation=allocations.get(target.path),
        pattern=data_type.file_pattern(context.pipeline.patterns),
        reader=data_type.reader,
        reader_options=data_type.reader_options,
    )


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


def sets_of_node(
    context: InstanceContext, node: Node, changes: Mapping[str, Mapping[str, object]]
) -> tuple[ParameterSet, ...]:
    """Return the parameter sets of a node, with what was changed for a restart."""
    return tuple(
        context.sets[one.name].with_values(changes.get(one.name, {}))
        for one in context.pipeline.sets_of(node)
    )


def models_of_unit(
    context: InstanceContext, node: Node, unit: Unit
) -> dict[str, ModelFile]:
    """Return the models that apply to a unit of work, by model type."""
    found = {}
    for name in node.models:
        model_type = context.pipeline.models[name]
        version = applicable(model_type, context.models[name], dict(unit.values))
        if version is None:
            raise DefinitionError(f"{unit.name} has no model of type {name!r}")
        found[name] = ModelFile(
            path=model_path(name),
            stored=version.stored,
            original=version.original,
            snapshot=context.record.base_snapshot,
        )
    return found
