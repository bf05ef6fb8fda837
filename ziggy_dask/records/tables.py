"""The tables. Private to this room: rows never leave it.

Migrations make them. The conditions of partial indexes stand there alone: said here,
they would load what SQLAlchemy knows of every database, with each command.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ziggy_dask.definitions.jobs import JobCause, JobState
from ziggy_dask.records.damage import readable
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.workers.work import Cause, SubtaskState


class Word(TypeDecorator[str]):
    """Text that is the value of an enum.

    Parameters
    ----------
    words
        The enum.
    """

    impl = String
    cache_ok = True

    def __init__(self, words: type[Enum]) -> None:
        super().__init__()
        self.words = words

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return it if it is one.

        Raises
        ------
        RecordsError
            If it is none.
        """
        if value is not None:
            with readable():
                self.words(value)
        return value


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times, also where the database knows no time zones (SQLite)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store as naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return as aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        """Return what makes times of what the database has."""
        process = super().result_processor(dialect, coltype)
        assert process is not None

        def checked(value: Any) -> datetime | None:
            with readable():
                return process(value)

        return checked


class Text(TypeDecorator[str]):
    """Text of any program; what databases do not take is shown by another sign.

    PostgreSQL takes no zero bytes, and neither takes half a surrogate pair.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return text that every database takes."""
        if value is None or value.isascii():
            return value and value.replace("\0", "\N{SYMBOL FOR NULL}")
        storable = value.encode("utf-8", "replace").decode("utf-8")
        return storable.replace("\0", "\N{SYMBOL FOR NULL}")


class Table(DeclarativeBase):
    """Base of all tables; constraints have predictable names, for migrations."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        str: Text,
        float: Double,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


class PipelineRow(Table):
    """A version of a pipeline definition."""

    __tablename__ = "pipelines"
    __table_args__ = (UniqueConstraint("name", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    digest: Mapped[str]
    text: Mapped[str]
    root: Mapped[str]
    place: Mapped[str] = mapped_column(server_default="")
    is_locked: Mapped[bool]
    created: Mapped[datetime]


class ZiggyLibraryRow(Table):
    """All definitions that came from files of the original Ziggy; one row at most."""

    __tablename__ = "ziggy_library"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class ParameterSetRow(Table):
    """A version of a parameter set of a pipeline."""

    __tablename__ = "parameter_sets"
    __table_args__ = (UniqueConstraint("pipeline", "name", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline: Mapped[str]
    name: Mapped[str]
    version: Mapped[int]
    digest: Mapped[str]
    content: Mapped[dict[str, Any]]
    is_locked: Mapped[bool]
    created: Mapped[datetime]


class InstanceRow(Table):
    """A run of a pipeline."""

    __tablename__ = "instances"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id"))
    code_version: Mapped[str]
    code: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str] = mapped_column(Word(InstanceState))
    options: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    software: Mapped[dict[str, Any]]
    base_snapshot: Mapped[str]
    is_planned: Mapped[bool]
    message: Mapped[str]
    created: Mapped[datetime]
    finished: Mapped[datetime | None]
    clock_s: Mapped[float] = mapped_column(server_default="0")
    clock_since_s: Mapped[float | None]


class TaskRow(Table):
    """A node on a unit of work."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index(None, "instance_id", "position"),
        # All that counts and times are made of: plans, which are long, stay unread.
        Index(
            "ix_tasks_counted",
            *("instance_id", "node", "step", "is_error", "total", "complete"),
            *("failed", "started", "finished"),
        ),
        # Supervisors look for halts all the time.
        Index("ix_tasks_halting", "instance_id"),  # of those that are to halt
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"))
    position: Mapped[int]
    node: Mapped[str]
    unit: Mapped[str]
    plan: Mapped[dict[str, Any]]
    step: Mapped[str] = mapped_column(Word(TaskStep))
    is_error: Mapped[bool]
    total: Mapped[int]
    complete: Mapped[int]
    failed: Mapped[int]
    snapshot: Mapped[str]
    inputs: Mapped[dict[str, Any]]
    message: Mapped[str]
    worker: Mapped[str]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    resubmits: Mapped[int] = mapped_column(server_default="0")
    tolerated: Mapped[int] = mapped_column(server_default="0")
    changes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    is_halting: Mapped[bool] = mapped_column(server_default=false())
    cause: Mapped[str] = mapped_column(server_default="")
    clock_s: Mapped[float] = mapped_column(server_default="0")
    clock_since_s: Mapped[float | None]


class PartRow(Table):
    """A batch of subtasks that ran together and share change sets."""

    __tablename__ = "parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    recipe_id: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default="0")


class IngredientRow(Table):
    """Something that values are made with, once by content."""

    __tablename__ = "ingredients"
    __table_args__ = (UniqueConstraint("kind", "digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    digest: Mapped[str]
    name: Mapped[str]
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RecipeRow(Table):
    """All that a part was made with."""

    __tablename__ = "recipes"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    node: Mapped[str]


class RecipeUseRow(Table):
    """An ingredient of a recipe."""

    __tablename__ = "recipe_uses"
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipes.id"), primary_key=True)
    ingredient_id: Mapped[int] = mapped_column(
        ForeignKey("ingredients.id"), primary_key=True, index=True
    )


class MakingRow(Table):
    """A recipe by which an attempt of a stored task made something."""

    __tablename__ = "makings"
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipes.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(
        ForeignKey("tasks.id"), primary_key=True, index=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class ChangeSetRow(Table):
    """Unpublished data of a part; removed when its task is published."""

    __tablename__ = "change_sets"
    id: Mapped[int] = mapped_column(primary_key=True)
    part_id: Mapped[int] = mapped_column(ForeignKey("parts.id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    path: Mapped[str]
    data: Mapped[bytes] = mapped_column(LargeBinary)


class SubtaskRow(Table):
    """The outcome of a subtask."""

    __tablename__ = "subtasks"
    __table_args__ = (
        # Of those that failed.
        Index("ix_subtasks_failed", "task_id", "number", "fingerprint", "cause"),
    )
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    part_id: Mapped[int] = mapped_column(ForeignKey("parts.id"))
    state: Mapped[str] = mapped_column(Word(SubtaskState))
    cause: Mapped[str] = mapped_column(Word(Cause))
    message: Mapped[str]
    outputs: Mapped[list[str]]
    named: Mapped[dict[str, list[str]] | None] = mapped_column(JSON(none_as_null=True))
    host: Mapped[str]
    worker: Mapped[str]
    started_s: Mapped[float]
    wall_s: Mapped[float]
    cpu_s: Mapped[float]
    peak_memory_bytes: Mapped[int] = mapped_column(BigInteger)
    fingerprint: Mapped[str] = mapped_column(server_default="")


class LogRow(Table):
    """What a subtask printed, and the traceback of its failure."""

    __tablename__ = "logs"
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    log: Mapped[str]
    traceback: Mapped[str]


class JournalRow(Table):
    """How a task stood from some moment on, until its next row."""

    __tablename__ = "journal"
    __table_args__ = (Index(None, "task_id", "time_s"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    time_s: Mapped[float]
    step: Mapped[str]
    is_error: Mapped[bool]
    total: Mapped[int]
    complete: Mapped[int]
    failed: Mapped[int]


class EarlierSubtaskRow(Table):
    """How a subtask ended before it was restarted."""

    __tablename__ = "earlier_subtasks"
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    part_id: Mapped[int | None]
    number: Mapped[int]
    state: Mapped[str]
    host: Mapped[str]
    worker: Mapped[str]
    started_s: Mapped[float]
    wall_s: Mapped[float]
    peak_memory_bytes: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(server_default="0")
    cause: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str] = mapped_column(server_default="")
    fingerprint: Mapped[str] = mapped_column(server_default="")
    log: Mapped[str] = mapped_column(server_default="")
    traceback: Mapped[str] = mapped_column(server_default="")


class DeliveryRow(Table):
    """A delivery that was accepted."""

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    name: Mapped[str]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    files: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[str]
    received: Mapped[datetime]


class DeliveredRow(Table):
    """A file of a delivery, and where it went."""

    __tablename__ = "delivered"
    __table_args__ = (Index(None, "path", "item"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), index=True)
    name: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    path: Mapped[str]
    item: Mapped[str]


class AlertRow(Table):
    """Something that the operator should know."""

    __tablename__ = "alerts"
    __table_args__ = (Index(None, "cause", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    severity: Mapped[str]
    source: Mapped[str]
    process: Mapped[str]
    instance_id: Mapped[int | None]
    task_id: Mapped[int | None]
    message: Mapped[str]
    is_acknowledged: Mapped[bool]
    is_cleared: Mapped[bool]
    cause: Mapped[str] = mapped_column(server_default="")
    count: Mapped[int] = mapped_column(server_default="1")
    latest: Mapped[datetime | None]
    sent: Mapped[datetime | None]


class EventRow(Table):
    """An event that started an instance."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("pipeline", "handler", "due"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    handler: Mapped[str]
    name: Mapped[str]
    pipeline: Mapped[str]
    labels: Mapped[list[str]]
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"))
    time: Mapped[datetime]
    due: Mapped[datetime | None]
    files: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")
    is_settled: Mapped[bool] = mapped_column(server_default=true())


class HandlerRow(Table):
    """What is kept of an event handler besides its definition."""

    __tablename__ = "handlers"
    pipeline: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    is_enabled: Mapped[bool | None]
    fault: Mapped[str]
    schedule: Mapped[str]
    until: Mapped[datetime | None]


class RequestRow(Table):
    """What an operator asks of the supervisor."""

    __tablename__ = "requests"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    asker: Mapped[str]
    made: Mapped[datetime]
    state: Mapped[str] = mapped_column(index=True)
    instances: Mapped[list[int]] = mapped_column(JSON)
    message: Mapped[str]


class JobRow(Table):
    """A job of a batch system."""

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    number: Mapped[str]
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"), index=True)
    environment: Mapped[str]
    architecture: Mapped[str]
    queue: Mapped[str]
    wall_s: Mapped[float]
    cost_per_hour: Mapped[float]
    state: Mapped[str] = mapped_column(Word(JobState))
    comment: Mapped[str]
    cause: Mapped[str] = mapped_column(Word(JobCause))
    exit_code: Mapped[int | None]
    submitted: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    seen: Mapped[datetime | None]
    earlier_s: Mapped[float] = mapped_column(server_default="0")


class FeedRow(Table):
    """A product that a task reads."""

    __tablename__ = "feeds"
    path: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(
        ForeignKey("tasks.id"), primary_key=True, autoincrement=False
    )


class PublicationRow(Table):
    """A publication of the datastore, as its own history has it."""

    __tablename__ = "publications"
    __table_args__ = (Index(None, "instance", "number"),)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    snapshot: Mapped[str] = mapped_column(unique=True)
    time: Mapped[datetime]
    instance: Mapped[int | None]
    message: Mapped[str]
    said: Mapped[dict[str, Any]]
    is_counted: Mapped[bool]
    root: Mapped[str] = mapped_column(server_default="")
    expired: Mapped[datetime | None]


class StoredFileRow(Table):
    """A snapshot or manifest that a publication added to the datastore."""

    __tablename__ = "stored_files"
    name: Mapped[str] = mapped_column(primary_key=True)
    publication: Mapped[int] = mapped_column(index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)


class TreeRow(Table):
    """The newest snapshot of a tree of the datastore, as of a publication that changed it."""

    __tablename__ = "trees"
    publication: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tree: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    snapshot: Mapped[str]
    is_gone: Mapped[bool] = mapped_column(server_default=false())


class VersionRow(Table):
    """A publication that made a product, or removed it: then its kind is empty."""

    __tablename__ = "versions"
    path: Mapped[str] = mapped_column(primary_key=True)
    publication: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, index=True
    )
    kind: Mapped[str]
    tree: Mapped[int] = mapped_column(server_default="0")
    task: Mapped[int | None] = mapped_column(index=True)
    attempt: Mapped[int | None]


class TagRow(Table):
    """A name for a state of the datastore."""

    __tablename__ = "tags"
    name: Mapped[str] = mapped_column(primary_key=True)
    snapshot: Mapped[str] = mapped_column(index=True)
    instance: Mapped[int | None]
    note: Mapped[str]
    made: Mapped[datetime]


class PlaceRow(Table):
    """A product or directory of the newest publication; directories have no kind."""

    __tablename__ = "places"
    path: Mapped[str] = mapped_column(primary_key=True)
    parent: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    dimension: Mapped[str]
    changed: Mapped[int]


class SettledRow(Table):
    """A unit of work in which a node had nothing left to do as of a publication."""

    __tablename__ = "settled"
    pipeline: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[str] = mapped_column(primary_key=True)
    publication: Mapped[int]


class BackupRow(Table):
    """What a backup says of itself; empty but in backups."""

    __tablename__ = "backup"
    id: Mapped[int] = mapped_column(primary_key=True)
    cluster: Mapped[str]
    snapshot: Mapped[str]
    made: Mapped[datetime]


class OwnerRow(Table):
    """The cluster that this database belongs to; one row."""

    __tablename__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    identity: Mapped[str]


class LeaseRow(Table):
    """Who supervises this cluster; one row at most."""

    __tablename__ = "lease"
    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[str]
    takes_requests: Mapped[bool] = mapped_column(server_default=false())
    since: Mapped[datetime]
    heartbeat: Mapped[datetime]
