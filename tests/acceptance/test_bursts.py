"""From ready files to plans: bursts, kills at every step, and what lies in the way."""

import subprocess
import sys
from textwrap import dedent

import pytest

import ziggy_dask as z
from tests.conftest import data_type, node, pipeline
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.records import alerts, deliveries, instances, triggers
from ziggy_dask.supervisor import supervise
from ziggy_dask.supervisor.supervise import in_charge
from ziggy_dask.supervisor.triggers import look_for_events

RESUME = """
    import os, signal, sys
    import ziggy_dask as z
    from ziggy_dask.engine import accepting, clearing, intake
    from ziggy_dask.datastore.repository import Repository
    from ziggy_dask.engine.publish import reconcile
    from ziggy_dask.records import instances, outcomes, triggers
    from ziggy_dask.receipt import delivery
    from ziggy_dask.supervisor import supervise
    from ziggy_dask.supervisor.triggers import look_for_events

    def die(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    def die_before(place, name):
        setattr(place, name, die)

    def die_after(place, name):
        does = getattr(place, name)
        setattr(place, name, lambda *a, **o: (does(*a, **o), die()))

    cluster = z.open(sys.argv[1])
    site = cluster._site
    exec(sys.argv[2])
    with supervise.in_charge(site):
        numbers = list(look_for_events(site))
        for record in instances.instances(site.database):
            if not record.state.is_final:
                reconcile(site.repository, site.database, record)
                assert supervise._prepare(site, record, lambda event: None)
        list(look_for_events(site))
"""
STEPS = {
    "before the event is on record": "die_before(supervise.instances, 'create_instance')",
    "after the event is on record": "die_after(supervise.instances, 'create_instance')",
    "before the delivery has a task": "die_before(instances, 'create_task')",
    "after it has a task": "die_after(instances, 'create_task')",
    "after it was checked": "die_after(accepting, 'validate')",
    "after it was acknowledged": "die_after(accepting, 'write_acknowledgement')",
    "after its files were read": "die_after(intake, 'store_delivery')",
    "before the commit": "die_before(Repository, 'finish_writing')",
    "after the commit": "die_after(Repository, 'finish_writing')",
    "after its outcome is on record": "die_after(outcomes, 'record')",
    "after it is complete": "die_after(outcomes, 'publish')",
    "after its manifest was kept": "die_before(clearing, 'clean_up')",
    "after its files are gone": "die_before(delivery, '_remove_directories')",
    "after its directories are gone": "die_after(delivery, '_remove_directories')",
    "after its manifest is gone": "die_after(delivery, '_empty')",
    "before its tasks are planned": "die_before(supervise, 'plan')",
    "before its tasks are on record": "die_before(instances, 'create_tasks')",
    "after its tasks are on record": "die_after(instances, 'create_tasks')",
    "after the ready file is gone": "die_before(triggers, 'settle_event')",
}


@pytest.fixture
def mission(cluster, code, tmp_path):
    """A cluster whose pipeline ready files start; it processes what is new."""
    (tmp_path / "ready").mkdir()
    cluster.register(
        pipeline(
            code(
                "def twice(raw):\n    return raw\n\n\ndef again(doubled):\n    return doubled\n"
            ),
            data_type("raw", "L0", files="(i[0-9]+)\\.csv", reader="csv"),
            data_type("doubled", "L1"),
            data_type("fourfold", "L2"),
            z.Node(name="receive", step=z.DataReceiptStep()),
            node("double", "twice", "raw", "doubled", after=("receive",)),
            node("again", "again", "doubled", "fourfold"),
            events=(
                z.EventHandler(name="downlink", directory=str(tmp_path / "ready")),
            ),
            process=z.Process.NEW,
        )
    )
    cluster.ready = tmp_path / "ready"
    return cluster


def deliver(cluster, number, *, ready=True):
    """Lay a delivery of one data set into the receipt directory, and announce it."""
    name = f"d-{number}"
    place = cluster._site.cluster.receipt / name
    files = place / f"set-{number}" / "L0"
    files.mkdir(parents=True)
    (files / "i1.csv").write_text("x,y\n1,2\n3,4\n")
    manifest = generate_manifest(place, number, ChecksumType.SHA256)
    (place / f"{name}-manifest.xml").write_text(manifest_to_xml(manifest))
    if ready:
        (cluster.ready / f"{name}.READY.{name}.1").touch()
    return place


def planned(cluster):
    """Return node and unit of all tasks that are planned, of all instances."""
    return [
        (task.node, task.unit)
        for instance in instances.instances(cluster._site.database)
        for task in instances.tasks(cluster._site.database, instance.id)
    ]


def prepare(site, number):
    """Take in what an instance is about, and make its tasks."""
    record = instances.instance(site.database, number)
    return supervise._prepare(site, record, lambda event: None)


def resume(cluster, fault=""):
    """Do in a process of its own what the supervisor does up to the plans."""
    place = str(cluster._site.cluster.path)
    return subprocess.run(
        [sys.executable, "-c", dedent(RESUME), place, fault],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.integration
@pytest.mark.parametrize("step", STEPS)
def test_a_supervisor_killed_at_any_step_loses_no_delivery(mission, step):
    place = deliver(mission, 1)
    killed = resume(mission, STEPS[step])
    assert killed.returncode == -9, killed.stderr
    done = resume(mission)
    assert done.returncode == 0, done.stderr
    assert sorted(planned(mission)) == [
        ("again", "[set-1]"),
        ("double", "[set-1]"),
        ("receive", "[d-1]"),
    ]
    (taken,) = deliveries.deliveries(mission._site.database)
    assert taken.dataset_id == 1
    assert list(mission.ready.iterdir()) == []
    assert not place.exists()
    kept = {one.name for one in (mission.home / "log" / "manifests").iterdir()}
    assert kept == {"d-1-manifest.xml", "d-1-manifest-ack.xml"}
    (event,) = triggers.events(mission._site.database)
    assert event.labels == ("d-1",)


def test_each_of_many_deliveries_at_once_is_planned_once(mission):
    numbers = range(1, 9)
    for number in numbers:
        deliver(mission, number)
    site = mission._site
    launched = list(look_for_events(site))
    assert len(launched) == len(numbers)

    with in_charge(site):
        for number in reversed(launched):
            assert prepare(site, number)
    units = [unit for name, unit in planned(mission) if name == "double"]
    assert sorted(units) == sorted(f"[set-{number}]" for number in numbers)


def test_what_another_instance_could_not_make_is_new_again(mission):
    deliver(mission, 1)
    site = mission._site
    (first,) = look_for_events(site)

    with in_charge(site):
        prepare(site, first)
        assert mission.plan("test").tasks == ()
        double = next(
            t
            for t in instances.tasks(site.database, first)
            if t.total and t.position >= 0
        )
        instances.fail_task(site.database, double.id, None, "clouds")
    assert [task.node for task in mission.plan("test").tasks][:1] == [double.node]


def test_ready_files_stay_until_their_delivery_is_taken_in(mission):
    place = deliver(mission, 1)
    (place / "set-1" / "L0" / "i1.csv").write_text("other")
    site = mission._site
    (number,) = look_for_events(site)

    with in_charge(site):
        assert not prepare(site, number)
    assert list(look_for_events(site)) == []
    assert [one.name for one in mission.ready.iterdir()] == ["d-1.READY.d-1.1"]
    (said,) = alerts.alerts(site.database)
    assert "delivery [d-1] is refused" in said.message


def test_only_all_deliveries_of_an_event_are_taken_in(mission):
    deliver(mission, 1, ready=False)
    for label in ("d-1", "d-2"):
        (mission.ready / f"{label}.READY.both.2").touch()
    site = mission._site
    (number,) = look_for_events(site)

    with (
        in_charge(site),
        pytest.raises(DeliveryError, match="no delivery called 'd-2'"),
    ):
        prepare(site, number)
    assert deliveries.deliveries(site.database) == []
    assert len(list(mission.ready.iterdir())) == 2


def test_what_lies_in_the_receipt_directory_is_in_nobodys_way(mission, tmp_path):
    receipt = mission._site.cluster.receipt
    deliver(mission, 1)
    other = deliver(mission, 2, ready=False)
    other.rename(tmp_path / "elsewhere")
    (receipt / "linked").symlink_to(tmp_path / "elsewhere")
    (receipt / "stray-manifest.xml").write_text("no manifest at all")
    for name in ("x.READY.odd.2", "y.READY.odd.3"):
        (mission.ready / name).touch()
    done = resume(mission)
    assert done.returncode == 0, done.stderr
    assert ("double", "[set-1]") in planned(mission)
    said = [one.message for one in alerts.alerts(mission._site.database)]
    assert any("disagree" in one for one in said)
    (receipt / "stray-manifest.xml").unlink()
    deliver(mission, 3, ready=False)
    number = launch(mission._site, Request(pipeline="test"))

    with in_charge(mission._site):
        assert prepare(mission._site, number)
    assert ("double", "[set-3]") in planned(mission)
    said = [one.message for one in alerts.alerts(mission._site.database)]
    assert any("linked: is a link" in one for one in said)
