"""Where the subtasks of tasks run, and how many of them as one Dask key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from ziggy_dask.compute import MEMORY, has_places, memory_of_workers
from ziggy_dask.compute.estimate import estimate
from ziggy_dask.compute.placing import CLAIM, SECONDS, wants
from ziggy_dask.definitions import Node
from ziggy_dask.engine.connection import workers_of
from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.engine.demand import needed_by
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ClusterError
from ziggy_dask.planning import TaskPlan, batch_size
from ziggy_dask.records import outcomes
from ziggy_dask.records.attempts import Growth, growth
from ziggy_dask.records.history import node_history
from ziggy_dask.records.instances import TaskRecord

if TYPE_CHECKING:
    from distributed import Client


class Placement:
    """What an instance asks of a compute environment.

    Parameters
    ----------
    site
        The open cluster.
    context
        What the tasks of the instance have in common.
    client
        Where subtasks run.
    """

    def __init__(
        self, site: OpenCluster, context: InstanceContext, client: Client
    ) -> None:
        self._site = site
        self._context = context
        workers = workers_of(client).values()
        self._memory = memory_of_workers(workers)
        self._longest: dict[str, float] = {}
        self._durations = outcomes.typical_seconds(site.database, context.pipeline.name)
        self.slots = sum(one["nthreads"] for one in workers) or 1
        """Subtasks that can run at once, as far as known."""
        self.has_places = has_places(workers)
        """Whether jobs of batch systems can join the workers."""

    def check(self, plan: TaskPlan, record: TaskRecord, left: int) -> str:
        """Return the environment that is to run a task; empty: the home pool.

        Parameters
        ----------
        plan, record
            The task.
        left
            Number of its subtasks that are to run.

        Raises
        ------
        ClusterError
            If no worker there can take its subtasks.
        """
        node = self._context.pipeline.by_name[plan.node]
        is_remote = (
            node.remote is not None
            and self.has_places
            and left >= node.remote.min_subtasks
        )
        name = node.remote.environment if is_remote and node.remote else ""
        self.annotations(plan, record, name)
        return name

    def annotations(
        self, plan: TaskPlan, record: TaskRecord, environment: str
    ) -> dict[str, Any]:
        """Return what the scheduler is told of a task's batches: where they may run.

        Raises
        ------
        ClusterError
            If no worker there can take its subtasks.
        """
        node = self._context.pipeline.by_name[plan.node]
        grown = growth(self._site.database, record.id, record.attempt, record.resubmits)
        found = self._site.cluster.environment(environment) if environment else None
        if found is None:
            memory = self._memory_at_home(node, grown)
            at_home = wants(node, memory, "") if self.has_places else {}
            needs = at_home or ({MEMORY: memory} if memory else {})
            return {"resources": needs} if needs else {}
        needed = needed_by(node, grown, found)
        estimate(found, needed, plan.count)
        return {
            "resources": wants(node, needed.memory_bytes, found.name),
            CLAIM: (self._context.number, node.name, grown.memory, grown.time),
            SECONDS: needed.longest_s
            if grown.time
            else self._longest_s(node) or needed.longest_s,
        }

    def size_of(self, plan: TaskPlan, record: TaskRecord, environment: str) -> int:
        """Return how many subtasks of a task run as one Dask key."""
        if record.attempt:
            return 1  # so that those that fail, or kill their worker, harm no others
        if environment:
            return 1
        node = self._context.pipeline.by_name[plan.node]
        seconds = node.typical_s or self._durations.get(plan.node, 0.0)
        return batch_size(plan.count, seconds, self.slots)

    def _longest_s(self, node: Node) -> float:
        """Return the time in which most subtasks of a node ended so far; 0: not known."""
        if node.name not in self._longest:
            history = node_history(
                self._site.database, self._context.pipeline.name, node.name
            )
            self._longest[node.name] = (
                history.longest_s.high
                if history and history.longest_s.is_enough
                else 0.0
            )
        return self._longest[node.name]

    def _memory_at_home(self, node: Node, grown: Growth) -> float:
        """Return the memory that a subtask gets in the home pool; 0: nobody counts it."""
        if not node.memory_bytes or not self._memory:
            return 0.0
        if node.memory_bytes <= max(self._memory):
            return min(
                node.memory_bytes * node.retry.memory**grown.memory, max(self._memory)
            )
        raise ClusterError(
            f"node {node.name!r} needs {format_bytes(node.memory_bytes)} of memory per "
            f"subtask; the largest worker has {format_bytes(int(max(self._memory)))}. "
            "Give workers more in the cluster file, or correct the node's 'memory'"
        )
