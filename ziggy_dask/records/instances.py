"""Instances and tasks: what runs, how far it is, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from ziggy_dask.errors import RecordsError
from ziggy_dask.records import clocks, journal
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.states import (
    WAITING_STEPS,
    InstanceState,
    TaskStep,
    state_of_task,
)
from ziggy_dask.records.tables import FeedRow, InstanceRow, PipelineRow, TaskRow
from ziggy_dask.records.triggers import NewEvent, insert_event

if TYPE_CHECKING:
    from ziggy_dask.definitions import ParameterSet, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """A run of a pipeline."""

    id: int
    """Number, from 1."""
    name: str
    """Name that the operator gave it; may be empty."""
    pipeline: str
    """Name of the pipeline."""
    version: int
    """Version of the pipeline."""
    code_version: str
    """Version of the algorithms' code that it runs."""
    code: str = ""
    """Digest of that code on record; empty: it was not kept."""
    state: InstanceState
    """How it stands."""
    options: Mapping[str, Any]
    """Start and stop node, choice of units of work."""
    parameters: Mapping[str, Any]
    """Parameter sets: version, content, and what was changed for this run."""
    software: Mapping[str, str]
    """Versions of Python and packages."""
    base_snapshot: str
    """Snapshot that it reads."""
    is_planned: bool
    """Whether its tasks have been made."""
    message: str
    """Why it could not go on, if so."""
    created: datetime
    """When it was made."""
    finished: datetime | None
    """When its supervisor stopped working on it; None: it has not."""
    clock_s: float = 0.0
    """Time of work on it, in seconds, as far as it was counted."""
    clock_since_s: float | None = None
    """Since when it is worked on, in seconds since 1970 UTC; None: it is not."""

    @property
    def seconds(self) -> float:
        """Time of work on it so far, in seconds; standing still does not count."""
        return clocks.seconds(self.clock_s, self.clock_since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A node on a unit of work."""

    id: int
    """Number, from 1, never used again."""
    instance: int
    """Instance that it belongs to."""
    position: int
    """Index in the plan of the instance."""
    node: str
    """Name of the node."""
    unit: str
    """Name of the unit of work."""
    step: TaskStep
    """How far it is."""
    is_error: bool
    """Whether it failed."""
    total: int
    """Subtasks."""
    complete: int
    """Subtasks that are complete."""
    failed: int
    """Subtasks that failed."""
    snapshot: str
    """Snapshot that published its products; empty: not yet."""
    inputs: Mapping[str, Any]
    """Snapshot from which each input was read, by product."""
    message: str
    """Why it failed, if so."""
    worker: str
    """Where its subtasks ran last."""
    started: datetime | None
    """When its first subtask began."""
    finished: datetime | None
    """When it was complete or failed."""
    attempt: int
    """How often it was restarted."""
    resubmits: int
    """How often that happened by itself since an operator did."""
    tolerated: int
    """So many subtasks may fail although its node does not allow it."""
    changes: Mapping[str, Any]
    """Parameters that were changed for its restart, by set and name."""
    cause: str
    """Why it failed, as one of the engine's `FailureCause`; empty: it did not."""
    clock_s: float
    """Time of work on it, in seconds, over all attempts, as far as it was counted."""
    clock_since_s: float | None
    """Since when it is worked on, in seconds since 1970 UTC; None: it is not."""

    @property
    def seconds(self) -> float:
        """Time of work on it so far, in seconds; waiting does not count."""
        return clocks.seconds(self.clock_s, self.clock_since_s)

    @property
    def state(self) -> str:
        """Step and error flag, as people read them: ``ERROR - EXECUTING``."""
        return state_of_task(self.step.value, is_error=self.is_error)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.is_error or self.step is TaskStep.COMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """What is known of an instance when it is made."""

    name: str
    """Name given by the operator."""
    pipeline_id: int
    """Key of the pipeline's version."""
    code_version: str
    """Version of the algorithms' code."""
    code: str = ""
    """Digest of that code on record; empty: there is none."""
    options: Mapping[str, Any]
    """Start and stop node, choice of units of work."""
    parameters: Mapping[str, Any]
    """Parameter sets as in `InstanceRecord`."""
    software: Mapping[str, str]
    """Versions of Python and packages."""
    base_snapshot: str
    """Snapshot that it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What is known of a task when it is made."""

    position: int
    """Index in the plan of the instance."""
    node: str
    """Name of the node."""
    unit: str
    """Name of the unit of work."""
    plan: Mapping[str, Any]
    """The task's plan as plain values."""
    total: int
    """Subtasks, as far as known."""


@patiently
def create_instance(
    database: Database, new: NewInstance, event: NewEvent | None = None
) -> int:
    """Make an instance of what is locked for it; return its number.

    The event that starts it is recorded in the same transaction.
    """
    with database.writing() as connection:
        made = connection.execute(
            insert(InstanceRow)
            .values(
                name=new.name,
                pipeline_id=new.pipeline_id,
                code_version=new.code_version,
                code=new.code,
                state=InstanceState.PROCESSING.value,
                options=dict(new.options),
                parameters=dict(new.parameters),
                software=dict(new.software),
                base_snapshot=new.base_snapshot,
                is_planned=False,
                message="",
                created=datetime.now(UTC),
                clock_since_s=time.time(),
            )
            .returning(InstanceRow.id)
        )
        number = int(made.scalar_one())
        if event is not None:
            insert_event(connection, event, number)
        return number


@patiently
def create_tasks(
    database: Database, instance: int, tasks: Sequence[NewTask], *, base_snapshot: str
) -> list[int]:
    """Make the planned tasks of an instance, all or nothing; return their numbers."""
    with database.writing() as connection:
        ids = journal.make(connection, [_new_task(instance, task) for task in tasks])
        feeds = [
            {"path": path, "task_id": number}
            for number, task in zip(ids, tasks, strict=True)
            for path in sorted({one["path"] for one in task.plan.get("feeds", ())})
        ]
        if feeds:
            connection.execute(insert(FeedRow), feeds)
        connection.execute(
            update(InstanceRow)
            .where(InstanceRow.id == instance)
            .values(is_planned=True, base_snapshot=base_snapshot)
        )
    return ids


@patiently
def create_task(database: Database, instance: int, task: NewTask) -> int:
    """Make one task ahead of the plan: a data receipt."""
    with database.writing() as connection:
        return journal.make(connection, [_new_task(instance, task)])[0]


@patiently
def settle_task(
    database: Database, task: int, plan: Mapping[str, Any], total: int
) -> None:
    """Give a task the subtasks that were not known before."""
    with database.writing() as connection:
        journal.change(
            connection,
            update(TaskRow)
            .where(TaskRow.id == task)
            .values(plan=dict(plan), total=total),
        )


@patiently
def move_tasks(
    database: Database, tasks: Sequence[int], to: TaskStep, start: Sequence[TaskStep]
) -> int:
    """Bring tasks from one of the `start` steps to another; return how many moved."""
    if not tasks:
        return 0
    values: dict[str, Any] = {"step": to.value, **clocks.of_step(to)}
    if to is TaskStep.EXECUTING:
        values["started"] = func.coalesce(TaskRow.started, datetime.now(UTC))
    elif to is TaskStep.WAITING_TO_RUN:
        values["started"] = None
    changes = [
        update(TaskRow)
        .where(TaskRow.id.in_(some), TaskRow.is_error.is_(False))
        .where(TaskRow.step.in_([step.value for step in start]))
        .values(**values)
        for some in pieces(tasks)
    ]
    with database.writing() as connection:
        if not {to, *start} & set(WAITING_STEPS):  # they go on being processed
            return sum(connection.execute(one).rowcount for one in changes)
        return len(journal.change(connection, *changes))


@patiently
def fail_task(
    database: Database,
    task: int,
    step: TaskStep | None,
    message: str,
    cause: str = "",
) -> None:
    """Set the error flag of a task, at a step; None: where it is."""
    values = {} if step is None else {"step": step.value}
    with database.writing() as connection:
        journal.change(
            connection,
            update(TaskRow)
            .where(TaskRow.id == task)
            .values(
                is_error=True,
                is_halting=False,
                message=message,
                cause=cause,
                finished=datetime.now(UTC),
                **clocks.stopped(TaskRow),
                **values,
            ),
        )


@patiently
def begin_storing(database: Database, tasks: Sequence[int]) -> list[int]:
    """Bring tasks to the step STORING; return which, in the order that is given.

    Those that an operator asked to halt before stay as they are. From then on they
    can't be halted: their products are about to be visible.
    """
    moved: set[int] = set()
    values = {"step": TaskStep.STORING.value, **clocks.running(TaskRow)}
    with database.writing() as connection:
        for some in pieces(tasks):
            change = (
                update(TaskRow)
                .where(TaskRow.id.in_(some), TaskRow.step != TaskStep.COMPLETE.value)
                .where(TaskRow.is_error.is_(False), TaskRow.is_halting.is_(False))
                .values(**values)
            )
            moved.update(journal.change(connection, change))
    return [number for number in tasks if number in moved]


@patiently
def ask_to_halt(
    database: Database, tasks: Sequence[int], *, is_supervised: bool = False
) -> int:
    """Ask the supervisor to end tasks; return how many had not ended yet.

    Parameters
    ----------
    database
        The records.
    tasks
        Numbers of the tasks.
    is_supervised
        Whether there is a supervisor; what it is storing has as good as ended then.
    """
    ended = [TaskStep.COMPLETE.value]
    if is_supervised:
        ended.append(TaskStep.STORING.value)
    with database.writing() as connection:
        return sum(
            connection.execute(
                update(TaskRow)
                .where(TaskRow.id.in_(some), TaskRow.is_error.is_(False))
                .where(TaskRow.step.not_in(ended))
                .values(is_halting=True)
            ).rowcount
            for some in pieces(tasks)
        )


@patiently
def halting(database: Database, instance_number: int) -> set[int]:
    """Return the tasks of an instance that are asked to halt and have not."""
    query = select(TaskRow.id).where(
        TaskRow.instance_id == instance_number, TaskRow.is_halting.is_(True)
    )
    with database.reading() as connection:
        return set(connection.execute(query).scalars())


@patiently
def halting_instances(database: Database) -> set[int]:
    """Return the instances with tasks that are asked to halt and have not."""
    query = select(TaskRow.instance_id).where(TaskRow.is_halting.is_(True)).distinct()
    with database.reading() as connection:
        return set(connection.execute(query).scalars())


@patiently
def set_instance_state(
    database: Database, instance: int, state: InstanceState, message: str = ""
) -> None:
    """Set the state of an instance; a final one stops its clock."""
    values: dict[str, Any] = {"state": state.value, "finished": None}
    if state.is_final:
        values["finished"] = datetime.now(UTC)
        values |= clocks.stopped(InstanceRow)
    else:
        values |= clocks.running(InstanceRow)
    if message:
        values["message"] = message
    with database.writing() as connection:
        connection.execute(
            update(InstanceRow).where(InstanceRow.id == instance).values(**values)
        )


@patiently
def await_turns(database: Database, waiting: Collection[int]) -> None:
    """Let instances wait for their turn of which no task has been made; their clocks stop."""
    values = {"state": InstanceState.INITIALIZED.value} | clocks.stopped(InstanceRow)
    with database.writing() as connection:
        for some in pieces(waiting):
            connection.execute(
                update(InstanceRow)
                .where(InstanceRow.id.in_(some))
                .where(InstanceRow.state == InstanceState.PROCESSING.value)
                .where(InstanceRow.is_planned.is_(False))
                .values(**values)
            )


@patiently
def instances(database: Database) -> list[InstanceRecord]:
    """Return all instances, oldest first."""
    with database.reading() as connection:
        rows = connection.execute(_instance_query().order_by(InstanceRow.id)).all()
    return [_instance_from_row(row) for row in rows]


@patiently
@patiently
def newest_number(database: Database) -> int:
    """Return the number of the newest instance; 0: there is none."""
    with database.reading() as connection:
        return connection.execute(select(func.max(InstanceRow.id))).scalar_one() or 0


def instance_page(
    database: Database, offset: int, limit: int
) -> tuple[int, list[InstanceRecord]]:
    """Return the number of all instances, and some of them, newest first."""
    some = _instance_query().order_by(InstanceRow.id.desc()).limit(limit).offset(offset)
    with database.reading() as connection:
        total = connection.execute(
            select(func.count()).select_from(InstanceRow)
        ).scalar_one()
        rows = connection.execute(some).all()
    return int(total), [_instance_from_row(row) for row in rows]


@patiently
def current_instances(database: Database) -> list[InstanceRecord]:
    """Return the newest instance of each pipeline, and all that have not ended."""
    newest = (
        select(func.max(InstanceRow.id))
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .group_by(PipelineRow.name)
    )
    final = [state.value for state in InstanceState if state.is_final]
    query = _instance_query().where(
        or_(InstanceRow.id.in_(newest), InstanceRow.state.not_in(final))
    )
    with database.reading() as connection:
        rows = connection.execute(query.order_by(InstanceRow.id)).all()
    return [_instance_from_row(row) for row in rows]


@patiently
def open_instances(database: Database) -> list[InstanceRecord]:
    """Return the instances that have not ended for good, by number."""
    final = [state.value for state in InstanceState if state.is_final]
    query = _instance_query().where(InstanceRow.state.not_in(final))
    with database.reading() as connection:
        rows = connection.execute(query.order_by(InstanceRow.id)).all()
    return [_instance_from_row(row) for row in rows]


@patiently
def states_of(database: Database, numbers: Sequence[int]) -> dict[int, InstanceState]:
    """Return the states of those of some instances that are on record, by number."""
    found: dict[int, InstanceState] = {}
    with database.reading() as connection:
        for some in pieces(numbers):
            query = select(InstanceRow.id, InstanceRow.state).where(
                InstanceRow.id.in_(some)
            )
            found |= {r.id: InstanceState(r.state) for r in connection.execute(query)}
    return found


@patiently
def unstored_tasks(database: Database) -> list[TaskRecord]:
    """Return all tasks whose products are not stored, by number."""
    query = select(*_TASK_COLUMNS).where(TaskRow.step != TaskStep.COMPLETE.value)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(TaskRow.id)).all()
    return [_task_from_row(row) for row in rows]


@patiently
def instance(database: Database, number: int) -> InstanceRecord:
    """Return an instance.

    Raises
    ------
    RecordsError
        If there is none of that number.
    """
    with database.reading() as connection:
        row = connection.execute(
            _instance_query().where(InstanceRow.id == number)
        ).first()
        if row is None:
            last = connection.execute(select(func.max(InstanceRow.id))).scalar()
            raise RecordsError(
                f"there is no instance {number}"
                + (f"; the last one is {last}" if last else "; none has been run yet")
            )
    return _instance_from_row(row)


@patiently
def instance_pipeline(
    database: Database, number: int
) -> tuple[Pipeline, dict[str, ParameterSet]]:
    """Return the exact definition and the parameter sets that an instance uses."""
    from ziggy_dask.records import library  # most that look at records need none of it

    with database.reading() as connection:
        row = connection.execute(
            _instance_query().where(InstanceRow.id == number)
        ).one()
        stored = library.pipeline_version(connection, row.pipeline_id, database.base)
    sets = {
        name: library.set_from_json(name, one["content"])
        for name, one in row.parameters.items()
    }
    return stored.pipeline, sets


@patiently
def tasks(database: Database, instance_number: int) -> list[TaskRecord]:
    """Return the tasks of an instance, in the order of their numbers."""
    query = (
        select(*_TASK_COLUMNS)
        .where(TaskRow.instance_id == instance_number)
        .order_by(TaskRow.id)
    )
    with database.reading() as connection:
        return [_task_from_row(row) for row in connection.execute(query)]


@patiently
def records_of(database: Database, numbers: Sequence[int]) -> list[TaskRecord]:
    """Return a few tasks by their numbers, in the order that is given."""
    query = select(*_TASK_COLUMNS).where(TaskRow.id.in_(numbers))
    with database.reading() as connection:
        found = {row.id: _task_from_row(row) for row in connection.execute(query)}
    return [found[number] for number in numbers]


@patiently
def task(database: Database, number: int) -> TaskRecord:
    """Return a task.

    Raises
    ------
    RecordsError
        If there is none of that number.
    """
    query = select(*_TASK_COLUMNS).where(TaskRow.id == number)
    with database.reading() as connection:
        row = connection.execute(query).first()
        if row is None:
            last = connection.execute(select(func.max(TaskRow.id))).scalar()
            raise RecordsError(
                f"there is no task {number}"
                + (f"; the last one is {last}" if last else "; none has been run yet")
            )
    return _task_from_row(row)


@patiently
def task_plans(database: Database, instance_number: int) -> dict[int, dict[str, Any]]:
    """Return the plans of an instance's tasks as plain values, by task number."""
    query = (
        select(TaskRow.id, TaskRow.plan)
        .where(TaskRow.instance_id == instance_number)
        .order_by(TaskRow.id)
    )
    with database.reading() as connection:
        return {row.id: row.plan for row in connection.execute(query)}


@patiently
def task_plan(database: Database, number: int) -> dict[str, Any]:
    """Return the plan of a task as plain values."""
    query = select(TaskRow.plan).where(TaskRow.id == number)
    with database.reading() as connection:
        return dict(connection.execute(query).scalar_one())


def complete_tasks(
    connection: Connection, snapshot: str, inputs: Mapping[int, Mapping[str, str]]
) -> None:
    """Mark tasks as complete that a snapshot published."""
    change = (
        update(TaskRow)
        .where(TaskRow.id == bindparam("number"))
        .values(
            step=TaskStep.COMPLETE.value,
            is_error=False,
            is_halting=False,
            snapshot=snapshot,
            inputs=bindparam("read"),
            finished=datetime.now(UTC),
            cause="",
            **clocks.stopped(TaskRow),
        )
    )
    rows = [{"number": number, "read": dict(read)} for number, read in inputs.items()]
    journal.change_each(connection, change, rows)


def _new_task(instance_number: int, new: NewTask) -> dict[str, Any]:
    return {
        "instance_id": instance_number,
        "position": new.position,
        "node": new.node,
        "unit": new.unit,
        "plan": dict(new.plan),
        "step": TaskStep.WAITING_TO_RUN.value,
        "is_error": False,
        "total": new.total,
        "complete": 0,
        "failed": 0,
        "snapshot": "",
        "inputs": {},
        "message": "",
        "worker": "",
        "changes": {},
    }


def _instance_query() -> Any:
    return select(
        InstanceRow.__table__,
        PipelineRow.name.label("pipeline_name"),
        PipelineRow.version.label("pipeline_version"),
    ).join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)


def _instance_from_row(row: Any) -> InstanceRecord:
    return InstanceRecord(
        id=row.id,
        name=row.name,
        pipeline=row.pipeline_name,
        version=row.pipeline_version,
        code_version=row.code_version,
        code=row.code,
        state=InstanceState(row.state),
        options=row.options,
        parameters=row.parameters,
        software=row.software,
        base_snapshot=row.base_snapshot,
        is_planned=row.is_planned,
        message=row.message,
        created=row.created,
        finished=row.finished,
        clock_s=row.clock_s,
        clock_since_s=row.clock_since_s,
    )


_TASK_FIELDS = [one.name for one in fields(TaskRecord)]
_TASK_COLUMNS = [
    TaskRow.__table__.columns["instance_id" if name == "instance" else name]
    for name in _TASK_FIELDS
]


def _task_from_row(row: Any) -> TaskRecord:
    # Listings have many thousands: fields are taken in order, not asked for by name.
    values = dict(zip(_TASK_FIELDS, row, strict=True))
    return TaskRecord(**values | {"step": TaskStep(values["step"])})
