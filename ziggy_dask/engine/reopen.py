"""Opening a subtask: what it was given, to look at and to run again, anywhere."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ziggy_dask.definitions import DaskFunctionStep, FunctionStep, code_version
from ziggy_dask.engine.code import code_changes
from ziggy_dask.engine.context import load_context
from ziggy_dask.engine.loading import load_tasks
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.work_orders import located, work_of
from ziggy_dask.errors import RecordsError, TaskError
from ziggy_dask.records import instances
from ziggy_dask.records.items import items_of_subtask, shown_items
from ziggy_dask.workers import (
    Inputs,
    Work,
    bound_algorithm,
    models_of,
    open_lazily,
    prepare_program,
)


@dataclass(frozen=True, kw_only=True)
class OpenedSubtask:
    """A subtask with what it was given.

    Inputs are those of the snapshots that it saw, parameters and models those of its
    instance. Nothing that is done with it is stored.
    """

    task: int
    """Number of its task."""
    number: int
    """Number of the subtask."""
    items: tuple[str, ...]
    """Its items by name; empty: it has everything."""
    inputs: Mapping[str, Any]
    """The inputs by argument name; of a program, they are read when they are needed."""
    parameters: Mapping[str, Mapping[str, object]]
    """Parameters by set and name."""
    models: Mapping[str, Any]
    """Models by type, under their original names."""
    is_code_changed: bool
    """Whether the algorithm's code, which is the one of today, is not the one it ran with."""
    _work: Work

    @property
    def is_program(self) -> bool:
        """Whether it runs a program, not a function."""
        return not isinstance(self._work.step, FunctionStep | DaskFunctionStep)

    @property
    def function(self) -> Callable[..., object]:
        """The algorithm.

        Raises
        ------
        TypeError
            If it is a program.
        """
        return bound_algorithm(self._function_work(), self.number)[0]

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments of the algorithm, by name."""
        extra = bound_algorithm(self._function_work(), self.number)[1]
        return {**self.inputs, **extra}

    def run(self) -> object:
        """Call the algorithm, here, and return what it returns or raise what it raises."""
        return self.function(**self.arguments)

    def prepare(self, directory: Path | str) -> list[str]:
        """Fill a directory with what the program was given; return its command line."""
        return prepare_program(self._work, self.number, Path(directory), self.models)

    def _function_work(self) -> Work:
        if not isinstance(self._work.step, FunctionStep | DaskFunctionStep):
            raise TypeError(
                f"node {self._work.node!r} runs a program; use prepare(directory)"
            )
        return self._work

    def __repr__(self) -> str:
        """Say what it is, and what it has."""
        changed = "; the code has changed since" if self.is_code_changed else ""
        items = f" ({shown_items(self.items)})" if self.items else ""
        return (
            f"<ziggy_dask.OpenedSubtask {self.number}{items} of task {self.task}: "
            f"{self._work.node} {self._work.unit_name}, "
            f"inputs {', '.join(self.inputs) or '-'}{changed}>"
        )


def open_subtask(site: OpenCluster, task: int, number: int) -> OpenedSubtask:
    """Return a subtask with its very inputs; no compute environment is needed.

    Parameters
    ----------
    site
        The open cluster.
    task
        Number of the task.
    number
        Number of the subtask.

    Raises
    ------
    RecordsError
        If there is no such subtask.
    TaskError
        If its inputs are not stored.
    """
    record = instances.task(site.database, task)
    if not 0 <= number < record.total or record.position < 0:
        raise RecordsError(
            f"task {task} has no subtask {number} that can be opened; it has "
            f"{record.total}, numbered from 0"
        )
    instance = instances.instance(site.database, record.instance)
    context = load_context(site, instance)
    pipeline, _ = instances.instance_pipeline(site.database, record.instance)
    tasks = load_tasks(site.database, record.instance)
    plan = tasks.plans[record.position]
    snapshots = tasks.snapshots()
    unstored = [
        tasks.records[feed.task].id
        for feed in plan.feeds
        if feed.task is not None and feed.task not in snapshots
    ]
    if unstored:
        raise TaskError(
            f"task {task} reads what task {unstored[0]} makes, which is not stored"
        )
    work = work_of(
        context,
        plan,
        task,
        token=f"opened-{uuid.uuid4().hex}",
        scaffold=b"",
        snapshots=snapshots,
        allocations={},
        changes=record.changes,
    )
    work = located(site.repository, work)
    return OpenedSubtask(
        task=task,
        number=number,
        items=items_of_subtask(site.database, task, number),
        inputs=_inputs(work, number),
        parameters={one.name: dict(one.values) for one in work.sets},
        models=models_of(work),
        is_code_changed=bool(code_changes(site, instance, pipeline.root)),
        _work=_with_newest_code(work, pipeline.root),
    )


def _with_newest_code(work: Work, root: Path | None) -> Work:
    """Let a subtask run the code of today, which its author works on, if it is there."""
    if root is None or not root.is_dir():
        return work
    return replace(work, root=root, code_version=code_version(root))


def _inputs(work: Work, number: int) -> Mapping[str, Any]:
    if isinstance(work.step, DaskFunctionStep):
        return open_lazily(work)
    if isinstance(work.step, FunctionStep):
        return Inputs(work, ()).of_subtask(number)
    return {}
