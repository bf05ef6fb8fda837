"""Restarting and halting tasks: what an operator may ask, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.engine.code import code_of_pipeline
from ziggy_dask.errors import DefinitionError, RecordsError
from ziggy_dask.planning import (
    TaskPlan,
    followers,
    reopen,
    task_from_json,
    task_to_json,
)
from ziggy_dask.records import (
    Database,
    InstanceState,
    TaskStep,
    instances,
    outcomes,
)
from ziggy_dask.records.instances import TaskRecord
from ziggy_dask.records.restarts import Reset

Changes = Mapping[str, Mapping[str, object]]


class CodeChoice(Enum):
    """Which code runs where that of the pipeline's directory has changed."""

    OLD = "old"
    """The code with which the instance was launched, or restarted before."""
    NEW = "new"
    """The code that is in the pipeline's directory now."""


class RestartMode(Enum):
    """What runs again of a task."""

    FROM_BEGINNING = "from-beginning"
    """All of it."""
    RESUBMIT = "resubmit"
    """Its subtasks that failed or did not run."""
    RESUME_CURRENT_STEP = "resume-current-step"
    """Nothing: it goes on where it stopped, and what is good of it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What an operator asks to restart."""

    tasks: tuple[int, ...] = ()
    """Numbers of tasks; if there are none, the other choices count."""
    instance: int | None = None
    """All tasks of an instance."""
    fingerprint: str = ""
    """Only failures of this kind, wherever they are unless tasks are named."""
    mode: RestartMode | None = None
    """What runs again; None: what failed."""
    changes: Changes = field(default_factory=dict)
    """Parameters to change, by set and name."""
    code: CodeChoice = CodeChoice.OLD
    """Which code runs from now on."""
    is_automatic: bool = False
    """Whether no operator asks."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` turns back into an equal restart."""
        return {
            "tasks": list(self.tasks),
            "instance": self.instance,
            "fingerprint": self.fingerprint,
            "mode": self.mode.value if self.mode else None,
            "changes": {name: dict(values) for name, values in self.changes.items()},
            "code": self.code.value,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Restart:
        """Return the restart that `to_json` described."""
        mode = RestartMode(content["mode"]) if content["mode"] else None
        known = {
            "tasks": tuple(content["tasks"]),
            "mode": mode,
            "code": CodeChoice(content.get("code", CodeChoice.OLD.value)),
        }
        return cls(**{**content, **known})


def is_restartable(task: TaskRecord) -> bool:
    """Tell whether a task can be restarted: it failed, or subtasks of it did."""
    return task.is_error or (task.step is TaskStep.COMPLETE and task.failed > 0)


def plan_restart(database: Database, asked: Restart) -> list[Reset]:
    """Return what becomes of the tasks of a restart, by instance.

    Tasks that can't be restarted are passed over, and so are those that the mode does
    not fit, if it fits any other; see `passed_over`. An instance of which what follows
    could not be planned is planned again.

    Raises
    ------
    RecordsError
        If a number is unknown, or no failure is of the kind that is asked for.
    DefinitionError
        If the mode fits none of the tasks, or a parameter is unknown or has a bad value.
    """
    by_instance: dict[int, list[TaskRecord]] = defaultdict(list)
    if asked.instance is not None and _failed_to_plan(database, asked):
        by_instance[asked.instance] = []
    misfits: list[str] = []
    for task in filter(is_restartable, _chosen(database, asked)):
        if reason := _misfit(task, asked):
            misfits.append(reason)
        else:
            by_instance[task.instance].append(task)
    if misfits and not by_instance:
        raise DefinitionError(misfits[0])
    return [
        _plan_instance(database, instance, tasks, asked)
        for instance, tasks in by_instance.items()
    ]


def passed_over(database: Database, asked: Restart) -> list[tuple[TaskRecord, str]]:
    """Return the tasks that failed but stay as they are, since the mode does not fit them.

    Returns
    -------
    list
        Each with the reason.
    """
    return [
        (task, reason)
        for task in filter(is_restartable, _chosen(database, asked))
        if (reason := _misfit(task, asked))
    ]


def _failed_to_plan(database: Database, asked: Restart) -> bool:
    """Tell whether a restart is of an instance that could not be planned."""
    assert asked.instance is not None
    state = instances.instance(database, asked.instance).state
    if state is not InstanceState.TRANSITION_FAILED or asked.tasks or asked.fingerprint:
        return False
    if asked.changes:
        raise DefinitionError(
            f"instance {asked.instance} has no tasks yet whose parameters could be "
            "changed; run the pipeline anew with --set"
        )
    return True


def _chosen(database: Database, asked: Restart) -> list[TaskRecord]:
    """Return the tasks that a restart is about."""
    found: list[TaskRecord] = []
    if asked.tasks:
        numbers = dict.fromkeys(asked.tasks)
        found = [instances.task(database, number) for number in numbers]
    elif asked.instance is not None:
        number = instances.instance(database, asked.instance).id
        found = instances.tasks(database, number)
    if not asked.fingerprint:
        return found
    kinds = outcomes.tasks_with_failures(database)
    if asked.fingerprint not in kinds:
        raise RecordsError(
            f"no failure is of the kind {asked.fingerprint!r}"
            f"{suggestion(asked.fingerprint, kinds)}; see: ziggy failures INSTANCE"
        )
    of_kind = kinds[asked.fingerprint]
    if asked.tasks or asked.instance is not None:
        return [one for one in found if one.id in of_kind]
    return [instances.task(database, number) for number in sorted(of_kind)]


def _plan_instance(
    database: Database, instance: int, tasks: Sequence[TaskRecord], asked: Restart
) -> Reset:
    _check_changes(database, instance, asked.changes)
    records = {one.id: one for one in instances.tasks(database, instance)}
    plans = {
        number: task_from_json(content, {})
        for number, content in instances.task_plans(database, instance).items()
        if content
    }
    modes = {one.id: _mode_of(one, asked) for one in tasks}
    reset = _reset(instance, records, plans, modes, asked)
    if asked.code is CodeChoice.OLD:
        return reset
    pipeline, _ = instances.instance_pipeline(database, instance)
    return replace(reset, code=code_of_pipeline(pipeline))


def _mode_of(task: TaskRecord, asked: Restart) -> RestartMode:
    """Return how a task is restarted."""
    if _is_receipt(task):
        return RestartMode.RESUME_CURRENT_STEP
    return asked.mode or RestartMode.RESUBMIT


def _is_receipt(task: TaskRecord) -> bool:
    """Tell whether a task takes in a delivery: it comes ahead of the plan."""
    return task.position < 0


def _misfit(task: TaskRecord, asked: Restart) -> str:
    """Return why a task can't be restarted as it is asked; empty: it can."""
    mode = asked.mode
    if _is_receipt(task) and mode not in (None, RestartMode.RESUME_CURRENT_STEP):
        return (
            f"task {task.id} is a data receipt, which can only resume; "
            "say --mode resume-current-step, or no mode"
        )
    if _is_receipt(task):
        return ""
    if mode is RestartMode.FROM_BEGINNING and asked.fingerprint:
        return (
            "a restart from the beginning does not go by the kind of failure; "
            "say --mode resubmit"
        )
    if mode is RestartMode.RESUBMIT and task.total and task.complete == task.total:
        return (
            f"all subtasks of task {task.id} are complete, so there is nothing to "
            "resubmit; say --mode resume-current-step to store them"
        )
    if mode is RestartMode.RESUME_CURRENT_STEP and task.total == task.failed > 0:
        return (
            f"all subtasks of task {task.id} failed, so there is nothing to store; "
            "say --mode resubmit"
        )
    return ""


def _reset(
    instance: int,
    records: Mapping[int, TaskRecord],
    plans: Mapping[int, TaskPlan],
    modes: Mapping[int, RestartMode],
    asked: Restart,
) -> Reset:
    """Return a restart with all that follows: what read old products is made again."""
    number_of = {plan.index: number for number, plan in plans.items()}

    def after(numbers: Sequence[int]) -> list[int]:
        first = [plans[number].index for number in numbers if number in plans]
        return [number_of[i] for i in sorted(followers(plans.values(), first))]

    by_mode = {
        mode: [number for number, one in modes.items() if one is mode]
        for mode in RestartMode
    }
    afresh = by_mode[RestartMode.FROM_BEGINNING]
    stored = [number for number in modes if records[number].step is TaskStep.COMPLETE]
    outdated = [
        number
        for number in {*after(afresh), *after(stored)}
        if records[number].complete
        or records[number].failed
        or records[number].step is TaskStep.COMPLETE
    ]
    afresh = sorted({*afresh, *outdated})
    return Reset(
        instance=instance,
        afresh=afresh,
        failed=[n for n in by_mode[RestartMode.RESUBMIT] if n not in afresh],
        as_they_are=[
            n for n in by_mode[RestartMode.RESUME_CURRENT_STEP] if n not in afresh
        ],
        fingerprint=asked.fingerprint,
        is_automatic=asked.is_automatic,
        plans={
            number: task_to_json(reopen(plans[number]))
            for number in outdated
            if plans[number].was_open
        },
        changes=asked.changes,
        changed=sorted({*modes, *after(list(modes))}) if asked.changes else [],
    )


def _check_changes(database: Database, instance: int, changes: Changes) -> None:
    _, sets = instances.instance_pipeline(database, instance)
    for name, values in changes.items():
        if name not in sets:
            raise DefinitionError(
                f"instance {instance} has no parameter set {name!r}"
                f"{suggestion(name, sets)}"
            )
        sets[name].with_values(values)
