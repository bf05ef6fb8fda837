"""The supervisor: takes in, plans, hands out, records, publishes, recovers."""

from ziggy_dask.supervisor.events import (
    Event,
    InstanceEnded,
    Listener,
    NodeTotals,
    Opened,
    Planned,
    Progressed,
    TaskEnded,
    unheard,
)
from ziggy_dask.supervisor.following import ask, follow, is_served
from ziggy_dask.supervisor.health import Finding, examine, mend, restore
from ziggy_dask.supervisor.intake import expected_products
from ziggy_dask.supervisor.launch import Request, launch, plan, request_to_json
from ziggy_dask.supervisor.opening import OpenedSubtask, open_subtask
from ziggy_dask.supervisor.restart import Restart, RestartMode, plan_restart
from ziggy_dask.supervisor.service import serve
from ziggy_dask.supervisor.site import Site, create_site, open_site
from ziggy_dask.supervisor.supervise import (
    continue_instance,
    halt_tasks,
    in_charge,
    restart_tasks,
    run,
)

__all__ = [
    "Event",
    "Finding",
    "InstanceEnded",
    "Listener",
    "NodeTotals",
    "Opened",
    "OpenedSubtask",
    "Planned",
    "Progressed",
    "Request",
    "Restart",
    "RestartMode",
    "Site",
    "TaskEnded",
    "ask",
    "continue_instance",
    "create_site",
    "examine",
    "expected_products",
    "follow",
    "halt_tasks",
    "in_charge",
    "is_served",
    "launch",
    "mend",
    "open_site",
    "open_subtask",
    "plan",
    "plan_restart",
    "request_to_json",
    "restart_tasks",
    "restore",
    "run",
    "serve",
    "unheard",
]
