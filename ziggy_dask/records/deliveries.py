"""Deliveries that were accepted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import DeliveredRow, DeliveryRow

SEVERAL = "*"
"""Stands for the items of a delivered file that brings labels of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """A file of a delivery, and where it went."""

    name: str
    """Path relative to the delivery."""
    bytes: int
    """Its size."""
    sha256: str
    """Its SHA-256."""
    path: str
    """Product that it went into."""
    item: str
    """Item that it became; empty: it is the whole product; `SEVERAL`: it brought some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery that was accepted."""

    dataset_id: int | None
    """Id given by the sender; None: the delivery had no manifest, or an exempt id."""
    name: str
    """Name of the manifest, or of the directory."""
    task: int
    """Task that took it in."""
    files: int
    """Number of files."""
    bytes: int
    """Their size."""
    manifest: str
    """Text of the manifest; empty if there was none."""
    received: datetime
    """When."""
    contents: tuple[DeliveredFile, ...] = field(default=(), repr=False)
    """Its files, where it is about to go on record."""


@patiently
def record_delivery(database: Database, delivery: DeliveryRecord) -> None:
    """Record a delivery."""
    with database.writing() as connection:
        insert_delivery(connection, delivery)


def insert_delivery(connection: Connection, delivery: DeliveryRecord) -> None:
    """Record a delivery in a transaction that records more."""
    made = insert(DeliveryRow).values(
        dataset_id=delivery.dataset_id,
        name=delivery.name,
        task_id=delivery.task,
        files=delivery.files,
        bytes=delivery.bytes,
        manifest=delivery.manifest,
        received=delivery.received,
    )
    number = connection.execute(made.returning(DeliveryRow.id)).scalar_one()
    rows = [{"delivery_id": number, **asdict(one)} for one in delivery.contents]
    if rows:
        connection.execute(insert(DeliveredRow), rows)


@patiently
def is_recorded(database: Database, dataset_id: int) -> bool:
    """Tell whether a delivery with that id was accepted before."""
    query = select(DeliveryRow.id).where(DeliveryRow.dataset_id == dataset_id)
    with database.reading() as connection:
        return connection.execute(query).first() is not None


@patiently
def is_task_recorded(database: Database, task: int) -> bool:
    """Tell whether the delivery that a task took in is on record."""
    query = select(DeliveryRow.id).where(DeliveryRow.task_id == task)
    with database.reading() as connection:
        return connection.execute(query).first() is not None


@patiently
def deliveries(database: Database) -> list[DeliveryRecord]:
    """Return all deliveries, oldest first."""
    query = select(DeliveryRow.__table__).order_by(DeliveryRow.id)
    with database.reading() as connection:
        rows = connection.execute(query).all()
    return [_from_row(row) for row in rows]


@patiently
def delivery_page(
    database: Database, offset: int, limit: int
) -> tuple[int, list[DeliveryRecord]]:
    """Return the number of all deliveries, and some of them, newest first."""
    some = (
        select(DeliveryRow.__table__)
        .order_by(DeliveryRow.id.desc())
        .limit(limit)
        .offset(offset)
    )
    with database.reading() as connection:
        total = connection.execute(
            select(func.count()).select_from(DeliveryRow)
        ).scalar_one()
        rows = connection.execute(some).all()
    return int(total), [_from_row(row) for row in rows]


def _from_row(row: Any) -> DeliveryRecord:
    return DeliveryRecord(
        dataset_id=row.dataset_id,
        name=row.name,
        task=row.task_id,
        files=row.files,
        bytes=row.bytes,
        manifest=row.manifest,
        received=row.received,
    )


@patiently
def delivered_as(database: Database, path: str, item: str) -> list[tuple[str, str]]:
    """Return the files that an item of a product was delivered in, with the delivery.

    The newest one comes first; none, if it was not delivered, or before files went on
    record.
    """
    query = (
        select(DeliveredRow.name, DeliveryRow.name.label("delivery"))
        .join(DeliveryRow, DeliveryRow.id == DeliveredRow.delivery_id)
        .where(DeliveredRow.path == path, DeliveredRow.item == item)
        .order_by(DeliveredRow.id.desc())
    )
    with database.reading() as connection:
        return [(row.name, row.delivery) for row in connection.execute(query)]
