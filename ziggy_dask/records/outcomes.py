"""Outcomes of subtasks, and the unpublished data that came with them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    String,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from ziggy_dask.records import journal
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.deliveries import DeliveryRecord, insert_delivery
from ziggy_dask.records.instances import complete_tasks
from ziggy_dask.records.items import TaskItems, items_of_tasks
from ziggy_dask.records.recipes import Recipe, keep_makings, save_recipes
from ziggy_dask.records.states import TaskStep
from ziggy_dask.records.tables import (
    ChangeSetRow,
    InstanceRow,
    LogRow,
    PartRow,
    PipelineRow,
    SubtaskRow,
    TaskRow,
)
from ziggy_dask.workers import (
    BatchResult,
    Cause,
    Outcome,
    SubtaskState,
    fingerprint,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskRecord:
    """The outcome of a subtask."""

    task: int
    """Task that it belongs to."""
    number: int
    """Number, from 0."""
    items: tuple[str, ...]
    """Its items by name; empty: it has everything."""
    state: SubtaskState
    """How it ended."""
    cause: Cause
    """Why it failed."""
    message: str
    """One line on that, or on why it had no output."""
    outputs: tuple[str, ...]
    """Products to which it gave something."""
    host: str
    """Machine that ran it."""
    worker: str
    """Worker that ran it."""
    started: datetime
    """When it began."""
    wall_s: float
    """Time that it took, in seconds."""
    cpu_s: float
    """Processor time, in seconds."""
    peak_memory_bytes: int
    """Largest memory of its worker process."""
    fingerprint: str
    """What failures of its kind have in common; empty: it did not fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskLog:
    """What a subtask printed, and how it failed."""

    task: int
    """Task that it belongs to."""
    number: int
    """Number of the subtask."""
    items: tuple[str, ...]
    """Its items by name; empty: it has everything."""
    log: str
    """Output, log records and warnings."""
    traceback: str
    """Traceback of its failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How a batch was made."""

    recipe: Recipe
    """All that it was made with."""
    attempt: int
    """How often its task had been restarted."""


@patiently
def record(
    database: Database,
    results: Sequence[tuple[int, BatchResult]],
    made: Sequence[Made] = (),
) -> None:
    """Record the outcomes of batches, all or nothing.

    Parameters
    ----------
    database
        Where.
    results
        Number of the task and result of a batch. Subtasks that were blocked are
        passed over; a recorded failure is replaced.
    made
        How each of them was made; empty: that is not known.
    """
    some = [
        [o for o in result.outcomes if o.state is not SubtaskState.BLOCKED]
        for _, result in results
    ]
    ended = [(*one, kept) for one, kept in zip(results, some, strict=True) if kept]
    how = [one for one, kept in zip(made, some, strict=bool(made)) if kept]
    if not ended:
        return
    with database.writing() as connection:
        replaced = _drop_failures(connection, ended)
        parts = _make_parts(connection, _part_rows(connection, ended, how))
        _insert(connection, list(zip(parts, ended, strict=True)))
        _count(connection, ended, replaced)


@patiently
def recorded_parts(database: Database, task: int) -> dict[int, BatchResult]:
    """Return what is on record of a task that is not published, by part."""
    # There are few different lists of outputs, and they take the most time to read.
    read = cache(lambda text: tuple(json.loads(text)))
    subtasks = select(
        SubtaskRow.part_id,
        SubtaskRow.number,
        SubtaskRow.state,
        cast(SubtaskRow.outputs, String).label("outputs"),
    ).where(SubtaskRow.task_id == task)
    change_sets = select(
        ChangeSetRow.part_id, ChangeSetRow.path, ChangeSetRow.data
    ).where(ChangeSetRow.task_id == task)
    outcomes: dict[int, list[Outcome]] = {}
    forks: dict[int, dict[str, bytes]] = {}
    with database.reading() as connection:
        for row in connection.execute(subtasks.order_by(SubtaskRow.number)):
            outcome = Outcome(
                subtask=row.number,
                state=SubtaskState(row.state),
                outputs=read(row.outputs),
            )
            outcomes.setdefault(row.part_id, []).append(outcome)
        for part, path, data in connection.execute(change_sets):
            forks.setdefault(part, {})[path] = data
    return {
        part: BatchResult(
            index=0, outcomes=tuple(some), change_sets=forks.get(part, {})
        )
        for part, some in outcomes.items()
    }


@patiently
def drop_parts(database: Database, task: int, parts: Collection[int]) -> int:
    """Forget parts of a task, so that their subtasks run again; return how many these are."""
    with database.writing() as connection:
        dropped = 0
        for some in pieces(parts):
            journal.keep(connection, SubtaskRow.part_id.in_(some))
            numbers = select(SubtaskRow.number).where(SubtaskRow.part_id.in_(some))
            connection.execute(
                delete(LogRow).where(LogRow.task_id == task, LogRow.number.in_(numbers))
            )
            gone = connection.execute(
                delete(SubtaskRow).where(SubtaskRow.part_id.in_(some))
            )
            dropped += gone.rowcount
            connection.execute(
                delete(ChangeSetRow).where(ChangeSetRow.part_id.in_(some))
            )
            connection.execute(delete(PartRow).where(PartRow.id.in_(some)))
        journal.change(
            connection,
            update(TaskRow)
            .where(TaskRow.id == task)
            .values(
                complete=_count_of(task, SubtaskState.COMPLETE),
                failed=_count_of(task, SubtaskState.FAILED),
            ),
        )
        return dropped


def _count_of(task: int, state: SubtaskState) -> Any:
    return (
        select(func.count())
        .where(SubtaskRow.task_id == task, SubtaskRow.state == state.value)
        .scalar_subquery()
    )


@patiently
def change_sets(
    database: Database, tasks: Collection[int]
) -> dict[tuple[int, str], list[bytes]]:
    """Return the unpublished data of tasks, by number and path of the product."""
    query = select(ChangeSetRow.task_id, ChangeSetRow.path, ChangeSetRow.data)
    found: dict[tuple[int, str], list[bytes]] = {}
    for task, path, data in _of_tasks(database, query, ChangeSetRow.task_id, tasks):
        found.setdefault((task, path), []).append(data)
    return found


@patiently
def subtasks_with_output(
    database: Database, tasks: Collection[int]
) -> dict[int, dict[str, set[int]]]:
    """Return by task the subtasks that gave something to each of its products."""
    query = select(SubtaskRow.task_id, SubtaskRow.number, SubtaskRow.outputs).where(
        SubtaskRow.state == SubtaskState.COMPLETE.value
    )
    given: dict[int, dict[str, set[int]]] = {task: {} for task in tasks}
    for task, number, outputs in _of_tasks(database, query, SubtaskRow.task_id, tasks):
        for path in outputs:
            given[task].setdefault(path, set()).add(number)
    return given


@patiently
def named_items(
    database: Database, tasks: Collection[int]
) -> dict[int, dict[int, dict[str, list[str]]]]:
    """Return the names of items that are not their subtasks' labels.

    They come by product, by subtask, by task.
    """
    query = (
        select(SubtaskRow.task_id, SubtaskRow.number, SubtaskRow.named)
        .where(
            SubtaskRow.state == SubtaskState.COMPLETE.value,
            SubtaskRow.named.is_not(None),
        )
        .order_by(SubtaskRow.number)
    )
    found: dict[int, dict[int, dict[str, list[str]]]] = {task: {} for task in tasks}
    for task, number, named in _of_tasks(database, query, SubtaskRow.task_id, tasks):
        found[task][number] = named
    return found


def subtask_of_item(database: Database, task: int, path: str, item: str) -> int | None:
    """Return the subtask that made an item of a product; None: that is not on record."""
    named = named_items(database, [task])[task]
    for number, by_path in named.items():
        if item in by_path.get(path, ()):
            return number
    with database.reading() as connection:
        items = items_of_tasks(connection, [task]).get(task, TaskItems())
    return items.names.index(item) // items.chunk if item in items.names else None


@patiently
def without_output(
    database: Database, tasks: Collection[int]
) -> dict[int, dict[str, int]]:
    """Return by task how many of its complete subtasks had no output, by the reason."""
    query = (
        select(SubtaskRow.task_id, SubtaskRow.message, func.count())
        .where(
            SubtaskRow.state == SubtaskState.COMPLETE.value, SubtaskRow.message != ""
        )
        .group_by(SubtaskRow.task_id, SubtaskRow.message)
        .order_by(func.count().desc())
    )
    found: dict[int, dict[str, int]] = {task: {} for task in tasks}
    for task, message, count in _of_tasks(database, query, SubtaskRow.task_id, tasks):
        found[task][message] = count
    return found


def _of_tasks(
    database: Database, query: Any, column: Any, tasks: Collection[int]
) -> Iterator[Any]:
    """Yield the rows of a query that are of some tasks."""
    with database.reading() as connection:
        for some in pieces(tasks):
            yield from connection.execute(query.where(column.in_(some)))


@patiently
def publish(
    database: Database,
    snapshot: str,
    inputs: Mapping[int, Mapping[str, str]],
    delivery: DeliveryRecord | None = None,
) -> None:
    """Mark tasks as complete, and drop data that are published for good.

    Parameters
    ----------
    database
        Where.
    snapshot
        Snapshot that published their products.
    inputs
        Snapshots from which inputs were read, by task number and product.
    delivery
        The delivery that such a task took in, which counts as accepted from then on.
    """
    with database.writing() as connection:
        complete_tasks(connection, snapshot, inputs)
        keep_makings(connection, inputs)
        if delivery is not None:
            insert_delivery(connection, delivery)
        for some in pieces(inputs):
            # Those with failures may be restarted; what is good of them is kept for that.
            flawless = select(TaskRow.id).where(
                TaskRow.id.in_(some), TaskRow.failed == 0
            )
            connection.execute(
                delete(ChangeSetRow).where(ChangeSetRow.task_id.in_(flawless))
            )


@patiently
def subtasks(
    database: Database, task: int, state: SubtaskState | None = None
) -> list[SubtaskRecord]:
    """Return the recorded subtasks of a task, by number."""
    query = select(SubtaskRow.__table__).where(SubtaskRow.task_id == task)
    if state is not None:
        query = query.where(SubtaskRow.state == state.value)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(SubtaskRow.number)).all()
        items = items_of_tasks(connection, [task] if rows else []).get(
            task, TaskItems()
        )
    return [_subtask_from_row(row, items) for row in rows]


@patiently
def subtask(database: Database, task: int, number: int) -> SubtaskRecord:
    """Return the newest record of a subtask, which must be there."""
    query = select(SubtaskRow.__table__).where(
        SubtaskRow.task_id == task, SubtaskRow.number == number
    )
    with database.reading() as connection:
        row = connection.execute(query).one()
        items = items_of_tasks(connection, [task]).get(task, TaskItems())
    return _subtask_from_row(row, items)


@patiently
def logs(database: Database, task: int, number: int | None = None) -> list[SubtaskLog]:
    """Return what the subtasks of a task printed, of those that printed anything."""
    query = select(LogRow.__table__).where(LogRow.task_id == task)
    if number is not None:
        query = query.where(LogRow.number == number)
    return _logs(database, query)


@patiently
def instance_logs(database: Database, instance: int) -> list[SubtaskLog]:
    """Return what the subtasks of an instance printed, by task and number."""
    tasks = select(TaskRow.id).where(TaskRow.instance_id == instance)
    return _logs(database, select(LogRow.__table__).where(LogRow.task_id.in_(tasks)))


def _logs(database: Database, query: Any) -> list[SubtaskLog]:
    query = query.order_by(LogRow.task_id, LogRow.number)
    with database.reading() as connection:
        rows = connection.execute(query).all()
        items = items_of_tasks(connection, {row.task_id for row in rows})
    return [
        SubtaskLog(
            task=row.task_id,
            number=row.number,
            items=items[row.task_id].of(row.number),
            log=row.log,
            traceback=row.traceback,
        )
        for row in rows
    ]


@patiently
def typical_seconds(database: Database, pipeline: str) -> dict[str, float]:
    """Return the mean time of recent subtasks of a pipeline's nodes, in seconds."""
    recent = (
        select(func.max(TaskRow.id))
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .where(PipelineRow.name == pipeline, TaskRow.complete > 0)
        .group_by(TaskRow.node)
    )
    query = (
        select(TaskRow.node, func.avg(SubtaskRow.wall_s))
        .join(SubtaskRow, SubtaskRow.task_id == TaskRow.id)
        .where(TaskRow.id.in_(recent), SubtaskRow.state == SubtaskState.COMPLETE.value)
        .where(SubtaskRow.number < 1000)
        .group_by(TaskRow.node)
    )
    with database.reading() as connection:
        return {node: float(mean) for node, mean in connection.execute(query)}


@patiently
def superfluous_change_sets(database: Database) -> int:
    """Return how many change sets belong to tasks that are stored for good."""
    query = select(func.count()).where(ChangeSetRow.task_id.in_(_stored_for_good()))
    with database.reading() as connection:
        return int(connection.execute(query).scalar_one())


@patiently
def drop_superfluous_change_sets(database: Database) -> None:
    """Remove change sets of tasks that are stored for good."""
    with database.writing() as connection:
        connection.execute(
            delete(ChangeSetRow).where(ChangeSetRow.task_id.in_(_stored_for_good()))
        )


def _stored_for_good() -> Any:
    return select(TaskRow.id).where(
        TaskRow.step == TaskStep.COMPLETE.value, TaskRow.failed == 0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures of one kind in an instance."""

    fingerprint: str
    """What they have in common."""
    cause: Cause
    """Why they failed."""
    count: int
    """Number of subtasks."""
    nodes: tuple[str, ...]
    """Nodes whose subtasks they are."""
    tasks: tuple[int, ...]
    """Numbers of their tasks."""
    example: tuple[int, int]
    """Task and number of one of them."""
    items: tuple[str, ...]
    """Items of that one by name; empty: it has everything."""
    message: str
    """What that one says."""


@patiently
def failures(database: Database, instance: int) -> list[FailureGroup]:
    """Return the failures of an instance by kind, most frequent first."""
    query = (
        select(
            SubtaskRow.fingerprint,
            SubtaskRow.cause,
            TaskRow.node,
            SubtaskRow.task_id,
            func.count().label("count"),
            func.min(SubtaskRow.number).label("first"),
        )
        .join(TaskRow, TaskRow.id == SubtaskRow.task_id)
        .where(TaskRow.instance_id == instance)
        # Written out, so that the database sees that its index of failures serves.
        .where(SubtaskRow.state == literal_column(f"'{SubtaskState.FAILED.value}'"))
        .group_by(
            SubtaskRow.fingerprint, SubtaskRow.cause, TaskRow.node, SubtaskRow.task_id
        )
        .order_by(SubtaskRow.task_id)
    )
    groups: dict[str, list[Any]] = {}
    with database.reading() as connection:
        for row in connection.execute(query):
            groups.setdefault(row.fingerprint, []).append(row)
        found = [_group(connection, rows) for rows in groups.values()]
    return sorted(found, key=lambda one: -one.count)


def _group(connection: Connection, rows: Sequence[Any]) -> FailureGroup:
    task, number = rows[0].task_id, rows[0].first
    message = connection.execute(
        select(SubtaskRow.message).where(
            SubtaskRow.task_id == task, SubtaskRow.number == number
        )
    ).scalar_one()
    return FailureGroup(
        fingerprint=rows[0].fingerprint,
        cause=Cause(rows[0].cause),
        count=sum(row.count for row in rows),
        nodes=tuple(dict.fromkeys(row.node for row in rows)),
        tasks=tuple(dict.fromkeys(row.task_id for row in rows)),
        example=(task, number),
        items=items_of_tasks(connection, [task])[task].of(number),
        message=message,
    )


@patiently
def tasks_with_failures(database: Database) -> dict[str, set[int]]:
    """Return the numbers of tasks with failures, by what these have in common."""
    query = (
        select(SubtaskRow.fingerprint, SubtaskRow.task_id)
        .where(SubtaskRow.state == SubtaskState.FAILED.value)
        .distinct()
    )
    found: dict[str, set[int]] = {}
    with database.reading() as connection:
        for fingerprint_, task in connection.execute(query):
            found.setdefault(fingerprint_, set()).add(task)
    return found


@patiently
def lost_together(database: Database, task: int) -> bool:
    """Tell whether subtasks of a task were lost that ran with others in one batch."""
    query = (
        select(SubtaskRow.part_id)
        .where(SubtaskRow.task_id == task)
        .where(
            SubtaskRow.cause.in_([Cause.WORKER_LOST.value, Cause.OUT_OF_MEMORY.value])
        )
        .group_by(SubtaskRow.part_id)
        .having(func.count() > 1)
    )
    with database.reading() as connection:
        return connection.execute(query).first() is not None


_Ended = Sequence[tuple[int, BatchResult, list[Outcome]]]


def _part_rows(
    connection: Connection, ended: _Ended, how: Sequence[Made]
) -> list[dict[str, Any]]:
    if not how:
        return [{"task_id": task} for task, _, _ in ended]
    keys = save_recipes(connection, [one.recipe for one in how])
    return [
        {
            "task_id": task,
            "recipe_id": keys[one.recipe.digest],
            "attempt": one.attempt,
        }
        for (task, _, _), one in zip(ended, how, strict=True)
    ]


def _make_parts(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Make parts; return their keys in that order."""
    # SQLite returns keys in order only if each row is a statement of its own. Of a task,
    # nobody else makes parts.
    before = connection.execute(select(func.max(PartRow.id))).scalar() or 0
    connection.execute(insert(PartRow), rows)
    made: dict[int, deque[int]] = defaultdict(deque)
    for some in pieces({row["task_id"] for row in rows}):
        query = select(PartRow.task_id, PartRow.id).where(
            PartRow.id > before, PartRow.task_id.in_(some)
        )
        for task, key in connection.execute(query.order_by(PartRow.id)):
            made[task].append(key)
    return [made[row["task_id"]].popleft() for row in rows]


def _drop_failures(connection: Connection, ended: _Ended) -> Counter[int]:
    """Remove recorded failures that are about to be replaced; count them by task."""
    failed = [
        task
        for some in pieces({task for task, _, _ in ended})
        for task in connection.execute(
            select(TaskRow.id).where(TaskRow.id.in_(some), TaskRow.failed > 0)
        ).scalars()
    ]
    replaced: Counter[int] = Counter()
    for task in failed:
        numbers = [o.subtask for t, _, some in ended if t == task for o in some]
        for some in pieces(numbers):
            journal.keep(
                connection, SubtaskRow.task_id == task, SubtaskRow.number.in_(some)
            )
            for table in (SubtaskRow, LogRow):
                dropped = connection.execute(
                    delete(table).where(table.task_id == task, table.number.in_(some))
                )
                replaced[task] += dropped.rowcount if table is SubtaskRow else 0
    return replaced


def _insert(
    connection: Connection,
    ended: list[tuple[int, tuple[int, BatchResult, list[Outcome]]]],
) -> None:
    failed = {
        task
        for _, (task, _, some) in ended
        if any(one.state is SubtaskState.FAILED for one in some)
    }
    query = select(TaskRow.id, TaskRow.node).where(TaskRow.id.in_(failed))
    nodes = {row.id: row.node for row in connection.execute(query)} if failed else {}
    rows = [
        _subtask_row(task, part, result, one, nodes.get(task, ""))
        for part, (task, result, some) in ended
        for one in some
    ]
    words = [
        {"task_id": task, "number": o.subtask, "log": o.log, "traceback": o.traceback}
        for _, (task, _, some) in ended
        for o in some
        if o.log or o.traceback
    ]
    forks = [
        {"part_id": part, "task_id": task, "path": path, "data": data}
        for part, (task, result, _) in ended
        for path, data in result.change_sets.items()
    ]
    connection.execute(insert(SubtaskRow), rows)
    if words:
        connection.execute(insert(LogRow), words)
    if forks:
        connection.execute(insert(ChangeSetRow), forks)


def _subtask_row(
    task: int, part: int, result: BatchResult, one: Outcome, node: str
) -> dict[str, Any]:
    return {
        "task_id": task,
        "number": one.subtask,
        "part_id": part,
        "state": one.state.value,
        "cause": one.cause.value,
        "message": one.message,
        "outputs": list(one.outputs),
        "named": {k: list(some) for k, some in one.named.items()} or None,
        "host": result.host,
        "worker": result.worker,
        "started_s": one.started_s,
        "wall_s": one.wall_s,
        "cpu_s": one.cpu_s,
        "peak_memory_bytes": one.peak_memory_bytes,
        "fingerprint": fingerprint(one.cause, one.message, one.traceback, node),
    }


def _count(connection: Connection, ended: _Ended, replaced: Counter[int]) -> None:
    """Bring the counts and the step of tasks up to date."""
    complete: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    workers: dict[int, str] = {}
    for task, result, some in ended:
        good = sum(one.state is SubtaskState.COMPLETE for one in some)
        complete[task] += good
        failed[task] += len(some) - good
        workers[task] = f"{result.host}:{result.worker}"
    early, executing = (TaskStep.SUBMITTING, TaskStep.QUEUED), TaskStep.EXECUTING.value
    change = (
        update(TaskRow)
        .where(TaskRow.id == bindparam("number"))
        .values(
            complete=TaskRow.complete + bindparam("good"),
            failed=TaskRow.failed + bindparam("bad"),
            worker=bindparam("by"),
            started=func.coalesce(TaskRow.started, datetime.now(UTC)),
            step=case(
                *((TaskRow.step == step.value, executing) for step in early),
                else_=TaskRow.step,
            ),
        )
    )
    rows = [
        {
            "number": task,
            "good": complete[task],
            "bad": failed[task] - replaced[task],
            "by": worker,
        }
        for task, worker in workers.items()
    ]
    journal.change_each(connection, change, rows)


def _subtask_from_row(row: Any, items: TaskItems) -> SubtaskRecord:
    return SubtaskRecord(
        task=row.task_id,
        number=row.number,
        items=items.of(row.number),
        state=SubtaskState(row.state),
        cause=Cause(row.cause),
        message=row.message,
        outputs=tuple(row.outputs),
        host=row.host,
        worker=row.worker,
        started=datetime.fromtimestamp(row.started_s, UTC),
        wall_s=row.wall_s,
        cpu_s=row.cpu_s,
        peak_memory_bytes=row.peak_memory_bytes,
        fingerprint=row.fingerprint,
    )
