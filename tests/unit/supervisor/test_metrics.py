"""What Prometheus is told, read by its own parser."""

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import images, store, work_pipeline
from ziggy_dask.definitions import read_cluster
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records import alerts, instances
from ziggy_dask.records.alerts import Severity, raise_alert
from ziggy_dask.records.lease import take_lease
from ziggy_dask.supervisor.metrics import published


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def site(tmp_path, port, code):
    file = tmp_path / "cluster.yaml"
    file.write_text(
        f"cluster: test\nhome: ./home\nsupervisor: {{metrics: '127.0.0.1:{port}'}}\n"
    )
    cluster = create_cluster(file)
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {"set-1/L0": images(2)})
    take_lease(cluster._site.database)
    return cluster._site


def scraped(port):
    """Return values by name and label."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        text = page.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_is_told_what_is_in_the_records(site, port):
    with published(site) as note_look:
        before = scraped(port)
        assert before["ziggy_oldest_waiting_seconds",] == 0
        assert before["ziggy_instances", "INITIALIZED"] == 0
        assert before["ziggy_supervisor_last_look_timestamp_seconds",] == 0
        instances.await_turns(site.database, [launch(site, Request(pipeline="test"))])
        raise_alert(site.database, Severity.ERROR, "x", source="test", process="1")
        note_look()
        after = scraped(port)
    assert after["ziggy_instances", "INITIALIZED"] == 1
    assert after["ziggy_instances", "COMPLETED"] == 0
    assert after["ziggy_unseen_alerts", "ERROR"] == 1
    assert after["ziggy_oldest_waiting_seconds",] > 0
    assert after["ziggy_supervisor_last_look_timestamp_seconds",] > 0
    assert after["process_resident_memory_bytes",] > 0
    with pytest.raises(urllib.error.URLError):
        scraped(port)


def test_a_port_that_is_taken_is_told_and_work_goes_on(site, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with published(site) as note_look:
            note_look()
            (one,) = alerts.alerts(site.database)
            assert f"127.0.0.1:{port}" in one.message
    with published(site):
        assert alerts.alerts(site.database) == []


@pytest.mark.parametrize("text", ["9469", "localhost", "localhost:port", "a b:1"])
def test_what_is_not_an_address_is_refused(tmp_path, text):
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: test\nsupervisor: {{metrics: '{text}'}}\n")
    with pytest.raises(
        DefinitionError, match=f"cluster.yaml:2: '{text}' is not an address"
    ):
        read_cluster(file)
