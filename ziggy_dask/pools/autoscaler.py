"""Pools: as many jobs of batch systems as there is work for, and none that is left over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ziggy_dask.compute import address_for, open_client
from ziggy_dask.compute.batch import COMMANDS
from ziggy_dask.compute.estimate import estimate
from ziggy_dask.compute.hosted import PATIENCE_S
from ziggy_dask.compute.placing import (
    CORES,
    GPU,
    MEMORY,
    Helper,
    Load,
    drop_workers,
    job_number,
    loads,
    note_ends,
    place_of,
)
from ziggy_dask.compute.script import JobSpec, import_job_classes
from ziggy_dask.definitions import AddressCompute, JobState, Pipeline
from ziggy_dask.definitions.compute import kind_of
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.connection import answer, on_scheduler, on_workers
from ziggy_dask.engine.demand import missing_jobs, needed_by, surplus_jobs
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.staffing import note_failing_starts, staffed
from ziggy_dask.errors import ComputeLostError
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.pools.job_monitor import JobMonitor
from ziggy_dask.pools.submissions import (
    Intake,
    Refuse,
    Tell,
    after_reply,
    after_success,
    allowed,
)
from ziggy_dask.pools.submitter import Order, Submitted, Submitter, title_of
from ziggy_dask.records import instances
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.attempts import Growth
from ziggy_dask.records.jobs import JobRecord, jobs

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
_LOOK_S = 1.0
"""Time between two looks at the scheduler, in seconds."""
_LONG_S = 60.0
"""After that operators are told that no worker has come, in seconds."""
_COMMANDS = 4
"""So many commands of batch systems run at once."""
_SHORT_S = 5.0
"""The same for a scheduler that runs already, whose workers should be there."""
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

    def lost(words: str) -> None:
        logger.warning("%s", words)
        alert(site, Severity.WARNING, words, source="compute")

    with (
        open_client(
            cluster.compute,
            scratch,
            cluster.environments,
            waiting,
            lost,
            lambda reason: note_failing_starts(site, reason),
        ) as client,
        pools(site, client),
        staffed(site, client),
    ):
        yield client


class _Waiting:
    """Tells once that the first worker is long in coming; can be interrupted meanwhile."""

    def __init__(self, site: OpenCluster, tell: Callable[[str], None]) -> None:
        self._site = site
        self._tell = tell
        self._is_told = False

    def __call__(self, waited_s: float) -> None:
        if self._site.stop.is_set():
            raise KeyboardInterrupt
        compute = self._site.cluster.compute
        is_there = isinstance(compute, AddressCompute)
        if waited_s > (_SHORT_S if is_there else _LONG_S) and not self._is_told:
            self._is_told = True
            what = (
                f"the scheduler at {compute.address!r} answers"
                if isinstance(compute, AddressCompute)
                else f"'compute: {kind_of(compute)}' has started"
            )
            words = (
                f"{what}, but has no worker after {waited_s:.0f} s; it is waited for up to "
                f"{PATIENCE_S:.0f} s"
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
    with ThreadPoolExecutor(_COMMANDS, thread_name_prefix="ziggy-batch") as executor:
        keeper = _Keeper(site, client, executor)
        keeper.thread.start()
        try:
            yield
        finally:
            keeper.ended.set()
            keeper.thread.join()
            keeper.submitter.close()
            _end_all(site, keeper.monitor)


def cancel_left_over(site: OpenCluster) -> int:
    """Cancel all jobs that have not ended; return how many that were."""
    left = jobs(site.database, only_open=True)
    if left:
        with ThreadPoolExecutor(
            _COMMANDS, thread_name_prefix="ziggy-batch"
        ) as executor:
            _end_all(site, JobMonitor(site, Refusals(site), executor))
    return len(left)


def _end_all(site: OpenCluster, monitor: JobMonitor) -> None:
    """End all jobs; tell of those of which nobody can say whether they have ended."""
    monitor.end(jobs(site.database, only_open=True))
    left = monitor.settle()
    for name in sorted({job.environment for job in left}):
        mine = [job for job in left if job.environment == name]
        numbers = ", ".join(job.number or job.name for job in mine)
        words = monitor.words_of(name)
        alert(
            site,
            Severity.INFRASTRUCTURE,
            f"jobs {numbers} in {name!r} were told to end, and may still be queued or "
            f"running{': ' + words if words else ''}; tell them again with: "
            "ziggy doctor --fix",
            source="pools",
        )


class _Keeper:
    """Looks at the work and at the jobs, again and again, in a thread of its own."""

    def __init__(self, site: OpenCluster, client: Client, executor: Executor) -> None:
        self._site = site
        self._client = client
        self._refusals = Refusals(site)
        self._environments = {each.name: each for each in site.cluster.environments}
        self._had_work = dict.fromkeys(self._environments, 0.0)
        self._had_spare = dict.fromkeys(self._environments, 0.0)
        self._idle_since: dict[str, float] = {}
        self._intakes: dict[str, Intake] = {}
        self._pipeline = lru_cache(maxsize=256)(self._find_pipeline)
        self._workers: dict[str, str] = {}
        self.monitor = JobMonitor(site, self._refusals, executor, self._number_of)
        self.submitter = Submitter(site.database, executor, self._spec, client.security)
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
        submitted = self.submitter.take()  # before the records are read
        found, helpers = on_scheduler(self._client, loads)
        self._workers = {helper.name: helper.address for helper in helpers}
        self.monitor.useful.update(helper.name for helper in helpers if helper.busy)
        open_ = self.monitor.look(
            self._workers.keys(), in_flight=self.submitter.in_flight
        )
        self._drop_workers()
        ends = self.monitor.ends(open_)
        on_scheduler(self._client, note_ends, ends)
        places = {load.claim: self._environment_of(load) for load in found}
        self._refusals.reopen(set(places.values()))
        self._note_submitted(submitted, open_)
        for name in self._environments:
            mine = [load for load in found if places[load.claim] == name]
            if name not in self._refusals and not self.submitter.is_busy(name):
                self._grow(name, mine, open_, ends)
            self._shrink(name, mine, open_, helpers, ends)

    def _drop_workers(self) -> None:
        """Take workers off the scheduler whose jobs have ended or begin again."""
        names = self.monitor.retiring & self._workers.keys()
        self.monitor.retiring.clear()
        if names:
            dropped = on_scheduler(self._client, drop_workers, names)
            logger.info("workers of jobs that have ended: %s", ", ".join(dropped))

    def _number_of(self, name: str) -> str:
        """Ask the worker of a job for the number that the job has."""
        address = self._workers.get(name)
        if address is None:
            return ""
        variables = tuple(each.job_id for each in COMMANDS.values() if each.job_id)
        try:
            said = on_workers(self._client, job_number, variables, workers=[address])
        except ComputeLostError:  # the next look at the scheduler tells
            return ""
        return str(said.get(address, "")).partition(".")[0]

    # -- more jobs ---------------------------------------------------------------

    def _note_submitted(
        self, submitted: Sequence[Submitted], open_: Sequence[JobRecord]
    ) -> None:
        """Learn from what came of submissions."""
        now = time.monotonic()
        for result in submitted:
            name = result.order.environment.name
            taken = [job for job in open_ if job.environment == name and job.number]
            intake = self._intakes.get(name, Intake())
            told: Sequence[Tell | Refuse]
            if result.reply is None:
                intake, told = after_success(name, intake, len(taken), now)
            else:
                intake, told = after_reply(name, intake, result.reply, len(taken), now)
            self._intakes[name] = intake
            for each in told:
                if isinstance(each, Refuse):
                    self._intakes.pop(name)
                    self._refusals.refuse(name, each.reason, result.order.instance)
                else:
                    self._tell(each, result.order.instance)

    def _tell(self, told: Tell, instance: int) -> None:
        severity = Severity(told.loudness.value)
        alert(self._site, severity, told.message, source="pools", instance=instance)

    def _grow(
        self,
        name: str,
        mine: Sequence[Load],
        open_: Sequence[JobRecord],
        ends: Mapping[str, float],
    ) -> None:
        """Submit the jobs that are missing in an environment."""
        environment = self._environments[name]
        here = [job for job in open_ if job.environment == name]
        intake = self._intakes.get(name, Intake())
        room = allowed(intake, environment.max_jobs, len(here), time.monotonic())
        orders = []
        for load in mine:
            instance, node_name, memory, time_ = load.claim
            grown = Growth(memory=memory, time=time_)
            pipeline = self._pipeline(instance)
            needs = needed_by(pipeline.by_name[node_name], grown, environment)
            left = load.waiting + load.running + load.coming
            found = estimate(environment, needs, left)
            architecture = environment.architecture(found.architecture)
            assert architecture is not None
            missing = missing_jobs(environment, found, load, open_, ends, time.time())
            count = min(missing, room)
            room -= count
            if count:
                orders.append(
                    Order(
                        environment=environment,
                        architecture=architecture,
                        estimate=found,
                        instance=instance,
                        title=title_of(pipeline.name, instance, node_name),
                        count=count,
                    )
                )
        if orders:
            self.submitter.begin(name, orders)

    def _spec(self, order: Order, name: str) -> JobSpec:
        home, compute = self._site.cluster.home, self._site.cluster.compute
        scheduler: Any = self._client.scheduler
        known = answer(self._client, scheduler.identity, n_workers=0)
        address = known["address"]
        environment, architecture = order.environment, order.architecture
        return JobSpec(
            environment=environment,
            architecture=architecture,
            scheduler=address_for(environment, compute, address),
            name=name,
            queue=order.estimate.queue,
            wall_s=float(order.estimate.wall_s),
            resources=(
                (place_of(environment.name), 1.0),
                (MEMORY, float(architecture.memory_bytes)),
                (CORES, float(architecture.cores)),
                (GPU, float(architecture.gpus)),
            ),
            log_directory=str(home / "logs" / "jobs"),
            local_directory=str(home / "scratch"),
            access=self._site.cluster.access,
        )

    # -- fewer jobs --------------------------------------------------------------

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
        if any(load.waiting or load.soon for load in left):
            self._had_spare[environment] = now
        mine = [
            job
            for job in open_
            if job.environment == environment and job.state is not JobState.CANCELLING
        ]
        busy = {helper.name for helper in helpers if helper.busy}
        unneeded = surplus_jobs(
            left,
            mine,
            self._idle_s(helpers, busy, now),
            busy,
            ends,
            now,
            now - self._had_work[environment],
            now - self._had_spare[environment],
        )
        if not unneeded:
            return
        retired = {
            job.name: self._workers[job.name]
            for job in unneeded
            if job.name in self._workers
        }
        scheduler: Any = self._client.scheduler
        answer(
            self._client,
            scheduler.retire_workers,
            workers=list(retired.values()),
            close_workers=True,
        )
        self.monitor.end(unneeded, retired)

    def _idle_s(
        self, helpers: Sequence[Helper], busy: Collection[str], now: float
    ) -> dict[str, float]:
        """Return for how long workers have had nothing to do, in seconds, by job."""
        idle = {helper.name for helper in helpers} - set(busy)
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        return {name: now - since for name, since in self._idle_since.items()}

    def _environment_of(self, load: Load) -> str:
        remote = self._pipeline(load.claim[0]).by_name[load.claim[1]].remote
        assert remote is not None
        return remote.environment

    def _find_pipeline(self, instance: int) -> Pipeline:
        pipeline, _ = instances.instance_pipeline(self._site.database, instance)
        return pipeline
