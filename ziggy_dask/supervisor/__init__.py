"""The supervisor: takes in, plans, hands out, records, publishes, recovers."""

from ziggy_dask.engine.events import (
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
from ziggy_dask.engine.intake import expected_products
from ziggy_dask.engine.launch import Request, launch, plan, request_to_json
from ziggy_dask.engine.open_cluster import OpenCluster, create_site, open_site
from ziggy_dask.engine.reopen import OpenedSubtask, open_subtask
from ziggy_dask.engine.restart import (
    CodeChoice,
    Restart,
    RestartMode,
    plan_restart,
)
from ziggy_dask.supervisor.doctor import (
    Finding,
    checked_history,
    examine,
    fix_findings,
    restore,
)
from ziggy_dask.supervisor.service import serve
from ziggy_dask.supervisor.service_client import ask, follow, is_served
from ziggy_dask.supervisor.supervise import (
    continue_instance,
    halt_tasks,
    in_charge,
    restart_tasks,
    run,
)

__all__ = [
    "CodeChoice",
    "Event",
    "Finding",
    "InstanceEnded",
    "Listener",
    "NodeTotals",
    "OpenCluster",
    "Opened",
    "OpenedSubtask",
    "Planned",
    "Progressed",
    "Request",
    "Restart",
    "RestartMode",
    "TaskEnded",
    "ask",
    "checked_history",
    "continue_instance",
    "create_site",
    "examine",
    "expected_products",
    "fix_findings",
    "follow",
    "halt_tasks",
    "in_charge",
    "is_served",
    "launch",
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
