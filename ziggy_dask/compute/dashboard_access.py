"""Guard: dashboards answer processes of the same user, and no others of this machine.

Connections between scheduler, workers and clients need a certificate; a browser has none.
Its connection comes from this machine, where the kernel knows whose it is.

The browser of the right user may have been led here by a page of somebody else. So what it
asks for must be named by an address or by a name of this machine, never by a name that a
stranger can point here, and a page that asks must come from this very server.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dask.config
from distributed import Scheduler, SchedulerPlugin, Worker, WorkerPlugin
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)

if TYPE_CHECKING:
    from distributed import Client
    from tornado.httpserver import HTTPServer
    from tornado.iostream import IOStream

_TABLES = {
    socket.AF_INET: Path("/proc/net/tcp"),
    socket.AF_INET6: Path("/proc/net/tcp6"),
}
"""Where the kernel tells of connections: proc_net_tcp.txt of its documentation."""
_ESTABLISHED = "01"
_ALLOWED = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
"""Setting of Dask: by which other names dashboards are asked for, e.g. through a proxy."""


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


def guarded(kind: type[Scheduler]) -> type[Scheduler]:
    """Return a kind of scheduler that guards its dashboard before anybody connects."""

    class Guarded(kind):  # type: ignore[valid-type, misc]
        def start_http_server(self, *arguments: Any, **options: Any) -> None:
            super().start_http_server(*arguments, **options)
            guard(self.http_server)

    return Guarded


class GuardedWorker(Worker):
    """A worker that guards what it serves to browsers before anybody connects."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Begin to listen; nothing is accepted before this returns."""
        super().start_http_server(*arguments, **options)
        guard(self.http_server)


def guard(server: HTTPServer) -> None:
    """Have a server close what other users connect, and refuse what other pages ask for.

    Who comes from another machine could only come because the server was told to listen
    there, and is let in. Connections of others that are there already are closed.
    """
    if isinstance(server.request_callback, _Asked):
        return
    accept = server.handle_stream

    def handle(stream: IOStream, address: tuple[Any, ...]) -> Any:
        if is_welcome(stream.socket):
            return accept(stream, address)
        stream.close()
        return None

    server.handle_stream = handle  # type: ignore[method-assign]  # of this one only
    server.request_callback = _Asked(server.request_callback)
    for connection in list(server._connections):
        early = connection.stream
        if not early.closed() and not is_welcome(early.socket):
            early.close()


class _Asked(HTTPServerConnectionDelegate):
    """Hands on what may be asked for."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __getattr__(self, name: str) -> Any:
        return getattr(self._application, name)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Return what takes the request once its headers are known."""
        inner = self._application.start_request(server_conn, request_conn)
        return _Request(inner, request_conn)


class _Request(HTTPMessageDelegate):
    """One request; its body goes nowhere if it is refused."""

    def __init__(self, inner: HTTPMessageDelegate, connection: HTTPConnection) -> None:
        self._inner: HTTPMessageDelegate | None = inner
        self._connection = connection

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Any:
        fault = refusal(headers.get_list("Host"), headers.get_list("Origin"))
        if not fault and self._inner is not None:
            return self._inner.headers_received(start_line, headers)
        self._inner = None
        text = fault.encode()
        answer = {"Content-Type": "text/plain", "Content-Length": str(len(text))}
        line = ResponseStartLine("HTTP/1.1", 403, "Forbidden")
        self._connection.write_headers(
            line, HTTPHeaders({**answer, "Connection": "close"}), text
        )
        self._connection.finish()
        return None

    def data_received(self, chunk: bytes) -> Any:
        return self._inner.data_received(chunk) if self._inner else None

    def finish(self) -> None:
        if self._inner:
            self._inner.finish()

    def on_connection_close(self) -> None:
        if self._inner:
            self._inner.on_connection_close()


def refusal(hosts: Sequence[str], origins: Sequence[str]) -> str:
    r"""Return why a request is refused; empty if it is not.

    Parameters
    ----------
    hosts
        What the request calls this server: RFC 9110, section 7.2.
    origins
        Which page asks: RFC 6454, section 7; none if it was typed.

    Examples
    --------
    >>> refusal(["localhost:8787"], ["http://localhost:8787"])
    ''
    >>> refusal(["mallory.example:8787"], [])
    "403: 'mallory.example:8787' is not a name of this machine\n"
    """
    if len(hosts) != 1 or len(origins) > 1:
        return "403: a request names one host, and one origin at most\n"
    (host,) = hosts
    if not _is_ours(host):
        return f"403: {host!r} is not a name of this machine\n"
    if origins and origins[0].lower() not in (
        f"{scheme}://{host.lower()}" for scheme in ("http", "https")
    ):
        return f"403: a page of {origins[0]!r} may not ask for this\n"
    return ""


def _is_ours(host: str) -> bool:
    """Tell whether a host is an address, or a name that only this machine gives itself."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    if name in _names():
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@cache
def _names() -> frozenset[str]:
    """Return names of this machine, and those that Dask's dashboards are told of."""
    told = dask.config.get(_ALLOWED, default=None) or []
    names = {urlsplit(f"//{one}").hostname or "" for one in told if "*" not in one}
    ours = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset((names | ours) - {""})


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
