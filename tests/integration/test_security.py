"""Who may talk to scheduler and workers: this run's processes, and nobody else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Client, Security
from tornado.httpserver import HTTPServer
from tornado.web import Application

from tests.integration.strangers import AS_NOBODY, EARLY, browse
from ziggy_dask.compute import dashboard_access, open_client
from ziggy_dask.compute.dashboard_access import guard
from ziggy_dask.compute.security import certificates
from ziggy_dask.definitions import LocalCompute
from ziggy_dask.interface.cluster import create_cluster

pytestmark = pytest.mark.integration

TALK = """
import sys
from distributed import Client, Security

wait, address, *files = sys.argv[1:]
options = {}
if files:
    names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    options = {"security": Security(require_encryption=True, **dict(zip(names, files)))}
try:
    with Client(address, timeout=float(wait), set_as_default=False, **options) as client:
        print("talked:", client.submit(sum, [1, 2]).result(timeout=60))
except Exception as error:
    print("refused:", type(error).__name__, error)
"""
"""A program that tries to have a scheduler do something."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def client(place):
    with open_client(LocalCompute(workers=1), place / "scratch") as client:
        yield client


def addresses(client: Client) -> list[str]:
    info = client.scheduler_info(n_workers=-1)
    nannies = [one["nanny"] for one in info["workers"].values()]
    return [info["address"], *info["workers"], *nannies]


def dashboards(client: Client) -> list[str]:
    info = client.scheduler_info(n_workers=-1)
    servers = [info, *info["workers"].values()]
    ports = [one["services"]["dashboard"] for one in servers]
    return [f"http://127.0.0.1:{port}/health" for port in ports]


def talk(*arguments: str, may: bool = False, command: tuple[str, ...] = ()) -> str:
    wait = "60" if may else "1"
    program = [*command, sys.executable, "-c", TALK, wait, *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False).stdout


def files_of(security: Security) -> list[str]:
    return [security.tls_ca_file, security.tls_client_cert, security.tls_client_key]


def test_everything_listens_on_loopback_and_encrypts(client):
    for address in addresses(client):
        assert address.startswith("tls://127.0.0.1:")


def test_with_the_certificate_of_the_run_one_can_talk(client):
    scheduler = addresses(client)[0]
    assert talk(scheduler, *files_of(client.security), may=True) == "talked: 3\n"


def test_without_a_certificate_nothing_connects(client):
    for address in addresses(client):
        for scheme in ("tcp", "tls"):
            assert talk(address.replace("tls", scheme)).startswith("refused:")


def test_a_certificate_of_another_run_is_refused(client, tmp_path):
    with certificates(tmp_path / "other") as security:
        for address in addresses(client):
            assert talk(address, *files_of(security)).startswith("refused:")


def test_another_user_is_refused_and_cannot_read_the_key(client):
    assert os.geteuid() == 0, "only root can try to be somebody else"
    key = client.security.tls_client_key
    looked = subprocess.run(
        [*AS_NOBODY, "cat", key], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in looked.stderr
    for address in addresses(client):
        said = _talk_as(AS_NOBODY, address, *files_of(client.security))
        assert said.startswith("refused: PermissionError")
        for scheme in ("tcp", "tls"):
            said = _talk_as(AS_NOBODY, address.replace("tls", scheme))
            assert said.startswith("refused:")


def test_another_user_is_refused_where_this_one_sees_the_dashboards(client):
    for address in dashboards(client):
        assert browse(address) == "answered: 200\n"
        assert browse(address, AS_NOBODY).startswith("refused:")


def test_another_user_is_refused_where_this_one_sees_the_page(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\n")
    create_cluster(file)
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", file, "console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as console:
        try:
            address = console.stdout.readline().strip()
            assert browse(address) == "answered: 200\n"
            assert browse(address, AS_NOBODY).startswith("refused:")
            port = urlsplit(address).port
            # Through a tunnel it has another port, by which Bokeh does not know it.
            check_asked(port, "/ziggy", "/ziggy/ws")
        finally:
            console.terminate()


ASKED = {
    "rebound": ({"Host": "mallory.example:PORT"}, 403),
    "rebound with its own origin": (
        {
            "Host": "mallory.example:PORT",
            "Origin": "http://mallory.example:PORT",
        },
        403,
    ),
    "looks like this machine": ({"Host": "localhost.mallory.example:PORT"}, 403),
    "user part": ({"Host": "127.0.0.1@mallory.example:PORT"}, 403),
    "no host": ({"Host": ""}, 403),
    "other page": ({"Host": "127.0.0.1:PORT", "Origin": "http://mallory.example"}, 403),
    "other port": ({"Host": "localhost:PORT", "Origin": "http://localhost:1"}, 403),
    "sandboxed page": ({"Host": "localhost:PORT", "Origin": "null"}, 403),
    "own page": ({"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}, 200),
    "typed": ({"Host": "127.0.0.1:PORT"}, 200),
    "tunnel": ({"Host": "localhost:9", "Origin": "http://localhost:9"}, 200),
}
"""Requests by what is special about them: headers, and the status that they get."""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def status_of(port: int, path: str, headers: dict[str, str]) -> int:
    """Return with which status a server answers a request with exactly these headers."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.replace("PORT", str(port)))
        connection.endheaders()
        return connection.getresponse().status


def check_asked(port: int, path: str, socket: str) -> None:
    """Check what is refused at a page and its websocket, and what is not."""
    for name, (headers, status) in ASKED.items():
        assert status_of(port, path, headers) == status, (port, name)
        upgraded = status_of(port, socket, headers | UPGRADE) == 403
        assert upgraded == (status == 403), (port, name)


def test_dashboards_answer_no_page_of_others(client):
    scheduler, *workers = (int(one.split(":")[2][:-7]) for one in dashboards(client))
    check_asked(scheduler, "/status", "/status/ws")
    check_asked(scheduler, "/individual-plots.json", "/eventstream")
    for worker in workers:
        check_asked(worker, "/health", "/system/ws")


def test_who_connects_before_the_guard_is_hung_up_on():
    async def look() -> tuple[bytes, bytes]:
        server = HTTPServer(Application())
        server.listen(0, "127.0.0.1")
        (one,) = server._sockets.values()
        port = one.getsockname()[1]
        command = [*AS_NOBODY, sys.executable, "-c", EARLY, str(port)]
        early = await asyncio.create_subprocess_exec(*command, stdout=-1)
        ours, out = await asyncio.open_connection("127.0.0.1", port)
        await early.stdout.readline()
        while len(server._connections) < 2:
            await asyncio.sleep(0)
        guard(server)
        said = await early.stdout.read()
        out.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return said, await ours.readline()

    stranger, own = asyncio.run(look())
    assert stranger == b"hung up on\n"
    assert own.startswith(b"HTTP/1.1 404")


def test_servers_are_guarded_before_anybody_connects(client):
    def is_guarded(dask_worker=None, dask_scheduler=None) -> bool:
        server = (dask_worker or dask_scheduler).http_server
        return isinstance(server.request_callback, dashboard_access._Asked)

    assert type(client.cluster.scheduler).__name__ == "Guarded"
    assert client.run_on_scheduler(is_guarded)
    assert all(client.run(is_guarded).values())
    kinds = client.run(lambda dask_worker: type(dask_worker).__name__)
    assert set(kinds.values()) == {"GuardedWorker"}


def test_nothing_else_listens(client):
    known = {int(one.rpartition(":")[2]) for one in addresses(client)}
    known |= {int(one.split(":")[2].partition("/")[0]) for one in dashboards(client)}
    found = client.run(_listening)
    assert [host for each in found.values() for host, _ in each] == ["127.0.0.1"] * 2
    assert {port for each in found.values() for _, port in each} <= known


def _listening() -> list[tuple[str, int]]:
    """Return where this process listens."""
    connections = psutil.Process().net_connections(kind="inet")
    return [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]


def _talk_as(user: tuple[str, ...], *arguments: str) -> str:
    said = talk(*arguments, command=user)
    assert said, "the other user could not run the program at all"
    return said


def test_workers_ask_for_huge_pages(tmp_path):
    with open_client(LocalCompute(workers=1), tmp_path) as client:
        (found,) = client.run(lambda: os.environ.get("GLIBC_TUNABLES")).values()
    assert found == "glibc.malloc.hugetlb=1"
