"""Failures, restarts, halts and alerts, on a real Dask scheduler."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import (
    data_type,
    images,
    node,
    pipeline,
    states,
    store,
    work_pipeline,
)
from ziggy_dask.definitions import Retry, parameter_from_value
from ziggy_dask.engine.launch import launch
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records import requests
from ziggy_dask.records.lease import take_lease
from ziggy_dask.records.requests import RequestKind
from ziggy_dask.supervisor import Request, in_charge, request_to_json
from ziggy_dask.supervisor.service import _launch

ALGORITHMS = """
    import os
    import time
    from pathlib import Path

    HERE = Path(__file__).parent


    def ran(context):
        with (HERE / "runs.txt").open("a") as file:
            file.write(f"{context.node} {context.unit['dataset']} {context.labels}\\n")


    def fragile(raw, context, parameters):
        ran(context)
        broken = HERE / f"broken-{context.unit['dataset']}-{context.labels[0]}"
        if broken.exists():
            raise ValueError(f"{broken.read_text()} in {context.labels}")
        return raw * parameters["S"]["factor"]


    def shift(scaled, context):
        ran(context)
        return scaled + 1


    def mean(shifted, context):
        ran(context)
        return shifted.mean("item")


    def slow(raw, context):
        ran(context)
        (HERE / "started").touch()
        deadline = time.monotonic() + 60
        while not (HERE / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return raw
"""


@pytest.fixture
def mission(cluster, code, client):
    """A cluster with scale → shift → mean on two data sets of four images."""
    root = code(ALGORITHMS)
    factor = z.ParameterSet(name="S", parameters=(parameter_from_value("factor", 2.0),))

    def register(**options):
        cluster.register(
            pipeline(
                root,
                data_type("raw", "L0"),
                data_type("scaled", "L1"),
                data_type("shifted", "L2"),
                data_type("mean", "L3", subtask=""),
                node("scale", "fragile", "raw", "scaled", **options),
                node("shift", "shift", "scaled", "shifted"),
                node("mean", "mean", "shifted", "mean", single_subtask=True),
                parameter_sets=(factor,),
                parameters=("S",),
            )
        )

    def runs():
        lines = (root / "runs.txt").read_text().splitlines()
        (root / "runs.txt").unlink()
        return sorted(lines)

    store(cluster, {"set-1/L0": images(4, seed=1), "set-2/L0": images(4, seed=2)})
    register()
    cluster.root, cluster.runs, cluster.define = root, runs, register
    return cluster


def break_(cluster, *items, why="clouds"):
    for item in items:
        (cluster.root / f"broken-{item}").write_text(why)


def fix(cluster, *items):
    for item in items:
        (cluster.root / f"broken-{item}").unlink()


def products(cluster):
    return {
        path: cluster.datastore[path]["pixels"].values
        for path in ("set-1/L3", "set-2/L3")
    }


@pytest.fixture
def expected(mission):
    """The products of a run in which nothing fails."""
    raw = {n: mission.datastore[f"set-{n}/L0"]["pixels"].values for n in (1, 2)}
    return {f"set-{n}/L3": (raw[n] * 2 + 1).mean(0) for n in (1, 2)}


def assert_products(cluster, expected):
    for path, values in products(cluster).items():
        np.testing.assert_allclose(values, expected[path])


def command(cluster, *arguments):
    whole = ["--cluster", str(cluster._site.cluster.path), *map(str, arguments)]
    return CliRunner().invoke(ziggy, whole)


def test_a_restart_runs_what_failed_and_what_waits_for_it(mission, client, expected):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    mission.runs()
    fix(mission, "set-2-i1")
    (done,) = mission.restart(instance=instance.id, client=client)
    assert (done.id, done.state.value) == (instance.id, "COMPLETED")
    assert mission.runs() == [
        "mean set-2 []",
        "scale set-2 ['i1']",
        "shift set-2 ['i1']",
    ]
    assert_products(mission, expected)
    restarted = next(t.record for t in done.tasks if t.record.unit == "[set-2]")
    assert (restarted.attempt, restarted.failed, restarted.complete) == (1, 0, 4)


def test_restarting_again_finds_nothing_to_do(mission, client):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    fix(mission, "set-2-i1")
    mission.restart(instance=instance.id, client=client)
    mission.runs()
    assert mission.restart(instance=instance.id, client=client) == []
    assert mission.restart(*[t.id for t in instance.tasks], client=client) == []
    done = command(mission, "restart", "--instance", instance.id)
    assert done.exit_code == 0
    assert "nothing to restart" in done.output
    assert not (mission.root / "runs.txt").exists()


def test_two_who_restart_the_same_at_once_run_it_once(mission, client, monkeypatch):
    """The second one is in charge only when the first one has done it."""
    break_(mission, "set-2-i1")
    mission.run("test", client=client)
    mission.runs()
    fix(mission, "set-2-i1")
    other = z.open(mission._site.cluster.path)

    def late(database):
        monkeypatch.undo()
        other.restart(instance=1, client=client)
        return take_lease(database)

    monkeypatch.setattr("ziggy_dask.supervisor.supervise.take_lease", late)
    assert mission.restart(instance=1, client=client) == []
    assert len(mission.runs()) == 3
    assert {one.record.attempt for one in mission.instance(1).tasks} == {0, 1}


def test_what_waits_in_an_instance_that_has_ended_is_halted_and_restarted(
    mission, client, expected
):
    break_(mission, "set-2-i1")
    mission.run("test", client=client)
    fix(mission, "set-2-i1")
    with in_charge(mission._site):  # of something else
        assert z.open(mission._site.cluster.path).halt(instance=1) == 2
    mission.run("test", where=["dataset=set-1"], client=client)
    said = [one.record.message for one in mission.instance(1).tasks]
    assert said.count("halted by an operator") == 2
    (done,) = mission.restart(instance=1, client=client)
    assert done.state.value == "COMPLETED"
    assert_products(mission, expected)


def test_who_goes_on_hears_of_all_that_waits(mission, expected):
    with in_charge(mission._site):  # which is then killed
        for _ in range(3):
            launch(mission._site, Request(pipeline="test"))
    done = command(mission, "run", "--continue")
    assert done.exit_code == 0, done.output
    told = [one for one in done.output.splitlines() if "has not ended" in one]
    assert told == [
        f"instance {number} has not ended either; resume it with: "
        f"ziggy run --continue --instance {number}"
        for number in (1, 2)
    ]
    for number in (1, 2):
        done = command(mission, "run", "--continue", "--instance", number)
        assert "has not ended" not in done.output
    assert_products(mission, expected)


def test_from_the_beginning_all_of_a_task_runs_again(mission, client, expected):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    mission.runs()
    fix(mission, "set-2-i1")
    (done,) = mission.restart(
        instance=instance.id, mode="from-beginning", client=client
    )
    assert done.state.value == "COMPLETED"
    assert mission.runs() == [
        "mean set-2 []",
        *(f"scale set-2 ['i{n}']" for n in range(4)),
        *(f"shift set-2 ['i{n}']" for n in range(4)),
    ]
    assert_products(mission, expected)


def test_resuming_stores_what_is_good_and_runs_nothing_again(mission, client):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    mission.runs()
    (done,) = mission.restart(
        instance=instance.id, mode="resume-current-step", client=client
    )
    assert done.state.value == "COMPLETED"
    assert mission.runs() == ["mean set-2 []"]
    stored = mission.datastore["set-2/L1"]["pixels"].values
    assert np.isnan(stored[1]).all()
    assert not np.isnan(stored[[0, 2, 3]]).any()
    warnings = [
        one.message for one in mission.alerts if one.severity.value == "WARNING"
    ]
    without, unread = sorted(warnings)
    assert without.startswith("scale [set-2]: stored without 1 subtask that failed")
    assert unread.startswith("shift [set-2]: 1 of 4 subtasks had nothing to read")


def test_a_task_that_was_stored_with_failures_can_be_completed_later(
    mission, client, expected
):
    """What was made of its incomplete product is made again."""
    mission.define(max_failed_subtasks=1)
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    assert instance.state.value == "COMPLETED"
    before = mission.datastore["set-2/L3"]["pixels"].values
    mission.runs()
    fix(mission, "set-2-i1")
    (done,) = mission.restart(instance=instance.id, client=client)
    assert done.state.value == "COMPLETED"
    assert mission.runs() == [
        "mean set-2 []",
        "scale set-2 ['i1']",
        *(f"shift set-2 ['i{n}']" for n in range(4)),
    ]
    assert_products(mission, expected)
    assert not np.allclose(before, expected["set-2/L3"])


def test_a_restart_can_change_parameters_and_says_so(mission, client):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    fix(mission, "set-2-i1")
    done = command(
        mission,
        *("restart", "--instance", instance.id),
        *("--mode", "from-beginning", "--set", "S.factor=10"),
    )
    assert done.exit_code == 0, done.output
    raw = mission.datastore["set-2/L0"]["pixels"].values
    stored = mission.datastore["set-2/L3"]["pixels"].values
    np.testing.assert_allclose(stored, (raw * 10 + 1).mean(0))
    changes = {t.record.unit: t.record.changes for t in instance.tasks}
    assert changes == {"[set-1]": {}, "[set-2]": {"S": {"factor": "10"}}}
    assert instance.parameters == {"S": {"factor": 2.0}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": {"T": {"factor": 1}}}, "no parameter set 'T'"),
        ({"parameters": {"S": {"factr": 1}}}, "no parameter 'factr'; did you mean"),
        ({"parameters": {"S": {"factor": "much"}}}, "much"),
        ({"cause": "12345678"}, "no failure is of the kind '12345678'"),
        ({"cause": "KIND", "mode": "from-beginning"}, "say --mode resubmit"),
    ],
)
def test_a_restart_that_makes_no_sense_changes_nothing(mission, client, options, words):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    if options.get("cause") == "KIND":
        options = options | {"cause": mission.failures(instance.id)[0].fingerprint}
    before = [task.record for task in instance.tasks]
    with pytest.raises(z.ZiggyError, match=words):
        mission.restart(instance=instance.id, client=client, **options)
    assert [task.record for task in instance.tasks] == before
    assert instance.state.value == "ERRORS_STALLED"


def test_failures_are_grouped_by_their_cause_whatever_the_data(mission, client):
    break_(mission, "set-1-i0", "set-2-i1", "set-2-i3")
    instance = mission.run("test", client=client)
    (group,) = mission.failures(instance.id)
    assert (group.cause.value, group.count, group.nodes) == ("exception", 3, ("scale",))
    assert len(group.tasks) == 2
    shown = command(mission, "failures", instance.id, "--json")
    (row,) = json.loads(shown.stdout)
    assert (row["kind"], row["count"]) == (group.fingerprint, 3)
    assert (
        f"ziggy restart --cause {group.fingerprint}"
        in command(mission, "failures", instance.id).output
    )


def test_restarting_one_kind_of_failure_leaves_the_others_alone(mission, client):
    source = (mission.root / "algorithms.py").read_text()
    other = source.replace(
        'raise ValueError(f"{broken',
        'raise (KeyError if "rain" in broken.read_text() else ValueError)(f"{broken',
    )
    (mission.root / "algorithms.py").write_text(other)
    break_(mission, "set-1-i0", "set-2-i1")
    break_(mission, "set-2-i3", why="rain")
    instance = mission.run("test", client=client)
    groups = {
        one.message.partition(":")[0]: one for one in mission.failures(instance.id)
    }
    assert {name: one.count for name, one in groups.items()} == {
        "ValueError": 2,
        "KeyError": 1,
    }
    fix(mission, "set-1-i0", "set-2-i1", "set-2-i3")
    mission.runs()
    (done,) = mission.restart(cause=groups["ValueError"].fingerprint, client=client)
    assert done.state.value == "ERRORS_STALLED"
    ran = mission.runs()
    assert [line for line in ran if line.startswith("scale")] == [
        "scale set-1 ['i0']",
        "scale set-2 ['i1']",
    ]
    (left,) = mission.failures(instance.id)
    assert left.fingerprint == groups["KeyError"].fingerprint


def test_a_node_can_have_its_failures_run_again_by_themselves(mission, client):
    mission.define(retry=Retry(times=2))
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    failed = [line for line in mission.runs() if line == "scale set-2 ['i1']"]
    assert len(failed) == 3
    severities = [one.severity.value for one in mission.alerts]
    assert severities == ["ERROR", "WARNING", "ERROR", "WARNING", "ERROR"]
    fix(mission, "set-2-i1")
    (done,) = mission.restart(instance=instance.id, client=client)
    record = next(t.record for t in done.tasks if t.record.unit == "[set-2]")
    assert (record.attempt, record.resubmits) == (3, 0)


def halted_while_running(mission, client, *tasks, **what):
    """Halt some of a slow pipeline when it has begun; return the instance when it ended."""
    mission.register(
        pipeline(
            mission.root,
            data_type("raw", "L0"),
            data_type("scaled", "L1"),
            data_type("shifted", "L2"),
            node("slow", "slow", "raw", "scaled"),
            node("shift", "shift", "scaled", "shifted"),
            name="slow",
        )
    )
    other = z.open(mission._site.cluster.path)
    done = []
    thread = threading.Thread(
        target=lambda: done.append(mission.run("slow", client=client))
    )
    thread.start()
    try:
        wait_until((mission.root / "started").exists)
        other.halt(*tasks, **what)
        wait_until(lambda: other.task(1).record.is_error)
    finally:
        (mission.root / "go").touch()
        thread.join(timeout=60)
    assert not thread.is_alive()
    return done[0]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_halted_tasks_stop_and_store_nothing_and_can_be_restarted(mission, client):
    instance = halted_while_running(mission, client, instance=1)
    assert instance.state.value == "ERRORS_STALLED"
    assert set(states(instance).values()) <= {"ERROR - EXECUTING", "ERROR - QUEUED"}
    assert {t.record.message for t in instance.tasks} == {"halted by an operator"}
    assert "set-1/L1" not in mission.datastore
    (done,) = mission.restart(instance=instance.id, client=client)
    assert done.state.value == "COMPLETED"


def test_what_waits_for_a_halted_task_waits_and_the_rest_goes_on(mission, client):
    instance = halted_while_running(mission, client, 1)
    found = states(instance)
    assert found["slow [set-1]"].startswith("ERROR - ")
    assert not found["shift [set-1]"].startswith("ERROR")
    assert (found["slow [set-2]"], found["shift [set-2]"]) == ("COMPLETE", "COMPLETE")
    assert instance.state.value == "ERRORS_STALLED"
    assert "set-1/L1" not in mission.datastore
    assert mission.datastore["set-2/L1"].sizes["item"] == 4
    (again,) = mission.restart(1, client=client)
    assert again.state.value == "COMPLETED"
    assert mission.datastore["set-1/L2"].sizes["item"] == 4


def test_what_nobody_works_on_is_halted_at_once(mission, client):
    break_(mission, "set-1-i0", "set-2-i1")
    instance = mission.run("test", client=client)
    assert command(mission, "halt", "1, 2").output == "nothing to halt: all had ended\n"
    done = command(mission, "halt", "3-4, 9-7,5 - 6")
    assert done.output == "4 tasks halted\n"
    assert all(task.record.is_error for task in instance.tasks)
    assert (
        command(mission, "halt", "--all").output == "nothing to halt: all had ended\n"
    )


def test_alerts_are_listed_seen_and_cleared(mission, client, tmp_path):
    break_(mission, "set-1-i0", "set-2-i1")
    mission.run("test", client=client)
    rows = json.loads(command(mission, "alerts", "--json").stdout)
    assert [(r["severity"], r["source"], r["seen"]) for r in rows] == [
        ("ERROR", "supervisor", False)
    ] * 2
    assert "clouds" in rows[0]["message"]
    assert command(mission, "alerts", "--acknowledge", "1").output.startswith(
        "1 acknowledged"
    )
    assert [one.is_acknowledged for one in mission.alerts] == [False, True]
    assert "2 cleared" in command(mission, "alerts", "--clear").output
    assert mission.alerts == []


@pytest.mark.parametrize("text", ["3,x", "4-", "-", "1,,2"])
def test_a_bad_list_of_tasks_is_refused(mission, text):
    done = command(mission, "restart", text)
    assert done.exit_code == 2
    assert "write e.g. 3,4,7-10" in done.output


def test_a_failed_subtask_is_opened_with_what_it_was_given(mission, client):
    break_(mission, "set-2-i1")
    instance = mission.run("test", client=client)
    raw = mission.datastore["set-2/L0"]
    store(mission, {"set-2/L0": images(4, seed=9)})
    task = next(t for t in instance.tasks if t.record.unit == "[set-2]")
    (failed,) = [one for one in task.subtasks if one.cause.value]
    opened = failed.open()
    assert opened.inputs["raw"].identical(raw.isel(item=[1]))
    assert opened.parameters == {"S": {"factor": 2.0}}
    assert opened.arguments["context"].labels == ["i1"]
    assert not opened.is_code_changed
    with pytest.raises(ValueError, match="clouds"):
        opened.run()
    fix(mission, "set-2-i1")
    made = opened.run()
    np.testing.assert_allclose(made["pixels"], raw["pixels"].values[[1]] * 2)
    (mission.root / "algorithms.py").write_text("def fragile(raw):\n    return 7\n")
    assert failed.open().is_code_changed
    assert failed.open().run() == 7


def test_what_is_opened_is_of_its_own_cluster(tmp_path, client):
    clusters = []
    for name, order in (("one", [0, 1, 2]), ("two", [1, 0, 2])):
        root = tmp_path / name
        root.mkdir()
        (root / "algorithms.py").write_text("def work(raw):\n    return raw\n")
        file = root / "cluster.yaml"
        file.write_text(
            f"cluster: {name}\nhome: ./home\ncompute: {{local: {{workers: 1}}}}\n"
        )
        other = z.create(file)
        other.register(work_pipeline(root))
        store(other, {"set-1/L0": images(3).isel(item=order)})
        other.run("test", client=client)
        clusters.append(other)
    for other in clusters:
        opened = other.task(1).open(0)
        assert tuple(opened.inputs["raw"]["item"].values) == opened.items


def test_the_debugger_stops_where_a_subtask_failed(mission, client):
    break_(mission, "set-2-i1")
    mission.run("test", client=client)
    place = ["--cluster", str(mission._site.cluster.path)]
    # In a process of its own: a debugger takes tracing away from whoever measures.
    done = subprocess.run(
        [sys.executable, "-m", "ziggy_dask", *place, "debug", "2"],
        input="p context.labels\nq\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "['i1']" in done.stdout
    assert "ValueError: clouds" in done.stderr
    fix(mission, "set-2-i1")
    done = command(mission, "debug", "2", "--subtask", "0")
    assert "it did not fail; it returned:\n<xarray.Dataset>" in done.output


def test_what_can_not_be_opened_says_why(mission, client):
    break_(mission, "set-2-i1")
    mission.run("test", client=client)
    with pytest.raises(
        z.RecordsError, match="task 1 has no subtask 4 that can be opened"
    ):
        mission.task(1).open(4)
    with pytest.raises(z.TaskError, match="task 4 reads what task 2 makes"):
        mission.task(4).open(0)


def test_logs_of_an_instance_are_those_of_all_its_tasks(mission, client):
    break_(mission, "set-1-i0", "set-2-i1")
    instance = mission.run("test", client=client)
    done = command(mission, "logs", "--instance", 1, "--errors")
    assert done.exit_code == 0
    heads = [line for line in done.output.splitlines() if line.startswith("──")]
    assert heads == ["── task 1, subtask 0 (i0)", "── task 2, subtask 1 (i1)"]
    assert done.output.count("ValueError: clouds in") == 2
    followed = [(one.task, one.number) for one in instance.followed_logs()]
    assert followed == [(one.task, one.number) for one in instance.logs()]
    assert command(mission, "logs", "--instance", 2).exit_code == 1
    for wrong in ([], ["1", "--instance", "1"], ["--instance", "1", "--subtask", "0"]):
        assert "give TASK" in command(mission, "logs", *wrong).output


def test_logs_of_an_instance_that_prints_nothing_say_so(mission, client):
    mission.run("test", client=client)
    said = command(mission, "logs", "--instance", 1, "--errors").output
    assert said == "no subtask of instance 1 failed (COMPLETED)\n"


MANY_WAYS_TO_FAIL = """
    from pathlib import Path

    HERE = Path(__file__).parent


    def one(number):
        raise ValueError(f"frame {number} has {number * 3} bad pixels")


    def another(number):
        raise ValueError(f"frame {number} has {number * 3} bad pixels")


    def fail(raw, context):
        if (HERE / "fixed").exists():
            with (HERE / "again.txt").open("a") as file:
                file.write(f"{context.subtask}\\n")
            return raw
        number = context.subtask
        match number % 6:
            case 0: one(number)
            case 1: another(number)
            case 2: {}[f"key {number}"]
            case 3: return raw.isel(item=[0] * (2 + number % 5))
            case 4: raise MemoryError(f"no {number} bytes")
            case 5: return "text " * number
"""


def test_a_thousand_failures_of_six_causes_are_told_apart(cluster, code, client):
    count = 1000
    root = code(MANY_WAYS_TO_FAIL)
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("work", "fail", "raw", "out"),
        )
    )
    store(cluster, {"set-1/L0": images(count)})
    instance = cluster.run("test", client=client)
    group_of = [one.fingerprint for one in instance.tasks[0].subtasks]
    largest = [Counter(group_of[n::6]).most_common(1)[0][0] for n in range(6)]
    assert len(set(largest)) == 6
    right = sum(group_of[n] == largest[n % 6] for n in range(count))
    groups = cluster.failures(instance.id)
    assert right >= 0.95 * count, [(g.count, g.cause, g.message) for g in groups]
    assert sum(one.count for one in groups) == count
    (memory,) = [one for one in groups if one.cause.value == "out of memory"]
    (root / "fixed").touch()
    cluster.restart(cause=memory.fingerprint, client=client)
    again = [int(line) for line in (root / "again.txt").read_text().split()]
    assert sorted(again) == [n for n in range(count) if n % 6 == 4]


def test_a_request_launches_once_even_if_its_answer_was_lost(mission):
    """As after the death of a supervisor between launching and answering."""
    site = mission._site
    content = request_to_json(Request(pipeline="test", name="asked for"))
    number = requests.ask(site.database, RequestKind.RUN, content)
    asked = requests.request(site.database, number)
    assert [_launch(site, asked), _launch(site, asked)] == [1, 1]
    assert [one.record.name for one in mission.instances.values()] == ["asked for"]
