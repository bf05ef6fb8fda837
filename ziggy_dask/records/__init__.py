"""The database: definitions, instances, tasks, subtasks, deliveries, the lease."""

from ziggy_dask.records import (
    alerts,
    deliveries,
    events,
    instances,
    lease,
    library,
    outcomes,
    requests,
)
from ziggy_dask.records.database import Database, create_database, open_database
from ziggy_dask.records.states import (
    Counts,
    InstanceState,
    TaskStep,
    count_tasks,
    instance_state,
)

__all__ = [
    "Counts",
    "Database",
    "InstanceState",
    "TaskStep",
    "alerts",
    "count_tasks",
    "create_database",
    "deliveries",
    "events",
    "instance_state",
    "instances",
    "lease",
    "library",
    "open_database",
    "outcomes",
    "requests",
]
