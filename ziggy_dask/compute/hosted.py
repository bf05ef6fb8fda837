"""Compute environments that others host: each has a class with the interface of Dask's clusters.

What stands in the cluster file becomes the arguments of that class. It is started, scaled
to its workers, and ended with all it started.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ziggy_dask.compute.ssh import secured
from ziggy_dask.definitions import (
    AddressCompute,
    ClassCompute,
    CloudCompute,
    GatewayCompute,
    KubernetesCompute,
    SshCompute,
)
from ziggy_dask.definitions.compute import Options, Provider, Secret, kind_of
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

PATIENCE_S = 3600.0
"""So long a compute environment is given until its first worker comes, in seconds."""
_ANSWER_S = 10.0
"""Time limit of a first answer of a gateway, in seconds."""
_LOOK_S = 1.0
"""Time between two looks for it, in seconds."""

Hosted = SshCompute | KubernetesCompute | GatewayCompute | CloudCompute | ClassCompute

_CLOUDS = {
    Provider.EC2: ("aws:EC2Cluster", "aws"),
    Provider.FARGATE: ("aws:FargateCluster", "aws"),
    Provider.ECS: ("aws:ECSCluster", "aws"),
    Provider.AZURE: ("azure:AzureVMCluster", "azure"),
    Provider.GCP: ("gcp:GCPCluster", "gcp"),
    Provider.DIGITALOCEAN: ("digitalocean:DropletCluster", "digitalocean"),
    Provider.HETZNER: ("hetzner:HetznerCluster", "hetzner"),
    Provider.IBM: ("ibm:IBMCodeEngineCluster", "ibm"),
    Provider.OPENSTACK: ("openstack:OpenStackCluster", "openstack"),
}
"""Classes of dask-cloudprovider, and the extra of it that each needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is called to start a compute environment."""

    target: str
    """Class, as ``module:Class``."""
    package: str
    """What to install for it, as pip wants it; empty: nobody knows."""
    arguments: dict[str, Any]
    """Keyword arguments, with secrets filled in: never to be shown."""
    workers: int
    """So many workers it is scaled to; 0: it starts with all of them."""


def _read(secret: Secret) -> str:
    try:
        if secret.from_environment:
            return os.environ[secret.from_environment]
        return Path(secret.from_file).read_text(encoding="utf-8").rstrip("\n")
    except KeyError as error:
        raise ClusterError(
            f"the environment variable {secret.from_environment!r} is not set, which "
            "'compute' in the cluster file names"
        ) from error
    except OSError as error:
        raise ClusterError(f"{secret.from_file}: can't be read: {error}") from error


def call_of(compute: Hosted, read: Callable[[Secret], str] = _read) -> Call:
    """Return what has to be called for a compute environment.

    Parameters
    ----------
    compute
        From the cluster file.
    read
        Gives the text of a secret.

    Raises
    ------
    ClusterError
        If a secret is not where it should be.
    """
    if isinstance(compute, SshCompute):
        return _ssh(compute, read)
    if isinstance(compute, KubernetesCompute):
        return _kubernetes(compute, read)
    if isinstance(compute, GatewayCompute):
        options = {"address": compute.address, "shutdown_on_close": True}
        if compute.cluster_options.names:
            options["cluster_options"] = _filled(compute.cluster_options, read)
        return Call(
            target="dask_gateway:GatewayCluster",
            package="dask-gateway",
            arguments=options | _filled(compute.options, read),
            workers=compute.workers,
        )
    if isinstance(compute, CloudCompute):
        target, extra = _CLOUDS[compute.provider]
        return Call(
            target=f"dask_cloudprovider.{target}",
            package=f"dask-cloudprovider[{extra}]",
            arguments=_filled(compute.options, read),
            workers=compute.workers,
        )
    return Call(
        target=compute.name,
        package="",
        arguments=_filled(compute.options, read),
        workers=compute.workers,
    )


def check_call(compute: Hosted) -> str:
    """Return what is wrong with a compute environment, as far as can be told offline.

    Empty if nothing is: its class is there, and takes the arguments. Secrets may not be.
    """
    try:
        call = call_of(compute, lambda secret: "")
        loaded = _loaded(call)
        inspect.signature(loaded).bind(**call.arguments)
    except ClusterError as error:
        return str(error)
    except TypeError as error:
        return f"'compute: {kind_of(compute)}': {call.target}: {error}"
    if isinstance(compute, CloudCompute | KubernetesCompute):
        known = _parameters(loaded)
        for name in sorted(call.arguments.keys() - known):
            return (
                f"'compute: {kind_of(compute)}': {call.target} has no option {name!r}"
                + suggestion(name, known)
            )
    return ""


def unwatched(waited_s: float) -> None:
    """Wait on."""


@contextmanager
def open_hosted(
    compute: Hosted, scratch: Path, waiting: Callable[[float], None] = unwatched
) -> Iterator[Client]:
    """Start a compute environment and reach it; it ends with the block.

    Parameters
    ----------
    compute
        From the cluster file.
    scratch
        Directory for the certificates of this run.
    waiting
        Is called each second with the time, in seconds, for which the first worker has
        been waited for. What it raises ends that.

    Raises
    ------
    ClusterError
        If it can't be started, or no worker comes.
    """
    if fault := check_call(compute):
        raise ClusterError(fault)
    call = call_of(compute)
    if isinstance(compute, GatewayCompute):
        _require_answer(compute.address)
    if isinstance(compute, SshCompute):
        from ziggy_dask.compute.dashboard_access import guard_dashboards

        with (
            secured(call.arguments, scratch / "certificates") as arguments,
            _started(compute, replace(call, arguments=arguments), waiting) as client,
        ):
            guard_dashboards(client)
            yield client
    else:
        with _started(compute, call, waiting) as client:
            yield client


def _require_answer(address: str) -> None:
    """Require that a web server answers anything at all; dask-gateway waits for minutes.

    What else may be wrong there dask-gateway says by itself.
    """
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname:
        return
    is_secured = place.scheme == "https"
    kind = HTTPSConnection if is_secured else HTTPConnection
    try:
        connection = kind(place.hostname, place.port, timeout=_ANSWER_S)
        with closing(connection):
            connection.request("GET", f"{place.path.rstrip('/')}/api/health")
            connection.getresponse()
    except TimeoutError as error:
        raise ClusterError(
            f"'compute: gateway': nothing answers at {address!r} in {_ANSWER_S:.0f} s; see "
            "whether the gateway runs, or fix 'address' in the cluster file"
        ) from error
    except (OSError, HTTPException, ValueError):
        return


@contextmanager
def _started(
    compute: Hosted, call: Call, waiting: Callable[[float], None]
) -> Iterator[Client]:
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    loaded: Any = _loaded(call)
    before = set(getattr(loaded, "_instances", ()))
    try:
        with silence_logging_cmgr(logging.CRITICAL):
            cluster = loaded(**call.arguments)
    # What somebody else's class raises when its service refuses is not known here.
    except Exception as error:
        _end_half_started(set(getattr(loaded, "_instances", ())) - before)
        raise ClusterError(
            f"'compute: {kind_of(compute)}' can't be started: "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        if call.workers:
            cluster.scale(call.workers)
        client = Client(cluster, set_as_default=False)
        try:
            await_worker(compute, client, waiting)
            yield client
        finally:
            client.close()
    finally:
        cluster.close()


def _end_half_started(instances: Iterable[Any]) -> None:
    """End what was started before something went wrong, and is known to its class alone.

    Those of Kubernetes would be ended when Python ends, with a traceback if that fails.
    """
    for one in instances:
        with suppress(Exception):
            one.close(timeout=10)
        one.shutdown_on_close = False


def await_worker(
    compute: Hosted | AddressCompute, client: Client, waiting: Callable[[float], None]
) -> None:
    """Wait until a compute environment has a worker.

    Raises
    ------
    ClusterError
        If none comes in an hour.
    """
    began = time.monotonic()
    while True:
        try:
            client.wait_for_workers(1, timeout=_LOOK_S)
        except TimeoutError:
            waited_s = time.monotonic() - began
            if waited_s > PATIENCE_S:
                raise ClusterError(
                    f"'compute: {kind_of(compute)}' has started, but no worker came in "
                    f"{PATIENCE_S:.0f} s; see there what became of them, e.g. whether "
                    "their image can be had and their quota allows them"
                ) from None
            waiting(waited_s)
        else:
            return


def _ssh(compute: SshCompute, read: Callable[[Secret], str]) -> Call:
    options = _filled(compute.options, read)
    worker: dict[str, Any] = {"nthreads": compute.threads, "n_workers": compute.workers}
    if compute.memory_bytes:
        worker["memory_limit"] = compute.memory_bytes
        worker["resources"] = {"memory": compute.memory_bytes}
    worker |= options.pop("worker_options", {})
    first, *_ = compute.hosts
    return Call(
        target="distributed:SSHCluster",
        package="asyncssh",
        arguments={
            "hosts": [first, *compute.hosts],  # the first is the scheduler's
            "worker_options": worker,
            **options,
        },
        workers=0,
    )


def _kubernetes(compute: KubernetesCompute, read: Callable[[Secret], str]) -> Call:
    resources = {"cpu": str(compute.worker_cores)}
    if compute.worker_memory_bytes:
        resources["memory"] = str(compute.worker_memory_bytes)
    return Call(
        target="dask_kubernetes.operator:KubeCluster",
        package="dask-kubernetes",
        arguments={
            "namespace": compute.namespace,
            "image": compute.image,
            "n_workers": compute.workers,
            "quiet": True,  # else it draws its progress on the terminal
            "resources": {"requests": resources, "limits": resources},
            **_filled(compute.options, read),
        },
        workers=0,
    )


def _loaded(call: Call) -> Callable[..., Any]:
    """Return the class of a call."""
    module, _, name = call.target.partition(":")
    advice = f"; install it with: pip install '{call.package}'" if call.package else ""
    try:
        if call.package == "asyncssh":
            importlib.import_module("asyncssh")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise ClusterError(
            f"{call.target} can't be imported: {reason}{advice}"
        ) from error
    except AttributeError as error:
        raise ClusterError(f"module {module!r} has no {name!r}{advice}") from error
    return loaded


def _parameters(loaded: Any) -> set[str]:
    """Return the arguments of a class that hands on what it does not know to its bases."""
    makers = [
        vars(one)["__init__"] for one in loaded.__mro__ if "__init__" in vars(one)
    ]
    return {
        one.name
        for maker in makers
        for one in inspect.signature(maker).parameters.values()
        if one.kind is one.POSITIONAL_OR_KEYWORD or one.kind is one.KEYWORD_ONLY
    } - {"self"}


def _filled(options: Options, read: Callable[[Secret], str]) -> dict[str, Any]:
    """Return options as arguments, with secrets filled in."""
    return {name: _value(value, read) for name, value in options.items}


def _value(value: object, read: Callable[[Secret], str]) -> Any:
    if isinstance(value, Options):
        return _filled(value, read)
    if isinstance(value, tuple):
        return [_value(one, read) for one in value]
    return read(value) if isinstance(value, Secret) else value
