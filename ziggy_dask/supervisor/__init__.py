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
from ziggy_dask.supervisor.site import Site, create_site, open_site
from ziggy_dask.supervisor.supervise import continue_instance, in_charge, run

__all__ = [
    "Event",
    "InstanceEnded",
    "Listener",
    "NodeTotals",
    "Planned",
    "Progressed",
    "Request",
    "Site",
    "TaskEnded",
    "continue_instance",
    "create_site",
    "expected_products",
    "in_charge",
    "launch",
    "open_site",
    "plan",
    "run",
    "unheard",
]
