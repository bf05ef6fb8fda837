"""Who may talk to scheduler and workers: this run's processes, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from distributed import Client, Security

from tests.integration.strangers import AS_NOBODY, browse
from ziggy_dask.compute import open_client
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
        finally:
            console.terminate()


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
