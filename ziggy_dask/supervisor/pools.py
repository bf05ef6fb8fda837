"""Pools: as many jobs of batch systems as there is work for, and none that is left over."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ziggy_dask.compute import open_client
from ziggy_dask.compute.estimate import Estimate, Needs, estimate, needs_of
from ziggy_dask.compute.jobs import (
    JobStatus,
    cancel,
    commands_of,
    query,
    submit,
)
from ziggy_dask.compute.placing import (
    CORES,
    GPU,
    MEMORY,
    Helper,
    Load,
    loads,
    note_ends,
    place_of,
)
from ziggy_dask.compute.script import JobSpec, import_job_classes, job_of
from ziggy_dask.definitions import Architecture, Environment, JobState, Node
from ziggy_dask.errors import ClusterError
from ziggy_dask.records import instances
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.jobs import JobRecord, add_job, jobs, note_job
from ziggy_dask.supervisor.alerting import alert
from ziggy_dask.supervisor.site import Site

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
_LOOK_S = 1.0
"""Time between two looks at the scheduler, in seconds."""
_ASK_S = 3.0
"""Least time between two queries of a batch system, in seconds."""
_FUTILE = 3
"""So many jobs in a row that do nothing close an environment."""
_FAULTS = 10
"""So many looks in a row that fail close all environments."""
_MARGIN_S = 10.0
"""A subtask must end so long before its job does, in seconds."""
_GONE_S = 60.0
"""After that a job of which the batch system knows nothing has ended, in seconds."""


@contextmanager
def opened_compute(site: Site) -> Iterator[Client]:
    """Start or reach the cluster's compute, and keep its pools while it is open."""
    cluster = site.cluster
    scratch = cluster.home / "scratch"
    with (
        open_client(cluster.compute, scratch, cluster.environments) as client,
        pools(site, client),
    ):
        yield client


@contextmanager
def pools(site: Site, client: Client) -> Iterator[None]:
    """Keep the jobs that the work on a scheduler asks for; none is left at the end."""
    if not site.cluster.environments:
        yield
        return
    import_job_classes()
    cancel_left_over(site)
    keeper = _Keeper(site, client)
    keeper.thread.start()
    try:
        yield
    finally:
        keeper.ended.set()
        keeper.thread.join()
        cancel_left_over(site)


def cancel_left_over(site: Site) -> int:
    """Cancel all jobs that have not ended; return how many that were."""
    left = jobs(site.database, only_open=True)
    for environment in {one.environment for one in left}:
        mine = [one for one in left if one.environment == environment]
        known = {one.name: one for one in site.cluster.environments}
        if environment in known:
            commands = commands_of(known[environment].batch, environment)
            cancel(commands, [one.number for one in mine if one.number])
        for one in mine:
            note_job(site.database, one.id, JobState.CANCELLED, "no longer needed")
    return len(left)


def needed_by(node: Node, resubmits: int, environment: Environment) -> Needs:
    """Return what the subtasks of a node need after so many restarts by themselves.

    Memory grows as the node's retry says, to no more than the largest sort of node has.

    Raises
    ------
    ClusterError
        If the node does not say enough.
    """
    needs = needs_of(node)
    wanted = needs.remote.architecture
    most = max(
        one.memory_bytes
        for one in environment.architectures
        if not wanted or one.name == wanted
    )
    grown = needs.memory_bytes * node.retry.memory**resubmits
    memory = max(needs.memory_bytes, min(int(grown), most))
    factor = node.retry.time**resubmits
    return replace(
        needs,
        memory_bytes=memory,
        typical_s=needs.typical_s * factor,
        longest_s=needs.longest_s * factor,
    )


def jobs_wanted(found: Estimate, load: Load) -> int:
    """Return how many jobs a claim keeps busy now, at most those of its estimate."""
    busy = math.ceil((load.waiting + load.running) / found.active_cores)
    return min(found.nodes, busy)


class _Keeper:
    """Looks at the work and at the jobs, again and again, in a thread of its own."""

    def __init__(self, site: Site, client: Client) -> None:
        self._site = site
        self._client = client
        self._environments = {one.name: one for one in site.cluster.environments}
        self._asked = 0.0
        self._unseen: dict[int, float] = {}
        self._queued_until: dict[int, float] = {}
        self._useful: set[str] = set()
        self._futile: dict[str, list[str]] = {}
        self._node = lru_cache(maxsize=256)(self._find_node)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._keep, name="ziggy-pools")

    def _keep(self) -> None:
        faults = 0
        while not self.ended.wait(_LOOK_S):
            try:
                self._look()
                faults = 0
            except Exception as error:
                faults += 1
                logger.exception("the jobs could not be looked after; trying again")
                if faults == _FAULTS:
                    reason = f"{type(error).__name__}: {error}"
                    for name in self._environments:
                        self._refuse(name, reason, None)

    def _look(self) -> None:
        found, helpers = self._client.run_on_scheduler(loads)
        self._useful.update(one.name for one in helpers if one.busy)
        here = {one.name for one in helpers}
        open_ = jobs(self._site.database, only_open=True)
        if open_ and time.monotonic() - self._asked > _ASK_S:
            self._asked = time.monotonic()
            self._ask(open_)
            open_ = jobs(self._site.database, only_open=True)
        ends = {
            one.name: self._end_of(one)
            for one in open_
            if one.state is JobState.RUNNING
        }
        self._client.run_on_scheduler(note_ends, ends)
        working = {one.claim: self._environment_of(one) for one in found}
        self._reopen(set(working.values()))
        for load in found:
            if load.waiting and working[load.claim] not in self._site.refusals:
                self._grow(load, open_, ends)
        self._shrink(found, working, open_, helpers, here)

    # -- what the batch systems say ------------------------------------------

    def _ask(self, open_: list[JobRecord]) -> None:
        for name in {one.environment for one in open_}:
            commands = commands_of(self._environments[name].batch, name)
            told = query(commands)
            if told is None:
                continue  # a batch server that does not answer may do so later
            for one in open_:
                if one.environment == name and one.number:
                    self._note(one, told.get(one.number))

    def _note(self, one: JobRecord, told: JobStatus | None) -> None:
        now = time.time()
        if told is None:
            if now - self._unseen.setdefault(one.id, now) < _GONE_S:
                return
            told = JobStatus(state=JobState.ENDED, comment="the batch system lost it")
        self._unseen.pop(one.id, None)
        if told.state is JobState.QUEUED:
            self._queued_until[one.id] = now
        if told.state is not one.state:
            note_job(self._site.database, one.id, told.state, told.comment)
        if told.state.is_final:
            self._weigh(one, told)

    def _weigh(self, one: JobRecord, told: JobStatus) -> None:
        """Count jobs that did nothing; refuse an environment where they all do so."""
        if one.name in self._useful:
            self._futile.pop(one.environment, None)
            if told.state is not JobState.ENDED:
                self._alert(
                    Severity.WARNING,
                    f"job {one.number} in {one.environment!r} ended as {told.comment}; "
                    "what ran on it runs again",
                    one.instance,
                )
            return
        futile = self._futile.setdefault(one.environment, [])
        futile.append(
            f"job {one.number} ended as {told.comment} before it did anything"
        )
        if len(futile) >= _FUTILE:
            self._refuse(one.environment, futile[-1], one.instance)

    def _refuse(self, environment: str, reason: str, instance: int | None) -> None:
        message = (
            f"environment {environment!r} takes no jobs: {reason}; mend it in the "
            "cluster file, see logs/jobs, then: ziggy restart"
        )
        self._futile.pop(environment, None)
        self._site.refusals[environment] = message
        self._alert(Severity.INFRASTRUCTURE, message, instance)

    def _reopen(self, working: set[str]) -> None:
        """Try refused environments again once nothing waits there any more."""
        for name in set(self._site.refusals) - working:
            del self._site.refusals[name]

    def _end_of(self, one: JobRecord) -> float:
        """Return the time at which a job ends, or some seconds before."""
        began = self._queued_until.get(one.id, one.submitted.timestamp())
        return began + one.wall_s - min(_MARGIN_S, one.wall_s / 10)

    # -- as many jobs as needed ----------------------------------------------

    def _grow(self, load: Load, open_: list[JobRecord], ends: dict[str, float]) -> None:
        instance, name, resubmits = load.claim
        environment = self._environments[self._environment_of(load)]
        needs = needed_by(self._node(instance, name), resubmits, environment)
        left = load.waiting + load.running + load.coming
        found = estimate(environment, needs, left)
        architecture = environment.architecture(found.architecture)
        assert architecture is not None
        now = time.time()
        able = [
            one
            for one in open_
            if one.environment == environment.name
            and one.architecture == found.architecture
            and ends.get(one.name, math.inf) >= now + load.seconds
        ]
        missing = jobs_wanted(found, load) - len(able)
        if environment.max_jobs:
            mine = [one for one in open_ if one.environment == environment.name]
            missing = min(missing, environment.max_jobs - len(mine))
        for _ in range(missing):
            if self.ended.is_set():
                return
            made = self._submit(environment, architecture, found, instance)
            if made is None:
                return
            open_.append(made)

    def _submit(
        self,
        environment: Environment,
        architecture: Architecture,
        found: Estimate,
        instance: int,
    ) -> JobRecord | None:
        made = add_job(
            self._site.database,
            instance_id=instance,
            environment=environment.name,
            architecture=architecture.name,
            queue=found.queue,
            wall_s=float(found.wall_s),
            cost_per_hour=architecture.cost,
        )
        spec = JobSpec(
            environment=environment,
            architecture=architecture,
            scheduler=self._client.scheduler_info(n_workers=0)["address"],
            name=made.name,
            queue=found.queue,
            wall_s=found.wall_s,
            resources=(
                (place_of(environment.name), 1.0),
                (MEMORY, float(architecture.memory_bytes)),
                (CORES, float(architecture.cores)),
                (GPU, float(architecture.gpus)),
            ),
            log_directory=str(self._site.cluster.home / "logs" / "jobs"),
            local_directory=str(self._site.cluster.home / "scratch"),
        )
        try:
            number = submit(job_of(spec, self._client.security))
        except ClusterError as error:
            note_job(self._site.database, made.id, JobState.FAILED, str(error))
            self._refuse(environment.name, str(error), instance)
            return None
        note_job(self._site.database, made.id, JobState.QUEUED, number=number)
        logger.info("job %s submitted to %s", number, environment.name)
        return replace(made, number=number, state=JobState.QUEUED)

    def _shrink(
        self,
        found: list[Load],
        working: dict[tuple[int, str, int], str],
        open_: list[JobRecord],
        helpers: list[Helper],
        here: set[str],
    ) -> None:
        """End jobs for which nothing is left, or nothing that they have time for."""
        now = time.time()
        idle = {one.name: one.address for one in helpers if not one.busy}
        for environment in {one.environment for one in open_}:
            left = [one for one in found if working[one.claim] == environment]
            shortest = min((one.seconds for one in left), default=math.inf)
            mine = [one for one in open_ if one.environment == environment]
            over = [
                one
                for one in mine
                if (not left and one.name not in here)
                or (one.name in idle and self._end_of(one) < now + shortest)
            ]
            commands = commands_of(self._environments[environment].batch, environment)
            self._client.retire_workers([idle[o.name] for o in over if o.name in idle])
            cancel(commands, [one.number for one in over if one.number])
            for one in over:
                state = JobState.ENDED if one.name in idle else JobState.CANCELLED
                note_job(self._site.database, one.id, state, "no longer needed")

    # -- what claims stand for -------------------------------------------------

    def _environment_of(self, load: Load) -> str:
        remote = self._node(load.claim[0], load.claim[1]).remote
        assert remote is not None
        return remote.environment

    def _find_node(self, instance: int, name: str) -> Node:
        pipeline, _ = instances.instance_pipeline(self._site.database, instance)
        return pipeline.by_name[name]

    def _alert(self, severity: Severity, message: str, instance: int | None) -> None:
        alert(self._site, severity, message, source="pools", instance=instance)
