"""How a cluster stands, on one screen: counted in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ziggy_dask.records import InstanceState, alerts, deliveries, instances
from ziggy_dask.records.alerts import Alert
from ziggy_dask.records.database import Database
from ziggy_dask.records.deliveries import DeliveryRecord
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.records.lease import Lease, current_lease
from ziggy_dask.records.overview import (
    Doing,
    NodeScore,
    TaskQuery,
    scoreboard,
    task_page,
)

if TYPE_CHECKING:
    from ziggy_dask.definitions import ClusterFile

NEWEST = 3
"""So many of the newest ended instances and alerts are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an instance is."""

    instance: InstanceRecord
    """What is on record of it."""
    nodes: tuple[NodeScore, ...]
    """Its nodes, in the order of the plan."""
    first_failure: str
    """Which of its tasks failed first, and why; empty: none."""

    @property
    def failed(self) -> int:
        """Subtasks that failed."""
        return sum(one.failed for one in self.nodes)

    @property
    def failed_tasks(self) -> int:
        """Tasks that failed."""
        return sum(one.tasks.failed for one in self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a cluster stands."""

    cluster: str
    """Name of the cluster."""
    file: str
    """Its cluster file."""
    supervisor: Lease | None
    """Who supervises it; None: nobody."""
    running: tuple[Progress, ...]
    """Instances that are worked on, oldest first."""
    queued: tuple[InstanceRecord, ...]
    """Instances that wait for their turn, oldest first."""
    ended: tuple[Progress, ...]
    """The newest that have, newest first."""
    ended_count: int
    """Number of all that have."""
    alerts: tuple[Alert, ...]
    """The newest that nobody has seen, newest first."""
    alert_count: int
    """Number of all that nobody has seen."""
    waiting: tuple[str, ...]
    """What lies in the receipt directory."""
    received: DeliveryRecord | None
    """The newest delivery that was taken in."""


def cluster_status(file: ClusterFile, database: Database) -> Status:
    """Return how a cluster stands; costs the same for ten subtasks and a million."""
    every = instances.instances(database)
    queued = [one for one in every if one.state is InstanceState.INITIALIZED]
    running = [
        one
        for one in every
        if not (one.state.is_final or one.state is InstanceState.INITIALIZED)
    ]
    ended = [one for one in every if one.state.is_final]
    unseen = [one for one in alerts.alerts(database) if not one.is_acknowledged]
    taken = deliveries.deliveries(database)
    lying = file.receipt.iterdir() if file.receipt.is_dir() else ()

    def progress(record: InstanceRecord) -> Progress:
        return Progress(
            instance=record,
            nodes=scoreboard(database, record.id),
            first_failure=_first_failure(database, record.id),
        )

    return Status(
        cluster=file.name,
        file=str(file.path),
        supervisor=current_lease(database),
        running=tuple(progress(one) for one in running),
        queued=tuple(queued),
        ended=tuple(progress(one) for one in ended[: -NEWEST - 1 : -1]),
        ended_count=len(ended),
        alerts=tuple(unseen[:NEWEST]),
        alert_count=len(unseen),
        waiting=tuple(sorted(p.name for p in lying if not p.name.startswith("."))),
        received=taken[-1] if taken else None,
    )


def _first_failure(database: Database, instance: int) -> str:
    query = TaskQuery(instance=instance, doing=Doing.FAILED, limit=1)
    for one in task_page(database, query).tasks:
        return f"{one.node} {one.unit}: {one.message}"
    return ""
