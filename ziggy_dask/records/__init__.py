"""The database: definitions, instances, tasks, subtasks, deliveries, the lease.

Public names are imported when they are first asked for: completion and listings need
few of them, and quickly.
"""

from typing import TYPE_CHECKING

from ziggy_dask.lazily import names_from

if TYPE_CHECKING:
    from ziggy_dask.records import (
        alerts,
        attempts,
        clocks,
        deliveries,
        instances,
        items,
        jobs,
        lease,
        library,
        outcomes,
        overview,
        requests,
        statistics,
        triggers,
    )
    from ziggy_dask.records.database import (
        Database,
        create_database,
        open_database,
    )
    from ziggy_dask.records.states import (
        Counts,
        InstanceState,
        TaskStep,
        count_tasks,
        instance_state,
    )

_HOMES = {
    "Database": "database",
    "create_database": "database",
    "open_database": "database",
    "Counts": "states",
    "InstanceState": "states",
    "TaskStep": "states",
    "count_tasks": "states",
    "instance_state": "states",
    "alerts": "",
    "attempts": "",
    "clocks": "",
    "deliveries": "",
    "triggers": "",
    "instances": "",
    "items": "",
    "jobs": "",
    "lease": "",
    "library": "",
    "outcomes": "",
    "overview": "",
    "requests": "",
    "statistics": "",
}

__all__ = [
    "Counts",
    "Database",
    "InstanceState",
    "TaskStep",
    "alerts",
    "attempts",
    "clocks",
    "count_tasks",
    "create_database",
    "deliveries",
    "instance_state",
    "instances",
    "items",
    "jobs",
    "lease",
    "library",
    "open_database",
    "outcomes",
    "overview",
    "requests",
    "statistics",
    "triggers",
]

__getattr__ = names_from(__name__, _HOMES)
