"""Ready files and schedules start each instance once, whatever dies when."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.definitions import pipeline_from_yaml
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records import InstanceState, alerts, instances
from ziggy_dask.supervisor.triggers import look_for_events

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def mission(cluster, code, tmp_path):
    """A cluster with a pipeline that ready files start, and the clock at 02:30."""
    watch = tmp_path / "watch"
    watch.mkdir()
    cluster.register(
        pipeline(
            code("def copy(raw):\n    return raw\n"),
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("copy", "copy", "raw", "out"),
            events=(
                z.EventHandler(name="downlink", directory=str(watch)),
                z.EventHandler(name="nightly", schedule="30 2 * * *"),
            ),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    cluster.watch = watch
    return cluster


def look(cluster, now=NOON):
    """Do what the supervisor does at a time; return the instances."""
    return list(look_for_events(cluster._site, now))


def end(cluster, number):
    instances.set_instance_state(
        cluster._site.database, number, InstanceState.COMPLETED
    )


def look_and_die(cluster, where):
    """Look for events in a process that is killed at some point."""
    script = f"""
        import os, signal, sys
        import sqlalchemy
        import ziggy_dask as z
        from ziggy_dask.supervisor.triggers import look_for_events

        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        cluster = z.open({str(cluster._site.cluster.path)!r})
        {textwrap.dedent(where)}
        for number in look_for_events(cluster._site):
            pass
        print("still alive")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr


AT_REMOVAL = "sys.addaudithook(lambda what, _: die() if what == 'os.remove' else None)"
AT_COMMIT = (
    "sqlalchemy.event.listen(cluster._site.database._engine, 'before_cursor_execute', "
    "lambda c, u, text, *_: die() if text.startswith('INSERT INTO events') else None)"
)


def test_one_killed_before_it_removed_ready_files_has_launched_them_once(mission):
    (mission.watch / "a.READY.x.2").touch()
    (mission.watch / "b.READY.x.2").touch()
    look_and_die(mission, AT_REMOVAL)
    assert len(mission.instances) == 1
    assert len(list(mission.watch.iterdir())) == 2
    assert look(mission) == []
    assert list(mission.watch.iterdir()) == []
    (event,) = mission.events
    assert (event.labels, event.instance) == (("a", "b"), 1)


def test_one_killed_before_it_recorded_an_event_has_launched_nothing(mission):
    (mission.watch / "READY.x.1").touch()
    look_and_die(mission, AT_COMMIT)
    assert mission.instances == {}
    assert look(mission) == [1]
    assert list(mission.watch.iterdir()) == []


def test_a_file_of_the_same_name_that_came_later_is_another_event(mission):
    file = mission.watch / "READY.x.1"
    file.touch()
    look_and_die(mission, AT_REMOVAL)
    file.unlink()
    file.touch()
    assert look(mission) == [2]
    file.touch()
    assert look(mission) == [3]
    assert [one.instance for one in mission.events] == [1, 2, 3]


def test_a_schedule_starts_at_its_times_and_what_was_missed_once(mission):
    assert look(mission, NOON) == []
    assert look(mission, NOON + 14.4 * timedelta(hours=1)) == []
    assert look(mission, NOON + 14.5 * timedelta(hours=1)) == [1]
    assert look(mission, NOON + DAY) == []
    end(mission, 1)
    assert look(mission, NOON + 30 * DAY) == [2]
    assert look(mission, NOON + 30 * DAY) == []
    assert [one.due for one in mission.events] == [
        datetime(2026, 3, 11, 2, 30, tzinfo=UTC),
        datetime(2026, 4, 9, 2, 30, tzinfo=UTC),
    ]


def test_a_schedule_that_is_new_at_its_very_time_waits_for_the_next(mission):
    due = NOON + 14.5 * timedelta(hours=1)
    assert [look(mission, due), look(mission, due)] == [[], []]
    assert look(mission, due + DAY) == [1]


def test_a_due_time_waits_for_the_instance_of_the_one_before(mission):
    look(mission, NOON)
    assert look(mission, NOON + DAY) == [1]
    assert look(mission, NOON + 5 * DAY) == []
    end(mission, 1)
    assert look(mission, NOON + 5 * DAY) == [2]


def test_a_clock_that_jumps_launches_no_time_twice_and_goes_on(mission):
    look(mission, NOON)
    launched = []
    for days in (400, 1, 400, 0, 2, 400):
        some = look(mission, NOON + days * DAY)
        for one in some:
            end(mission, one)
        launched.append(some)
    assert launched == [[1], [], [], [], [2], []]
    dues = [one.due for one in mission.events]
    assert len(set(dues)) == len(dues) == 2


def test_one_killed_when_a_due_time_was_recorded_launches_it_once(mission):
    look(mission, datetime.now(UTC) - 3 * DAY)
    look_and_die(mission, AT_COMMIT)
    assert mission.instances == {}
    now = datetime.now(UTC)
    assert look(mission, now) == [1]
    end(mission, 1)
    assert look(mission, now) == []


def test_handlers_are_switched_by_operators(mission):
    def command(*arguments):
        place = ["--cluster", str(mission._site.cluster.path)]
        return CliRunner().invoke(ziggy, [*place, "event", *arguments])

    (mission.watch / "READY.x.1").touch()
    assert command("disable", "downlink").output == "downlink is off\n"
    assert look(mission) == []
    assert command("enable", "downlink").output == "downlink is on\n"
    assert look(mission) == [1]
    refused = command("disable", "down")
    assert refused.exit_code != 0
    assert "did you mean 'downlink'" in str(refused.exception)
    (mission.watch / "READY.x.2").touch()
    assert look(mission) == []
    (said,) = alerts.alerts(mission._site.database)
    assert "has no label" in said.message
    (mission.watch / "READY.x.2").rename(mission.watch / "READY.x.1")
    assert look(mission) == [2]
    mission.watch.rename(mission.watch.with_name("moved"))
    assert look(mission) == []
    assert "No such file" in mission.handlers["test", "downlink"].fault
    mission.watch.with_name("moved").rename(mission.watch)
    (mission.watch / "READY.y.1").touch()
    assert look(mission) == []
    command("enable", "downlink")
    assert look(mission) == [3]


def test_a_schedule_that_is_disabled_does_not_catch_up(mission):
    before = datetime.now(UTC) - 3 * DAY
    look(mission, before)
    mission.switch("nightly", on=False)
    mission.switch("nightly", on=True)
    assert look(mission, datetime.now(UTC)) == []
    assert look(mission, datetime.now(UTC) + DAY) == [1]


def test_schedules_are_written_and_read_and_refused_by_the_original_s_files(mission):
    text = mission.export("test")
    assert "nightly:\n    schedule: 30 2 * * *" in text
    read = pipeline_from_yaml(text, Path())
    assert read.events == mission.pipelines["test"].pipeline.events
    with pytest.raises(z.DefinitionError, match="'nightly' starts it by the clock"):
        mission.export("test", as_xml=True)


def test_several_pipelines_with_a_handler_of_one_name_are_asked_apart(mission):
    other = z.EventHandler(name="downlink", directory=str(mission.watch))
    one = mission.pipelines["test"].pipeline
    mission.register(
        pipeline(one.root, *one.data_types, *one.nodes, name="other", events=(other,))
    )
    with pytest.raises(z.DefinitionError, match="say which, with --pipeline"):
        mission.switch("downlink", on=False)
    mission.switch("downlink", on=False, pipeline="other")
    assert mission.handlers["other", "downlink"].is_enabled is False
