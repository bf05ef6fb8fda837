"""Submitting jobs beside everything else, one after the other for each environment."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ziggy_dask.compute.batch import commands_of
from ziggy_dask.compute.batch.replies import Meaning, Reply
from ziggy_dask.compute.jobs import may_exist, submit
from ziggy_dask.compute.offers import Estimate
from ziggy_dask.compute.script import JobSpec, job_of
from ziggy_dask.definitions import Architecture, Environment, JobState, JobStatus
from ziggy_dask.errors import ClusterError
from ziggy_dask.records import Database
from ziggy_dask.records.jobs import JobRecord, add_job, note_job

if TYPE_CHECKING:
    from distributed import Security

_NAME = 48
"""Longest name of a job without what makes it unique."""
_CLOSE_S = 2.0
"""So long the end of a run waits for a submission that is under way, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Jobs of one kind that are to be submitted."""

    environment: Environment
    architecture: Architecture
    estimate: Estimate
    instance: int
    title: str
    """What people read of them: pipeline, instance and node."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What came of one submission."""

    order: Order
    reply: Reply | None
    """What the batch system said instead of a number; None: it took the job."""


def title_of(pipeline: str, instance: int, node: str) -> str:
    """Return what people read of the jobs of a node.

    Examples
    --------
    >>> title_of("campaign", 17, "fit the curve")
    'ziggy-campaign-17-fit-the-curve'
    """
    words = re.sub(r"[^A-Za-z0-9_]+", "-", f"ziggy-{pipeline}-{instance}-{node}")
    return words[:_NAME].strip("-")


class Submitter:
    """Submits jobs in threads of an executor, and tells what came of it.

    Parameters
    ----------
    database
        The records: each job is there before its batch system hears of it.
    executor
        Runs the commands.
    spec_of
        Makes the job of an order, by its name.
    security
        Certificates that jobs must show.
    """

    def __init__(
        self,
        database: Database,
        executor: Executor,
        spec_of: Callable[[Order, str], JobSpec],
        security: Security | None,
    ) -> None:
        self._database = database
        self._executor = executor
        self._spec_of = spec_of
        self._security = security
        self._futures: dict[str, Future[list[Submitted]]] = {}
        self._ended = threading.Event()
        self.in_flight: set[int] = set()
        """Jobs, by number of the record, that are being handed to their batch system."""

    def is_busy(self, environment: str) -> bool:
        """Tell whether jobs are being submitted to an environment."""
        return environment in self._futures

    def begin(self, environment: str, orders: list[Order]) -> None:
        """Submit jobs, until one is not taken."""
        self._futures[environment] = self._executor.submit(self._submit_all, orders)

    def take(self) -> list[Submitted]:
        """Return what came of the submissions that have ended since the last call."""
        done = [name for name, future in self._futures.items() if future.done()]
        return [one for name in done for one in self._futures.pop(name).result()]

    def close(self) -> None:
        """Submit nothing more, and wait a little for what is under way.

        A job that is made later than that is on record, and is found by its name.
        """
        self._ended.set()
        wait(self._futures.values(), timeout=_CLOSE_S)

    def _submit_all(self, orders: list[Order]) -> list[Submitted]:
        results: list[Submitted] = []
        for order in orders:
            for _ in range(order.count):
                if self._ended.is_set():
                    return results
                results.append(self._submit(order))
                if results[-1].reply is not None:
                    return results
        return results

    def _submit(self, order: Order) -> Submitted:
        made = self._add(order)
        self.in_flight.add(made.id)
        try:
            said = self._hand_over(order, made.name)
            if isinstance(said, str):
                queued = JobStatus(state=JobState.QUEUED, comment="")
                note_job(self._database, made.id, queued, said)
                return Submitted(order=order, reply=None)
            # Whether there is a job all the same is found out by its name.
            state = JobState.SUBMITTING if may_exist(said) else JobState.FAILED
            noted = JobStatus(state=state, comment=said.words)
            note_job(self._database, made.id, noted)
            return Submitted(order=order, reply=said)
        finally:
            self.in_flight.discard(made.id)

    def _add(self, order: Order) -> JobRecord:
        return add_job(
            self._database,
            name=f"{order.title}-{secrets.token_hex(4)}",
            instance_id=order.instance,
            environment=order.environment.name,
            architecture=order.architecture.name,
            queue=order.estimate.queue,
            wall_s=float(order.estimate.wall_s),
            cost_per_hour=order.architecture.cost,
        )

    def _hand_over(self, order: Order, name: str) -> str | Reply:
        batch = order.environment.batch
        try:
            commands_of(batch)  # what can't be asked is not submitted
            job = job_of(self._spec_of(order, name), self._security)
        except (ClusterError, OSError, ValueError) as error:
            words = " ".join(str(error).split())
            return Reply(meaning=Meaning.PERMANENT, words=words)
        return submit(job, batch)
