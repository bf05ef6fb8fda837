"""Deliveries that were accepted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import DeliveredRow, DeliveryRow, VersionRow

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
class Brought:
    """A file of a delivery that brought an item of a product."""

    file: str
    """Path of the file relative to the delivery."""
    sha256: str
    """Its SHA-256."""
    delivery: str
    """Name of the manifest, or of the directory."""
    dataset_id: int | None
    """Id given by the sender; None: there was none."""
    task: int
    """Task that took the delivery in."""


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


@patiently
def brought_by(
    database: Database, path: str, item: str, upto: int | None
) -> list[Brought]:
    """Return the files that may have brought an item, the newest one first.

    There are several only where files brought labels of their own, which are not on record.

    Parameters
    ----------
    database
        The records.
    path
        The product.
    item
        Label of the item.
    upto
        Number of the publication that is looked at; None: the newest one.
    """
    removed = select(func.max(VersionRow.publication)).where(
        VersionRow.path == path, VersionRow.kind == ""
    )
    query = (
        select(
            DeliveredRow.name.label("file"),
            DeliveredRow.item,
            DeliveredRow.sha256,
            DeliveryRow.name.label("delivery"),
            DeliveryRow.dataset_id,
            DeliveryRow.task_id.label("task"),
        )
        .join(DeliveryRow, DeliveryRow.id == DeliveredRow.delivery_id)
        .join(
            VersionRow,
            (VersionRow.path == DeliveredRow.path)
            & (VersionRow.task == DeliveryRow.task_id),
        )
        .where(DeliveredRow.path == path, DeliveredRow.item.in_([item, SEVERAL]))
        .order_by(VersionRow.publication.desc(), DeliveredRow.id.desc())
    )
    if upto is not None:
        removed = removed.where(VersionRow.publication <= upto)
        query = query.where(VersionRow.publication <= upto)
    found: list[Brought] = []
    with database.reading() as connection:
        last = connection.execute(removed).scalar_one() or 0
        for row in connection.execute(query.where(VersionRow.publication > last)):
            said = {k: v for k, v in row._mapping.items() if k != "item"}
            found.append(Brought(**said))
            if row.item != SEVERAL:
                break
    return found
