"""A dask-gateway server that starts clusters for those who know its password."""

import psutil
import pytest

from tests.integration.sample import check_same, run_sample
from tests.servers import WAIT_S, GatewayServer
from ziggy_dask.compute import open_client
from ziggy_dask.definitions import GatewayCompute
from ziggy_dask.errors import ClusterError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def gateway():
    server = GatewayServer()
    try:
        yield server
    finally:
        server.close()


def test_the_sample_gives_the_same_at_home_and_behind_a_gateway(
    sample_at_home, tmp_path, gateway, monkeypatch
):
    monkeypatch.setenv("DASK_GATEWAY__AUTH__KWARGS__PASSWORD", gateway.password)
    lines = f"compute: {{gateway: {{address: '{gateway.address}', workers: 2}}}}\n"
    away = run_sample(tmp_path / "away", lines)
    check_same(away, sample_at_home)
    assert gateway.log().count(" submitted") == 3, "a cluster and its two workers"
    _, left = psutil.wait_procs(gateway.processes(), timeout=WAIT_S)
    assert left == []


def test_who_does_not_know_the_password_gets_no_cluster(tmp_path, gateway):
    compute = GatewayCompute(address=gateway.address, workers=1)
    with (
        pytest.raises(ClusterError, match="can't be started: .*(401|[Aa]uth)"),
        open_client(compute, tmp_path),
    ):
        pass
    assert gateway.processes() == []
