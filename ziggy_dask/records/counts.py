"""How much of everything there is, for monitoring: counted in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Executable, func, select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.states import InstanceState
from ziggy_dask.records.tables import AlertRow, DeliveryRow, InstanceRow, TaskRow

_FINAL = tuple(state.value for state in InstanceState if state.is_final)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCounts:
    """How much of everything a cluster has."""

    instances: Mapping[str, int]
    """Instances by state."""
    oldest_waiting: datetime | None
    """When the oldest instance that waits for its turn was asked for; None: none does."""
    subtasks: Mapping[str, int]
    """Subtasks of instances that have not ended: ``complete``, ``failed``, ``open``."""
    unseen_alerts: Mapping[str, int]
    """Alerts that nobody has seen, by severity."""
    deliveries: int
    """Deliveries that were taken in."""


@patiently
def cluster_counts(database: Database) -> ClusterCounts:
    """Count; the subtasks of instances that have ended are not looked at."""
    by_state = select(InstanceRow.state, func.count()).group_by(InstanceRow.state)
    oldest = select(func.min(InstanceRow.created)).where(
        InstanceRow.state == InstanceState.INITIALIZED.value
    )
    sums = (
        select(
            func.coalesce(func.sum(TaskRow.total), 0),
            func.coalesce(func.sum(TaskRow.complete), 0),
            func.coalesce(func.sum(TaskRow.failed), 0),
        )
        .join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .where(InstanceRow.state.not_in(_FINAL))
    )
    unseen = (
        select(AlertRow.severity, func.count())
        .where(AlertRow.is_acknowledged.is_(False), AlertRow.is_cleared.is_(False))
        .group_by(AlertRow.severity)
    )
    with database.reading() as connection:
        total, complete, failed = map(int, connection.execute(sums).one())
        return ClusterCounts(
            instances=_by_key(connection, by_state),
            oldest_waiting=connection.execute(oldest).scalar(),
            subtasks={
                "complete": complete,
                "failed": failed,
                "open": total - complete - failed,
            },
            unseen_alerts=_by_key(connection, unseen),
            deliveries=connection.execute(
                select(func.count()).select_from(DeliveryRow)
            ).scalar_one(),
        )


def _by_key(connection: Connection, query: Executable) -> dict[str, int]:
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}
