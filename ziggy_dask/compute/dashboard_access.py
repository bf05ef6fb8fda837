"""Guard: dashboards answer processes of the same user, and no others of this machine.

Connections between scheduler, workers and clients need a certificate; a browser has none.
Its connection comes from this machine, where the kernel knows whose it is.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin, WorkerPlugin

if TYPE_CHECKING:
    from distributed import Client, Scheduler, Worker
    from tornado.iostream import IOStream
    from tornado.tcpserver import TCPServer

_TABLES = {
    socket.AF_INET: Path("/proc/net/tcp"),
    socket.AF_INET6: Path("/proc/net/tcp6"),
}
"""Where the kernel tells of connections: proc_net_tcp.txt of its documentation."""
_ESTABLISHED = "01"


class _OnScheduler(SchedulerPlugin):
    name = "ziggy-guard"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        guard(scheduler.http_server)


class _OnWorkers(WorkerPlugin):
    name = "ziggy-guard"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        guard(worker.http_server)


def guard_dashboards(client: Client) -> None:
    """Guard what a scheduler serves to browsers, and its workers, also later ones."""
    client.register_plugin(_OnScheduler())
    client.register_plugin(_OnWorkers())


def guard(server: TCPServer) -> None:
    """Have a server close what other users of this machine connect.

    Who comes from another machine could only come because the server was told to listen
    there, and is let in.
    """
    accept = server.handle_stream

    def handle(stream: IOStream, address: tuple[Any, ...]) -> Any:
        if is_welcome(stream.socket):
            return accept(stream, address)
        stream.close()
        return None

    server.handle_stream = handle  # type: ignore[method-assign]  # of this one only


def is_welcome(connection: socket.socket) -> bool:
    """Tell whether the other end belongs to this user, or is another machine."""
    try:
        host = connection.getpeername()[0]
    except OSError:  # it has gone
        return False
    if not ipaddress.ip_address(host).is_loopback:
        return True
    return peer_user(connection) == os.geteuid()


def peer_user(connection: socket.socket) -> int | None:
    """Return the user id of the other end, on this machine; None: it has gone."""
    here, there = connection.getsockname(), connection.getpeername()
    table = _TABLES[connection.family].read_text(encoding="ascii")
    sought = [_kernel_name(there), _kernel_name(here), _ESTABLISHED]
    for line in table.splitlines():
        fields = line.split()
        if fields[1:4] == sought:
            return int(fields[7])
    return None


def _kernel_name(address: tuple[Any, ...]) -> str:
    """Return an address as it stands in the kernel's table.

    Examples
    --------
    >>> import sys
    >>> _kernel_name(("127.0.0.1", 8786)) if sys.byteorder == "little" else "0100007F:2252"
    '0100007F:2252'
    """
    packed = ipaddress.ip_address(address[0]).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{one:08X}" for one in words) + f":{address[1]:04X}"
