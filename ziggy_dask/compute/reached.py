"""Reaching a Dask scheduler that runs already: one message for each way in which that fails."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ziggy_dask.definitions import AddressCompute
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Security

CONNECT_S = 10
"""Time limit of a connection, in seconds."""
_ANSWER_S = 10
"""Time limit of an answer of a scheduler or worker, in seconds."""
_GREETING = 8
"""Bytes with which Dask begins: the length of its greeting, the lowest byte first."""
_ELSEWHERE = (
    "fix 'compute: address' in the cluster file: it may be the port of a dashboard"
)
_MOST = 2**20
"""More bytes than such a greeting has."""


@contextmanager
def reached(
    compute: AddressCompute,
    waiting: Callable[[float], None],
    lost: Callable[[str], None],
) -> Iterator[Client]:
    """Reach a scheduler, and see that its workers can do what they will be asked.

    Parameters
    ----------
    compute
        From the cluster file.
    waiting
        Is told how long the first worker has been waited for, in seconds.
    lost
        Is told of workers that do not answer, while others do.

    Raises
    ------
    ClusterError
        If it can't be reached, or it and its workers don't fit.
    """
    from distributed.utils import silence_logging_cmgr

    from ziggy_dask.compute.hosted import await_worker

    # That it is lost is said once, by who notices; not by each attempt to reach it again.
    with silence_logging_cmgr(logging.CRITICAL):
        client = _connected(compute)
        try:
            await_worker(compute, client, waiting)
            _require_fitting(compute, client, lost)
            yield client
        finally:
            client.close()


def _connected(compute: AddressCompute) -> Client:
    from distributed import Client, Security

    security = _security(compute) if compute.security else Security()
    is_secured = security.get_connection_args("client").get("ssl_context") is not None
    if compute.address.startswith("tls://") and not is_secured:
        raise ClusterError(
            f"the scheduler at {compute.address!r} wants certificates; give 'security: "
            "{ca_file, certificate, key}' beside 'address' in the cluster file"
        )
    _require_dask(compute.address, security)
    try:
        return Client(
            compute.address,
            timeout=f"{CONNECT_S}s",
            set_as_default=False,
            security=security,
        )
    # What is raised depends on the protocol, on certificates and on Dask's settings.
    except Exception as error:
        reason = _root(error)
        raise ClusterError(
            f"no Dask scheduler answers at {compute.address!r} ({reason}); "
            f"{_advice(reason, compute.address)}"
        ) from error


def _require_dask(address: str, security: Security) -> None:
    """Require that what listens at an address greets as Dask does.

    Dask waits for the greeting without an end, as on the port of a dashboard. That nobody
    listens is left to be found by who connects: a scheduler may just be starting.
    """
    from distributed.comm.addressing import parse_host_port

    protocol, _, place = address.partition("://")
    if protocol not in ("tcp", "tls"):
        return
    context = security.get_connection_args("client").get("ssl_context")
    try:
        stream = socket.create_connection(parse_host_port(place), CONNECT_S)
    except (OSError, ValueError):
        return
    try:
        with stream:
            greeting = _greeting(stream, context if protocol == "tls" else None)
    except TimeoutError:
        advice = _ELSEWHERE if protocol == "tls" else _advice("closed", address)
        words = f"says nothing in {CONNECT_S} s; {advice}"
    except OSError as error:
        reason = _root(error)
        words = f"ends the connection ({reason}); {_advice(reason, address)}"
    else:
        if 0 < int.from_bytes(greeting, "little") < _MOST:
            return
        words = f"says {greeting!r}; {_ELSEWHERE}"
        if not greeting:
            words = f"hangs up; {_advice('closed', address)}"
    raise ClusterError(
        f"no Dask scheduler answers at {address!r}: what listens there {words}"
    )


def _greeting(stream: socket.socket, context: ssl.SSLContext | None) -> bytes:
    """Return the first bytes that the other side says by itself."""
    if context is not None:
        stream = context.wrap_socket(stream)
    with stream:
        said = b""
        while len(said) < _GREETING and (more := stream.recv(_GREETING - len(said))):
            said += more
    return said


def _security(compute: AddressCompute) -> Security:
    from distributed import Security

    files = compute.security
    assert files is not None
    if not compute.address.startswith("tls://"):
        raise ClusterError(
            f"'compute: address' is {compute.address!r}, but 'security' is for 'tls://'; "
            "write 'tls://' there, or remove 'security'"
        )
    for file in (files.ca_file, files.certificate, files.key):
        if not os.access(file, os.R_OK):
            raise ClusterError(
                f"{file}: can't be read; fix 'compute: security' in the cluster file"
            )
    security = Security(
        require_encryption=True,
        tls_ca_file=str(files.ca_file),
        tls_client_cert=str(files.certificate),
        tls_client_key=str(files.key),
    )
    try:
        security.get_connection_args("client")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ClusterError(
            f"'compute: security': {files.certificate} and {files.key} are not a "
            f"certificate and its key, or {files.ca_file} is not a certificate: {error}"
        ) from error
    return security


def _root(error: BaseException) -> str:
    """Return what is below an error, as one line."""
    below = error
    while (next_ := below.__cause__ or below.__context__) is not None:
        below = next_
    words = " ".join(str(below).split()) or type(below).__name__
    if isinstance(below, TimeoutError) or "cancel" in words.lower():
        words = " ".join(str(error).split())
    return words[:300]


def _advice(reason: str, address: str) -> str:
    """Return what to do about a connection that failed."""
    words = reason.lower()
    is_secured = address.startswith("tls://")
    if "wrong_version_number" in words or "record layer" in words:
        return (
            "what listens there does not speak TLS: write 'tcp://' if it is a scheduler "
            "without certificates, else fix 'compute: address'"
        )
    if "certificate" in words or "ssl" in words:
        return "the certificates of 'compute: security' are not those of this scheduler"
    if "closed" in words or "reset" in words or "broken pipe" in words:
        if is_secured:
            return (
                "it does not take the certificate of 'compute: security', or it is not "
                "a Dask scheduler"
            )
        return (
            "it wants 'tls://' and 'security: {ca_file, certificate, key}', or it is not a "
            "Dask scheduler, but e.g. its dashboard"
        )
    return "start one, or fix 'compute: address' in the cluster file"


def _require_fitting(
    compute: AddressCompute, client: Client, lost: Callable[[str], None]
) -> None:
    """Require the same Python and Dask there, and this package; tell who does not answer."""
    from distributed.versions import get_versions

    address = compute.address
    here = _main_versions(get_versions())
    scheduler, workers = client.sync(_told, client)
    silent = [name for name, said in workers.items() if said is None]
    if scheduler is None or (silent and len(silent) == len(workers)):
        who = "the scheduler" if scheduler is None else _workers(silent)
        raise ClusterError(
            f"{who} at {address!r} did not answer in {_ANSWER_S} s; see whether it runs, "
            "or is stopped or overloaded"
        )
    if silent:
        lost(f"{_workers(silent)} at {address!r} did not answer in {_ANSWER_S} s")
    for place, (found, own) in (
        ("the scheduler", (scheduler, _own_version())),
        *((f"worker {name}", said) for name, said in workers.items() if said),
    ):
        there = _main_versions(found)
        differing = [
            f"{name} {there.get(name, 'unknown')} instead of {version}"
            for name, version in here.items()
            if there.get(name) != version
        ]
        if differing:
            raise ClusterError(
                f"{place} at {address!r} has {', '.join(differing)}; the supervisor, the "
                "scheduler and its workers need the same"
            )
        if own != _own_version():
            raise ClusterError(
                f"{place} at {address!r} has no ziggy-dask {_own_version()} ({own}); "
                "install it where the workers run"
            )


async def _told(
    client: Client,
) -> tuple[dict[str, Any] | None, dict[str, tuple[dict[str, Any], object] | None]]:
    """Return what a scheduler and each worker tell of their versions; None: nothing."""
    remote: Any = client.scheduler

    async def worker(address: str) -> tuple[dict[str, Any], object]:
        asked = {"msg": {"op": "versions", "packages": []}, "workers": [address]}
        found = await remote.broadcast(**asked)
        said = await client._run(_own_version, workers=[address], on_error="return")
        return found[address], said[address]

    async def in_time(asked: Awaitable[Any]) -> Any:
        try:
            return await asyncio.wait_for(asked, _ANSWER_S)
        except (TimeoutError, OSError, KeyError):
            return None

    scheduler = await in_time(remote.versions(packages=[]))
    names = list(client.scheduler_info(n_workers=-1)["workers"])
    said = await asyncio.gather(*(in_time(worker(name)) for name in names))
    return scheduler, dict(zip(names, said, strict=True))


def _workers(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return (
        f"worker {shown}" if len(names) == 1 else f"{len(names)} workers ({shown}, ...)"
    )


def _main_versions(found: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the versions that must agree: what is pickled differs between others."""
    if not found:
        return {}
    python = ".".join(str(found["host"].get("python", "")).split(".")[:2])
    packages = found.get("packages", {})
    named = {name: str(packages.get(name)) for name in ("dask", "distributed")}
    return {"Python": python, **named}


def _own_version() -> str:
    from importlib.metadata import version

    import ziggy_dask.workers  # noqa: F401 -- what workers need must be importable

    return version("ziggy-dask")
