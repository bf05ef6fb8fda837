"""Pools: as many jobs of batch systems as there is work for, and none that is left over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ziggy_dask.compute import address_for, open_client
from ziggy_dask.compute.batch import commands_of
from ziggy_dask.compute.estimate import estimate
from ziggy_dask.compute.hosted import PATIENCE_S
from ziggy_dask.compute.jobs import submit
from ziggy_dask.compute.offers import Estimate
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
from ziggy_dask.definitions import (
    Architecture,
    Environment,
    JobState,
    JobStatus,
    Node,
)
from ziggy_dask.definitions.compute import kind_of
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.demand import missing_jobs, needed_by, surplus_jobs
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ClusterError
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.pools.job_monitor import Asking
from ziggy_dask.records import instances
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.jobs import JobRecord, add_job, jobs, note_job

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
_LOOK_S = 1.0
"""Time between two looks at the scheduler, in seconds."""
_LONG_S = 60.0
"""After that operators are told that no worker has come, in seconds."""
_FAULTS = 10
"""So many looks in a row that fail close all environments."""


def untold(words: str) -> None:
    """Tell nobody but by an alert."""


@contextmanager
def opened_compute(
    site: OpenCluster, tell: Callable[[str], None] = untold
) -> Iterator[Client]:
    """Start or reach the cluster's compute, and keep its pools while it is open.

    Parameters
    ----------
    site
        The open cluster.
    tell
        Is told, once and beside an alert, if the first worker is long in coming.
    """
    cluster = site.cluster
    scratch = cluster.home / "scratch"
    waiting = _Waiting(site, tell)
    with (
        open_client(cluster.compute, scratch, cluster.environments, waiting) as client,
        pools(site, client),
    ):
        yield client


class _Waiting:
    """Tells once that the first worker is long in coming; heeds an interrupt meanwhile."""

    def __init__(self, site: OpenCluster, tell: Callable[[str], None]) -> None:
        self._site = site
        self._tell = tell
        self._is_told = False

    def __call__(self, waited_s: float) -> None:
        if self._site.stop.is_set():
            raise KeyboardInterrupt
        if waited_s > _LONG_S and not self._is_told:
            self._is_told = True
            words = (
                f"'compute: {kind_of(self._site.cluster.compute)}' has started, but has "
                f"no worker after {waited_s:.0f} s; it is waited for up to {PATIENCE_S:.0f} s"
            )
            self._tell(words)
            alert(self._site, Severity.INFRASTRUCTURE, words, source="compute")


@contextmanager
def pools(site: OpenCluster, client: Client) -> Iterator[None]:
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
        keeper.asking.end(jobs(site.database, only_open=True))
        keeper.asking.settle()


def cancel_left_over(site: OpenCluster) -> int:
    """Cancel all jobs that have not ended; return how many that were."""
    left = jobs(site.database, only_open=True)
    Asking(site, Refusals(site)).end(left)
    return len(left)


class _Keeper:
    """Looks at the work and at the jobs, again and again, in a thread of its own."""

    def __init__(self, site: OpenCluster, client: Client) -> None:
        self._site = site
        self._client = client
        self._refusals = Refusals(site)
        self._environments = {one.name: one for one in site.cluster.environments}
        self._had_work = dict.fromkeys(self._environments, 0.0)
        self._node = lru_cache(maxsize=256)(self._find_node)
        self.asking = Asking(site, self._refusals)
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
                    for name in self._environments:
                        self._refusals.refuse(name, f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        found, helpers = self._client.run_on_scheduler(loads)
        self.asking.useful.update(one.name for one in helpers if one.busy)
        open_ = self.asking.look()
        ends = self.asking.ends(open_)
        self._client.run_on_scheduler(note_ends, ends)
        places = {one.claim: self._environment_of(one) for one in found}
        self._refusals.reopen(set(places.values()))
        for load in found:
            if places[load.claim] not in self._refusals:
                self._grow(load, open_, ends)
        for name in self._environments:
            left = [one for one in found if places[one.claim] == name]
            self._shrink(name, left, open_, helpers, ends)

    def _grow(
        self, load: Load, open_: list[JobRecord], ends: Mapping[str, float]
    ) -> None:
        """Submit the jobs that are missing for a claim."""
        instance, name, resubmits = load.claim
        environment = self._environments[self._environment_of(load)]
        needs = needed_by(self._node(instance, name), resubmits, environment)
        left = load.waiting + load.running + load.coming
        found = estimate(environment, needs, left)
        now = time.time()
        for _ in range(missing_jobs(environment, found, load, open_, ends, now)):
            if self.ended.is_set():
                return
            made = self._submit(environment, found, instance)
            if made is None:
                return
            open_.append(made)

    def _submit(
        self, environment: Environment, found: Estimate, instance: int
    ) -> JobRecord | None:
        database = self._site.database
        architecture = environment.architecture(found.architecture)
        assert architecture is not None
        made = add_job(
            database,
            instance_id=instance,
            environment=environment.name,
            architecture=architecture.name,
            queue=found.queue,
            wall_s=float(found.wall_s),
            cost_per_hour=architecture.cost,
        )
        spec = self._spec(environment, architecture, made)
        try:
            commands_of(environment.batch)  # what can't be asked is not submitted
            number = submit(job_of(spec, self._client.security))
        except ClusterError as error:
            refused = JobStatus(state=JobState.FAILED, comment=str(error))
            note_job(database, made.id, refused)
            self._refusals.refuse(environment.name, str(error), instance)
            return None
        queued = JobStatus(state=JobState.QUEUED, comment="")
        note_job(database, made.id, queued, number)
        logger.info("job %s submitted to %s", number, environment.name)
        return replace(made, number=number, state=JobState.QUEUED)

    def _spec(
        self, environment: Environment, architecture: Architecture, made: JobRecord
    ) -> JobSpec:
        home, compute = self._site.cluster.home, self._site.cluster.compute
        address = self._client.scheduler_info(n_workers=0)["address"]
        return JobSpec(
            environment=environment,
            architecture=architecture,
            scheduler=address_for(environment, compute, address),
            name=made.name,
            queue=made.queue,
            wall_s=made.wall_s,
            resources=(
                (place_of(environment.name), 1.0),
                (MEMORY, float(architecture.memory_bytes)),
                (CORES, float(architecture.cores)),
                (GPU, float(architecture.gpus)),
            ),
            log_directory=str(home / "logs" / "jobs"),
            local_directory=str(home / "scratch"),
        )

    def _shrink(
        self,
        environment: str,
        left: Sequence[Load],
        open_: Sequence[JobRecord],
        helpers: Sequence[Helper],
        ends: Mapping[str, float],
    ) -> None:
        """End the jobs of an environment that are not needed any more."""
        now = time.time()
        if left:
            self._had_work[environment] = now
        idle = {one.name: one.address for one in helpers if not one.busy}
        unneeded = surplus_jobs(
            left,
            [one for one in open_ if one.environment == environment],
            idle,
            {one.name for one in helpers if one.busy},
            ends,
            now,
            now - self._had_work[environment],
        )
        if not unneeded:
            return
        retired = {one.name: idle[one.name] for one in unneeded if one.name in idle}
        self._client.retire_workers(list(retired.values()))
        self.asking.end(unneeded, retired)

    def _environment_of(self, load: Load) -> str:
        remote = self._node(load.claim[0], load.claim[1]).remote
        assert remote is not None
        return remote.environment

    def _find_node(self, instance: int, name: str) -> Node:
        pipeline, _ = instances.instance_pipeline(self._site.database, instance)
        return pipeline.by_name[name]
