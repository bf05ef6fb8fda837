"""Work that no worker can take is told of, ended after a while, and forgiven."""

import threading
from contextlib import closing

import pytest
from distributed import Client, LocalCluster

from tests.conftest import images, store, work_pipeline
from ziggy_dask.engine import staffing
from ziggy_dask.engine.open_cluster import HERE
from ziggy_dask.engine.staffing import LONG_S, unserved
from ziggy_dask.records.alerts import alerts


def test_it_is_told_of_after_a_minute_and_ended_after_the_limit(cluster):
    site = cluster._site
    staffing._note(site, 3, 0, LONG_S - 1)
    assert alerts(site.database) == []
    for waited_s in (LONG_S, LONG_S + 5, 3601.0):
        staffing._note(site, 3, 0, waited_s)
    (said,) = alerts(site.database)
    assert said.message.startswith(
        "3 batches of subtasks have waited for 60 s: there is"
    )
    assert said.count == 3
    assert "3601 s: there is no worker" in site.refusals[HERE]
    staffing._note(site, 0, 2, 0.0)
    assert alerts(site.database) == []
    assert site.refusals == {}


def test_a_look_that_ends_after_the_work_refuses_nothing(cluster, client, monkeypatch):
    monkeypatch.setattr(staffing, "LONG_S", -1.0)
    monkeypatch.setattr(staffing, "_LOOK_S", 0.0)
    object.__setattr__(cluster._site.cluster.supervision, "no_worker_s", -1.0)
    ended = threading.Event()

    def look(*asked):
        ended.set()
        return 3, 0

    monkeypatch.setattr(staffing, "on_scheduler", look)
    staffing._watch(cluster._site, client, ended, threading.Lock())
    assert cluster._site.refusals == {}
    assert alerts(cluster._site.database) == []


@pytest.mark.integration
def test_an_instance_that_nobody_can_take_ends_with_the_reason(
    cluster, code, monkeypatch
):
    monkeypatch.setattr(staffing, "LONG_S", 0.5)
    monkeypatch.setattr(staffing, "_LOOK_S", 0.2)
    object.__setattr__(cluster._site.cluster.supervision, "no_worker_s", 1.0)
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {"set-1/L0": images(2)})
    options = {"processes": False, "dashboard_address": None}
    with (
        LocalCluster(n_workers=0, **options) as empty,
        closing(Client(empty)) as client,
    ):
        done = cluster.run("test", client=client)
        assert client.run_on_scheduler(unserved)[0] == 0
    assert done.state.value == "ERRORS_STALLED"
    (task,) = done.tasks
    assert "there is no worker" in task.record.message
