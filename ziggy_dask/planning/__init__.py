"""From a definition and a snapshot to tasks, subtasks and a Dask graph; all pure."""

from ziggy_dask.planning.graph import (
    OURS,
    Batch,
    Calls,
    Key,
    Recorded,
    TaskGraph,
    batch_size,
    dask_graph,
    layout_graph,
    merge_key,
)
from ziggy_dask.planning.plan import (
    Feed,
    Plan,
    Span,
    Target,
    TaskPlan,
    plan_instance,
    selected_nodes,
    settle,
    stored_holdings,
)
from ziggy_dask.planning.spec import task_from_json, task_to_json
from ziggy_dask.planning.units import Holding, Unit, Where

__all__ = [
    "OURS",
    "Batch",
    "Calls",
    "Feed",
    "Holding",
    "Key",
    "Plan",
    "Recorded",
    "Span",
    "Target",
    "TaskGraph",
    "TaskPlan",
    "Unit",
    "Where",
    "batch_size",
    "dask_graph",
    "layout_graph",
    "merge_key",
    "plan_instance",
    "selected_nodes",
    "settle",
    "stored_holdings",
    "task_from_json",
    "task_to_json",
]
