"""Compute environments: a Dask client for the cluster file's ``compute``."""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggy_dask.compute.hosted import open_hosted, unwatched
from ziggy_dask.compute.reached import reached
from ziggy_dask.compute.script import STEADY
from ziggy_dask.compute.security import certificates
from ziggy_dask.compute.spawning import without_script
from ziggy_dask.definitions import (
    AddressCompute,
    Compute,
    Environment,
    LocalCompute,
)
from ziggy_dask.definitions.compute import EVERYWHERE
from ziggy_dask.errors import NO_HOME, ClusterError
from ziggy_dask.workers import worker_log

if TYPE_CHECKING:
    from distributed import Client, Security

MEMORY = "memory"
"""Name of the Dask resource, in bytes, by which workers say how much they have."""
_HOME = "environment/home"
_SPAWNED_WITH = "distributed.nanny.pre-spawn-environ"
"""Dask's setting for the environment in which workers start."""
_LOST_AFTER = "distributed.deploy.lost-worker-timeout"
"""Dask's setting for the time after which it gives up a worker that left, for ever."""
_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Has glibc ask for huge pages, as NumPy does: a large chunk is copied several times
between file and array, and small pages, each faulted in, would cost more than that."""


_RESERVED_BYTES = 3_000_000_000
"""Addresses that a process reserves for threads and buffers, on a machine of two cores."""
_FILES = 64
"""A supervisor without workers has at most half as many files and connections open."""
_FILES_PER_WORKER = 16
"""So many more it has for each worker on its machine; 13 were measured."""
_CLOSING_S = 15.0
"""Time limit for the end of workers, in seconds; after it they are killed."""


def untold(words: str) -> None:
    """Tell nobody."""


def has_places(workers: Collection[Mapping[str, Any]]) -> bool:
    """Tell whether workers say where they are, so that jobs can join them."""
    return any(_HOME in one["resources"] for one in workers)


def memory_of_workers(workers: Collection[Mapping[str, Any]]) -> list[float]:
    """Return the memory that each worker says it has, in bytes; not those of jobs.

    Returns
    -------
    list
        Empty if any does not say: then nobody can rely on it.
    """
    at_home = [one for one in workers if _HOME in one["resources"]] or workers
    given = [one["resources"].get(MEMORY, 0.0) for one in at_home]
    return given if all(given) else []


@contextmanager
def open_client(
    compute: Compute,
    scratch: Path,
    environments: Sequence[Environment] = (),
    waiting: Callable[[float], None] = unwatched,
    lost: Callable[[str], None] = untold,
    cannot_start: Callable[[str], None] = untold,
) -> Iterator[Client]:
    """Start or reach a compute environment; what was started ends with the block.

    Parameters
    ----------
    compute
        From the cluster file.
    scratch
        Directory for files of workers, and for the certificates of this run. Logs of
        workers on this machine are in ``logs/workers`` beside it.
    environments
        Batch systems whose jobs are to reach the scheduler.
    waiting
        Is told how long the first worker has been waited for, as in `open_hosted`.
    lost
        Is told, on another thread, of each worker on this machine that was lost.
    cannot_start
        Is told, likewise, why no worker can be started on this machine any more; and
        nothing, as empty text, when one could.

    Raises
    ------
    ClusterError
        If it can't be started or reached.
    """
    from ziggy_dask.compute.monotonic_clock import keep_steady

    keep_steady()
    if not isinstance(compute, AddressCompute | LocalCompute):
        with open_hosted(compute, scratch, waiting) as client:
            yield client
        return
    if isinstance(compute, AddressCompute):
        with reached(compute, waiting, lost) as client:
            yield client
        return
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"{scratch}: the workers' directory can't be made: {error.strerror}"
        ) from error
    _require_locks(scratch / "dask-scratch-space")
    _require_home()
    _require_address_space()
    _require_open_files(compute.workers or os.cpu_count() or 1)
    with (
        certificates(scratch / "certificates") as security,
        _started(
            compute, scratch, security, environments, lost, cannot_start
        ) as client,
    ):
        yield client


def _require_locks(directory: Path) -> None:
    """Refuse what is in the place of Dask's locks and no file; a pipe is waited for for ever."""
    for path in sorted(directory.glob("*.lock")):
        if path.exists() and not path.is_file():
            raise ClusterError(f"{path}: is not a regular file; remove it")


def _require_home() -> None:
    """Require that a home directory is known, where Bokeh looks for its settings."""
    try:
        Path.home()
    except RuntimeError as error:
        raise ClusterError(f"'compute: local' can't be started: {NO_HOME}") from error


def _require_address_space() -> None:
    """Require what a supervisor and a worker reserve at least, whatever they use of it.

    Compiled code that gets no more of it ends its process with a few words or none.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _RESERVED_BYTES:
        raise ClusterError(
            f"'compute: local' can't be started: processes may reserve {limit / 1e9:.1f} GB "
            f"of addresses (ulimit -v), but need {_RESERVED_BYTES / 1e9:.0f} GB, however "
            "little memory they use; set it with: ulimit -v unlimited; what limits memory "
            "is 'memory' below 'compute' in the cluster file"
        )


def _require_open_files(workers: int) -> None:
    """Require that this process may have as many open files as workers on it take.

    Where there are too few, its servers fail to accept a connection, again and again.
    """
    wanted = _FILES + workers * _FILES_PER_WORKER
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ClusterError(
            f"'compute: local' can't be started: this process may have {hard} open files "
            f"(ulimit -n), but needs {wanted} for {workers} workers; raise the limit, or "
            "give fewer 'workers' in the cluster file"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _started(
    compute: LocalCompute,
    scratch: Path,
    security: Security,
    environments: Sequence[Environment],
    lost: Callable[[str], None],
    cannot_start: Callable[[str], None],
) -> Iterator[Client]:
    import dask
    from distributed import Client, SpecCluster

    from ziggy_dask.compute.dashboard_access import guard_dashboards
    from ziggy_dask.compute.local_workers import end_workers, first_cause, kept

    spec = _spec(compute, scratch, security, environments)
    settings = {
        _SPAWNED_WITH: {**dask.config.get(_SPAWNED_WITH), **_MALLOC},
        _LOST_AFTER: "1 d",
    }
    # All the while, since lost workers are replaced.
    with dask.config.set(settings), without_script():
        try:
            cluster = SpecCluster(**spec)
        except Exception as error:  # anything that a start of processes can come to
            raise ClusterError(
                f"'compute: local' can't be started: {first_cause(error)}"
            ) from error
        try:
            client = Client(cluster, set_as_default=False)
            try:
                guard_dashboards(client)
                with kept(cluster, lost, cannot_start):
                    yield client
            finally:
                client.close(timeout=_CLOSING_S)
        finally:
            end_workers(cluster, _CLOSING_S)


def _spec(
    compute: LocalCompute,
    scratch: Path,
    security: Security,
    environments: Sequence[Environment],
) -> dict[str, Any]:
    """Return what Dask is to start: a scheduler here, and the home pool's workers."""
    from distributed import Scheduler
    from distributed.system import MEMORY_LIMIT

    from ziggy_dask.compute.dashboard_access import GuardedWorker, guarded
    from ziggy_dask.compute.local_workers import STARTING_S, LocalNanny

    workers = compute.workers or os.cpu_count() or 1
    memory = compute.memory_bytes or int(MEMORY_LIMIT / workers)
    resources = {MEMORY: float(memory)}
    scheduler: type[Scheduler] = Scheduler
    if environments:
        from ziggy_dask.compute.placing import PlacingScheduler

        scheduler = PlacingScheduler
        resources[_HOME] = 1.0
    bound = {
        "protocol": "tls://",
        "security": security,
        "host": None if compute.interface else _host(compute, environments),
        "interface": compute.interface or None,
    }
    dashboard = {
        "dashboard": True,
        "dashboard_address": compute.dashboard or "127.0.0.1:0",
    }
    nanny = {
        "cls": LocalNanny,
        "options": {
            **bound,
            "worker_class": GuardedWorker,
            "nthreads": compute.threads,
            "memory_limit": memory,
            "resources": resources,
            "local_directory": str(scratch),
            "preload": [STEADY, worker_log.__name__],
            "env": {worker_log.VARIABLE: str(scratch.parent / "logs" / "workers")},
            "death_timeout": STARTING_S,
            "silence_logs": logging.CRITICAL,
        },
    }
    return {
        "scheduler": {
            "cls": guarded(scheduler),
            "options": {**bound, "port": 0, **dashboard},
        },
        "workers": dict.fromkeys(range(workers), nanny),
        "worker": nanny,
        "security": security,
        "silence_logs": logging.CRITICAL,
    }


def _host(compute: LocalCompute, environments: Sequence[Environment]) -> str:
    """Return the address to bind: loopback, unless jobs on other machines must reach it."""
    if compute.host or not environments:
        return compute.host or "127.0.0.1"
    return _host_for(environments[0])


def _host_for(environment: Environment) -> str:
    """Return this machine's address as jobs of an environment see it."""
    from distributed.utils import get_ip_interface

    if environment.interface:
        return str(get_ip_interface(environment.interface))
    return socket.gethostbyname(environment.scheduler_host or socket.gethostname())


def address_for(environment: Environment, compute: Compute, address: str) -> str:
    """Return the address by which jobs of an environment reach the scheduler.

    Parameters
    ----------
    environment
        The environment.
    compute
        Says where the scheduler listens: at one address, or at all of this machine.
    address
        The address that the scheduler itself gives.
    """
    if not isinstance(compute, LocalCompute) or compute.host not in EVERYWHERE:
        return address
    protocol, _, place = address.rpartition("//")
    return f"{protocol}//{_host_for(environment)}:{place.rpartition(':')[2]}"
