"""What a cluster would do: plans of runs, and what their nodes get and cost."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ziggy_dask.definitions import Process
from ziggy_dask.definitions.names import member
from ziggy_dask.engine.code import code_of_pipeline
from ziggy_dask.engine.launch import chosen_sets
from ziggy_dask.interface.estimating import (
    Asked,
    Estimates,
    estimate_node,
    required_history,
)
from ziggy_dask.interface.library import Library, Overrides
from ziggy_dask.planning import Plan, Where
from ziggy_dask.records import library
from ziggy_dask.supervisor import Request, expected_products, plan


class Plans(Library):
    """The plans of a cluster, besides its definitions and records."""

    def plan(
        self,
        pipeline: str,
        *,
        start: str | None = None,
        stop: str | None = None,
        where: Sequence[str] = (),
        exclude: Sequence[str] = (),
        process: Process | str | None = None,
    ) -> Plan:
        """Return all tasks that `run` would run now; nothing is changed.

        Deliveries that wait count as received.

        Raises
        ------
        DefinitionError
            If the request does not fit the pipeline, or its code is not there.
        """
        definition = library.pipeline(self._site.database, pipeline).pipeline
        code_of_pipeline(definition)
        request = self._request(pipeline, "", start, stop, where, exclude, process, {})
        expected = expected_products(self._site, definition, request)
        return plan(self._site, definition, request, expected)

    def estimate(
        self,
        pipeline: str,
        node: str,
        *,
        environment: str = "",
        subtasks: int = 0,
        tasks: int = 0,
        memory_bytes: int = 0,
        longest_s: float = 0.0,
        typical_s: float = 0.0,
        from_history: bool = False,
        queue_table: str | os.PathLike[str] = "",
    ) -> Estimates:
        """Return what a node would get on a batch system, and what that costs.

        Parameters
        ----------
        pipeline, node
            Which node.
        environment, subtasks, tasks, memory_bytes, longest_s, typical_s
            What to use instead of what the node says, and of what is planned now.
        from_history
            Whether memory and times come from past subtasks of the node: the upper
            ends of the bands of the 95th percentiles, and the median.
        queue_table
            The site's table of its queues, for the optimizers that want it.

        Raises
        ------
        DefinitionError
            If there is no such node or environment.
        ClusterError
            If too little is known.
        """
        definition = library.pipeline(self._site.database, pipeline).pipeline
        history = None
        if from_history:
            history = required_history(self._site.database, pipeline, node)
        asked = Asked(
            environment=environment,
            subtasks=subtasks,
            tasks=tasks,
            memory_bytes=memory_bytes,
            longest_s=longest_s,
            typical_s=typical_s,
            queue_table=queue_table,
        )
        needs_plan = not (subtasks and tasks)
        planned = self.plan(pipeline).of_node(node) if needs_plan else ()
        return estimate_node(
            definition,
            node,
            self._site.cluster.environments,
            asked,
            [one.count for one in planned],
            history,
        )

    def _request(
        self,
        pipeline: str,
        name: str,
        start: str | None,
        stop: str | None,
        where: Sequence[str],
        exclude: Sequence[str],
        process: Process | str | None,
        parameters: Overrides,
    ) -> Request:
        stored = library.pipeline(self._site.database, pipeline)
        chosen_sets(self._site, stored, parameters)
        return Request(
            pipeline=pipeline,
            name=name,
            start=start,
            stop=stop,
            where=Where.parse(where, exclude, stored.pipeline.patterns),
            process=member(Process, process, "process") if process else None,
            parameters=parameters,
        )
