"""Where the subtasks of tasks run, and how many of them as one Dask key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from ziggy_dask.compute import MEMORY, has_places, memory_of_workers
from ziggy_dask.compute.estimate import estimate
from ziggy_dask.compute.placing import CLAIM, SECONDS, wants
from ziggy_dask.definitions import Environment, Node
from ziggy_dask.engine.demand import needed_by
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.progress import Ledger
from ziggy_dask.engine.work_orders import InstanceFacts
from ziggy_dask.errors import ClusterError
from ziggy_dask.planning import Recorded, TaskPlan, batch_size
from ziggy_dask.records import outcomes
from ziggy_dask.records.history import node_history

if TYPE_CHECKING:
    from distributed import Client


class Placement:
    """What an instance asks of a compute environment.

    Parameters
    ----------
    site
        The open cluster.
    facts
        What the tasks of the instance have in common.
    ledger
        How far they are.
    recorded
        What is on record of those that are not published, by index.
    client
        Where subtasks run.
    """

    def __init__(
        self,
        site: OpenCluster,
        facts: InstanceFacts,
        ledger: Ledger,
        recorded: Mapping[int, Recorded],
        client: Client,
    ) -> None:
        self._site = site
        self._facts = facts
        self._ledger = ledger
        self._recorded = recorded
        self._slots = sum(client.nthreads().values()) or 1
        self._memory = memory_of_workers(client)
        self._has_places = has_places(client)
        self._longest: dict[str, float] = {}
        self._durations = outcomes.typical_seconds(site.database, facts.pipeline.name)

    def annotations(self, plan: TaskPlan) -> dict[str, Any]:
        """Return what the scheduler is told of a task's batches: where they may run."""
        node = self._facts.pipeline.by_name[plan.node]
        resubmits = self._ledger[plan.index].resubmits
        environment = self.environment_of(plan)
        if environment is None:
            memory = self._memory_at_home(node, resubmits)
            at_home = wants(node, memory, "") if self._has_places else {}
            needs = at_home or ({MEMORY: memory} if memory else {})
            return {"resources": needs} if needs else {}
        needed = needed_by(node, resubmits, environment)
        estimate(environment, needed, plan.count)
        return {
            "resources": wants(node, needed.memory_bytes, environment.name),
            CLAIM: (self._facts.number, node.name, resubmits),
            SECONDS: self._longest_s(node) or needed.longest_s,
        }

    def environment_of(self, plan: TaskPlan) -> Environment | None:
        """Return where the subtasks of a task run; None: in the home pool."""
        node = self._facts.pipeline.by_name[plan.node]
        if node.remote is None or not self._has_places:
            return None
        recorded = self._recorded.get(plan.index)
        left = plan.count - (len(recorded.part_of) if recorded else 0)
        if left < node.remote.min_subtasks:
            return None
        return self._site.cluster.environment(node.remote.environment)

    def size_of(self, plan: TaskPlan) -> int:
        """Return how many subtasks of a task run as one Dask key."""
        if self._ledger[plan.index].attempt:
            return 1  # so that those that fail, or kill their worker, harm no others
        node = self._facts.pipeline.by_name[plan.node]
        if self.environment_of(plan) is not None:
            return 1
        declared = node.typical_s
        seconds = declared or self._durations.get(plan.node, 0.0)
        return batch_size(plan.count, seconds, self._slots)

    def _longest_s(self, node: Node) -> float:
        """Return the time in which most subtasks of a node ended so far; 0: not known."""
        if node.name not in self._longest:
            history = node_history(
                self._site.database, self._facts.pipeline.name, node.name
            )
            self._longest[node.name] = (
                history.longest_s.high
                if history and history.longest_s.is_enough
                else 0.0
            )
        return self._longest[node.name]

    def _memory_at_home(self, node: Node, resubmits: int) -> float:
        """Return the memory that a subtask gets in the home pool; 0: nobody counts it."""
        if not node.memory_bytes or not self._memory:
            return 0.0
        if node.memory_bytes <= max(self._memory):
            return min(
                node.memory_bytes * node.retry.memory**resubmits, max(self._memory)
            )
        raise ClusterError(
            f"node {node.name!r} needs {format_bytes(node.memory_bytes)} of memory per "
            f"subtask; the largest worker has {format_bytes(int(max(self._memory)))}. "
            "Give workers more in the cluster file, or mend the node's 'memory'"
        )
