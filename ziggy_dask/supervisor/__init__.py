"""The supervisor: takes in, plans, hands out, records, publishes, recovers."""

from ziggy_dask.supervisor.events import (
    Event,
    InstanceEnded,
    Listener,
    NodeTotals,
    Planned,
    Progressed,
    TaskEnded,
    unheard,
)
from ziggy_dask.supervisor.intake import expected_products
from ziggy_dask.supervisor.launch import Request, launch, plan
from ziggy_dask.supervisor.restart import RestartMode, choose_tasks, plan_restart
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
    "InstanceEnded",
    "Listener",
    "NodeTotals",
    "Planned",
    "Progressed",
    "Request",
    "RestartMode",
    "Site",
    "TaskEnded",
    "choose_tasks",
    "continue_instance",
    "create_site",
    "expected_products",
    "halt_tasks",
    "in_charge",
    "launch",
    "open_site",
    "plan",
    "plan_restart",
    "restart_tasks",
    "run",
    "unheard",
]
