"""Machines that are reached by SSH: the certificate of a run, brought there and taken away."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggy_dask.compute.security import certificates
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

Machines = Mapping[str, Mapping[str, Any]]
"""Options of asyncssh's ``connect``, by host."""

logger = logging.getLogger(__name__)


@contextmanager
def secured(arguments: Mapping[str, Any], home: Path) -> Iterator[dict[str, Any]]:
    """Have all that an ``SSHCluster`` starts use a certificate of this run.

    Parameters
    ----------
    arguments
        Keyword arguments of ``SSHCluster``; those that come back have more.
    home
        Directory for files of the certificate, here.

    Raises
    ------
    ClusterError
        If the certificate can't be brought to a machine.

    Notes
    -----
    Command lines can be read by everybody, so they get paths of files that only their
    owner can read. The files are removed when the block ends.
    """
    hosts = arguments["hosts"]
    options = arguments.get("connect_options") or {}
    each = [options] * len(hosts) if isinstance(options, Mapping) else options
    machines = dict(zip(hosts, each, strict=False))
    directory = f"/tmp/ziggy-{secrets.token_hex(8)}"
    there = {
        "protocol": "tls://",
        "security": _paths(directory),
        "dashboard_address": "127.0.0.1:0",
    }
    with certificates(home) as security:
        missed: dict[str, str] = {}
        try:
            missed = _on_all(machines, _bringing(directory, security))
            for host, fault in missed.items():
                raise ClusterError(f"{host}, {fault}")
            yield {
                **arguments,
                "security": security,
                "scheduler_options": there | arguments.get("scheduler_options", {}),
                "worker_options": there | arguments["worker_options"],
            }
        finally:
            for host, fault in _on_all(machines, _removing(directory)).items():
                if host not in missed:
                    logger.warning("%s is left on %s, %s", directory, host, fault)


def _paths(directory: str) -> dict[str, Any]:
    """Return what Dask's scheduler and workers are told of the certificate's files."""
    files = {"cert": f"{directory}/certificate.pem", "key": f"{directory}/key.pem"}
    return {
        "require_encryption": True,
        "tls_ca_file": files["cert"],
        **{
            f"tls_{role}_{part}": path
            for role in ("client", "scheduler", "worker")
            for part, path in files.items()
        },
    }


Act = Callable[["SSHClientConnection"], Awaitable[None]]


def _bringing(directory: str, security: Any) -> Act:
    names = {"certificate": security.tls_ca_file, "key": security.tls_client_key}
    contents = {name: Path(path).read_bytes() for name, path in names.items()}

    async def bring(connection: SSHClientConnection) -> None:
        # It fails where somebody else has made the directory already.
        await connection.run(f"umask 077 && mkdir {directory}", check=True)
        for name, content in contents.items():
            command = f"umask 077 && cat > {directory}/{name}.pem"
            await connection.run(command, input=content, encoding=None, check=True)

    return bring


def _removing(directory: str) -> Act:
    async def remove(connection: SSHClientConnection) -> None:
        await connection.run(f"rm -rf {directory}")

    return remove


def _on_all(machines: Machines, act: Act) -> dict[str, str]:
    """Do something on every machine, at once; return what went wrong, by machine."""
    import asyncssh

    async def on(host: str, options: Mapping[str, Any]) -> str:
        try:
            async with asyncssh.connect(host, **options) as connection:
                await act(connection)
        except (OSError, asyncssh.Error) as error:
            return f"which SSH does not reach: {error}"
        return ""

    async def everywhere() -> list[str]:
        return await asyncio.gather(*(on(*one) for one in machines.items()))

    faults = zip(machines, asyncio.run(everywhere()), strict=True)
    return {host: fault for host, fault in faults if fault}
