"""The line for monitoring."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from tests.conftest import images, store, work_pipeline
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.interface.check import Level, check
from ziggy_dask.interface.main import ziggy
from ziggy_dask.interface.status import cluster_status
from ziggy_dask.records import InstanceState, instances
from ziggy_dask.records.alerts import Severity, raise_alert
from ziggy_dask.records.lease import take_lease


def line(cluster):
    return check(cluster_status(cluster._site.cluster, cluster._site.database))


def say(cluster, severity):
    raise_alert(cluster._site.database, severity, "it\nhangs", source="a", process="b")


def test_it_tells_how_bad_it_is(cluster):
    assert line(cluster).level is Level.CRITICAL
    assert "no supervisor is in charge" in str(line(cluster))
    take_lease(cluster._site.database)
    assert str(line(cluster)).startswith("ZIGGY OK - 0 instances at work")
    say(cluster, Severity.WARNING)
    assert line(cluster).level is Level.WARNING
    say(cluster, Severity.INFRASTRUCTURE)
    found = line(cluster)
    assert (found.level, "\n" in str(found)) == (Level.CRITICAL, False)
    assert "2 alerts, e.g. it hangs" in str(found)


def test_instances_that_wait_for_their_turn_are_counted(cluster, code):
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {"set-1/L0": images(1)})

    number = launch(cluster._site, Request(pipeline="test"))
    database = cluster._site.database
    instances.set_instance_state(database, number, InstanceState.INITIALIZED)
    found = cluster_status(cluster._site.cluster, database)
    (waiting,) = found.queued
    assert (waiting.id, found.running) == (number, ())
    queued = (replace(waiting, created=datetime(2026, 1, 1, tzinfo=UTC)),)
    then = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    said = str(check(replace(found, queued=queued), then))
    assert "1 waiting for up to 60 s" in said
    assert "oldest=60s" in said


@pytest.mark.parametrize(("place", "code"), [("cluster.yaml", 2), ("missing.yaml", 3)])
def test_it_is_an_exit_code(cluster, place, code):
    file = cluster._site.cluster.path.with_name(place)
    done = CliRunner().invoke(ziggy, ["--cluster", str(file), "status", "--check"])
    assert done.exit_code == code
    assert done.output.startswith(f"ZIGGY {Level(code).name} - ")
