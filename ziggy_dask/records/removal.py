"""Removing an instance from the records, and what stands against it.

Only one that stored nothing can go, such as that of a delivery that was refused: other records
tell where numbers came from, also when the numbers themselves have expired.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, or_, select

from ziggy_dask.errors import RecordsError
from ziggy_dask.records import instances
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.records.tables import (
    AlertRow,
    ChangeSetRow,
    DeliveredRow,
    DeliveryRow,
    EarlierSubtaskRow,
    EventRow,
    FeedRow,
    InstanceRow,
    JobRow,
    JournalRow,
    LogRow,
    MakingRow,
    PartRow,
    PublicationRow,
    SubtaskRow,
    TagRow,
    TaskRow,
)

_OF_TASKS = (
    LogRow,
    SubtaskRow,
    EarlierSubtaskRow,
    ChangeSetRow,
    PartRow,
    JournalRow,
    FeedRow,
    MakingRow,
)
"""What belongs to tasks, in an order in which it can go."""


@patiently
def in_use(database: Database, path: str) -> list[int]:
    """Return the tasks that read or make a product and that have not ended."""
    final = [one.value for one in InstanceState if one.is_final]
    query = (
        select(TaskRow.id, TaskRow.plan)
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .where(TaskRow.step != TaskStep.COMPLETE.value, InstanceRow.state.not_in(final))
        .order_by(TaskRow.id)
    )
    with database.reading() as connection:
        return [
            row.id
            for row in connection.execute(query)
            if path
            in {
                one["path"]
                for part in ("feeds", "targets")
                for one in row.plan.get(part, ())
            }
        ]


@patiently
def remove_instance(database: Database, number: int, *, is_dry: bool = False) -> None:
    """Remove an instance, its tasks, subtasks and logs from the records.

    Parameters
    ----------
    database
        The records.
    number
        The instance.
    is_dry
        Whether only to look.

    Raises
    ------
    RecordsError
        If there is no such instance, it has not ended, it stored something, or its number
        would be given again; nothing is changed then.
    """
    record = instances.instance(database, number)
    if not record.state.is_final:
        raise RecordsError(
            f"instance {number} has not ended: it is {record.state.value}; halt it first: "
            f"ziggy halt --instance {number}"
        )
    with database.writing() as connection:
        tasks = select(TaskRow.id).where(TaskRow.instance_id == number)
        if reason := _why_needed(connection, number):
            raise RecordsError(f"instance {number} can't be removed: {reason}")
        if is_dry:
            return
        deliveries = select(DeliveryRow.id).where(DeliveryRow.task_id.in_(tasks))
        connection.execute(
            delete(DeliveredRow).where(DeliveredRow.delivery_id.in_(deliveries))
        )
        connection.execute(delete(DeliveryRow).where(DeliveryRow.task_id.in_(tasks)))
        for table in _OF_TASKS:
            connection.execute(delete(table).where(table.task_id.in_(tasks)))
        of_it = or_(AlertRow.instance_id == number, AlertRow.task_id.in_(tasks))
        connection.execute(delete(AlertRow).where(of_it))
        for other in (EventRow, JobRow, TaskRow):
            connection.execute(delete(other).where(other.instance_id == number))
        connection.execute(delete(InstanceRow).where(InstanceRow.id == number))


def _why_needed(connection: Connection, number: int) -> str:
    """Return why an instance has to stay, or ""."""
    newest = connection.execute(select(func.max(InstanceRow.id))).scalar_one()
    holder = connection.execute(
        select(TaskRow.instance_id).order_by(TaskRow.id.desc()).limit(1)
    ).scalar_one_or_none()
    if number in (newest, holder):
        return (
            "it is the newest one, and the next would get its number, or those of its "
            "tasks; run another one first"
        )
    tag = connection.execute(
        select(TagRow.name).where(TagRow.instance == number).limit(1)
    ).scalar_one_or_none()
    if tag is not None:
        return f"tag {tag!r} names the datastore as it left it; ziggy untag {tag}"
    stored = connection.execute(
        select(PublicationRow.number)
        .where(PublicationRow.instance == number)
        .order_by(PublicationRow.number)
    ).scalars()
    numbers = [str(one) for one in stored]
    if numbers:
        more = " and more" if len(numbers) > 3 else ""
        return (
            f"it stored publication {', '.join(numbers[:3])}{more}, and only its record tells "
            "where that, and all that was made of it, came from"
        )
    return ""
