"""From a definition and a snapshot to tasks, subtasks and a Dask graph; all pure."""

from ziggy_dask.planning.batches import Batch, Key, Part
from ziggy_dask.planning.graph import (
    OURS,
    Calls,
    Recorded,
    TaskGraph,
    batch_size,
    dask_graph,
    layout_graph,
    merge_key,
)
from ziggy_dask.planning.plan import (
    NONE_PROCESSED,
    Feed,
    Plan,
    Processed,
    Span,
    Target,
    TaskPlan,
    followers,
    plan_instance,
    reopen,
    selected_nodes,
    settle,
    stored_holdings,
)
from ziggy_dask.planning.spec import task_from_json, task_to_json
from ziggy_dask.planning.units import Holding, Unit, Where

__all__ = [
    "NONE_PROCESSED",
    "OURS",
    "Batch",
    "Calls",
    "Feed",
    "Holding",
    "Key",
    "Part",
    "Plan",
    "Processed",
    "Recorded",
    "Span",
    "Target",
    "TaskGraph",
    "TaskPlan",
    "Unit",
    "Where",
    "batch_size",
    "dask_graph",
    "followers",
    "layout_graph",
    "merge_key",
    "plan_instance",
    "reopen",
    "selected_nodes",
    "settle",
    "stored_holdings",
    "task_from_json",
    "task_to_json",
]
