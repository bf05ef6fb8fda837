"""What all tasks of an instance have in common, loaded once and passed down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ziggy_dask.datastore import Repository
from ziggy_dask.definitions import ParameterSet, Pipeline, Programs
from ziggy_dask.engine.code import code_of_instance
from ziggy_dask.engine.history import to_leave_out
from ziggy_dask.engine.launch import Request, request_from_options
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.planning import Processed, TaskPlan, Where
from ziggy_dask.receipt import ModelVersion, model_path, model_versions
from ziggy_dask.records import instances
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.workers import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceContext:
    """One instance: what was asked for, and what it depends on."""

    record: InstanceRecord
    """The instance as it was when it was loaded."""
    request: Request
    """What was asked for."""
    pipeline: Pipeline
    """The exact definition; its root is the directory of the code that runs."""
    code: Code | None
    """The code that runs; None: it is what Python can import."""
    sets: Mapping[str, ParameterSet]
    """The parameter sets."""
    datastore: str
    """URL of the datastore."""
    programs: Programs
    """How programs are run."""
    models: Mapping[str, tuple[ModelVersion, ...]]
    """Stored models by model type."""
    processed: Processed
    """Items that are left out, because earlier instances have processed them."""

    @property
    def number(self) -> int:
        """Number of the instance."""
        return self.record.id

    @property
    def where(self) -> Where:
        """The choice of units of work."""
        return self.request.where

    @property
    def event_labels(self) -> tuple[str, ...]:
        """Labels of the event that started it."""
        return self.request.labels or ()


def load_context(site: OpenCluster, record: InstanceRecord) -> InstanceContext:
    """Return what the tasks of an instance have in common.

    Raises
    ------
    RecordsError
        If the database can't be read.
    DatastoreError
        If the snapshot that the instance reads is not there any more.
    """
    pipeline, sets = instances.instance_pipeline(site.database, record.id)
    code = code_of_instance(site, record, pipeline.root)
    pipeline = replace(pipeline, root=code.root if code is not None else None)
    request = request_from_options(pipeline.name, record.options)
    return InstanceContext(
        record=record,
        request=request,
        pipeline=pipeline,
        code=code,
        sets=sets,
        datastore=site.repository.url,
        programs=site.cluster.programs,
        models=stored_models(site.repository, pipeline, record.base_snapshot),
        processed=to_leave_out(site.database, pipeline, request.process, record.id),
    )


def make_scaffold(site: OpenCluster, instance: int, plans: Iterable[TaskPlan]) -> bytes:
    """Return a fork in which the products of an instance can be allocated.

    The scaffold is made anew; forks of an older one still merge with its forks,
    since products that were allocated before keep their allocation.
    """
    paths = {target.path for plan in plans for target in plan.targets}
    return site.repository.scaffold(scaffold_name(instance), sorted(paths))


def scaffold_name(instance: int) -> str:
    """Return the name of the branch that keeps an instance's scaffold."""
    return f"scaffold-{instance}"


def stored_models(
    repository: Repository, pipeline: Pipeline, snapshot: str
) -> dict[str, tuple[ModelVersion, ...]]:
    """Return all versions of models in a snapshot, by model type."""
    return {
        one.name: model_versions(
            repository.session_of(model_path(one.name), snapshot), one.name
        )
        for one in pipeline.model_types
    }
