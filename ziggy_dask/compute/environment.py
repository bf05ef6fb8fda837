"""Compute environments: a Dask client for the cluster file's ``compute``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.compute.hosted import open_hosted
from ziggy_dask.compute.security import certificates
from ziggy_dask.definitions import AddressCompute, Compute, LocalCompute
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Security

MEMORY = "memory"
"""Name of the Dask resource, in bytes, by which workers say how much they have."""
_SPAWNED_WITH = "distributed.nanny.pre-spawn-environ"
"""Dask's setting for the environment in which workers start."""
_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Has glibc ask for huge pages, as NumPy does: a large chunk is copied several times
between file and array, and small pages, each faulted in, would cost more than that."""


def memory_of_workers(client: Client) -> list[float]:
    """Return the memory that each worker says it has, in bytes.

    Returns
    -------
    list
        Empty if any does not say: then nobody can rely on it.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    given = [one["resources"].get(MEMORY, 0.0) for one in workers]
    return given if all(given) else []


@contextmanager
def open_client(compute: Compute, scratch: Path) -> Iterator[Client]:
    """Start or reach a compute environment; what was started ends with the block.

    Parameters
    ----------
    compute
        From the cluster file.
    scratch
        Directory for files of workers, and for the certificates of this run.

    Raises
    ------
    ClusterError
        If it can't be started or reached.
    """
    if not isinstance(compute, AddressCompute | LocalCompute):
        with open_hosted(compute) as client:
            yield client
        return
    if isinstance(compute, AddressCompute):
        with _reached(compute) as client:
            yield client
        return
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"{scratch}: the workers' directory can't be made: {error.strerror}"
        ) from error
    with (
        certificates(scratch / "certificates") as security,
        _started(compute, scratch, security) as client,
    ):
        yield client


@contextmanager
def _reached(compute: AddressCompute) -> Iterator[Client]:
    from distributed import Client, Security

    options = {}
    if files := compute.security:
        options["security"] = Security(
            require_encryption=True,
            tls_ca_file=str(files.ca_file),
            tls_client_cert=str(files.certificate),
            tls_client_key=str(files.key),
        )
    try:
        client = Client(compute.address, timeout="30s", set_as_default=False, **options)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {compute.address!r} ({error}); start one, or "
            "mend 'compute: address' in the cluster file"
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _started(
    compute: LocalCompute, scratch: Path, security: Security
) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    workers = compute.workers or os.cpu_count() or 1
    memory = compute.memory_bytes or int(MEMORY_LIMIT / workers)
    with dask.config.set(
        {_SPAWNED_WITH: {**dask.config.get(_SPAWNED_WITH), **_MALLOC}}
    ):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=compute.threads,
            memory_limit=memory,
            resources={MEMORY: memory},
            host="127.0.0.1",
            security=security,
            dashboard_address="127.0.0.1:0",
            local_directory=str(scratch),
            silence_logs=logging.CRITICAL,
        )
    try:
        client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            client.close()
    finally:
        cluster.close()
