"""Failures name their items, and stay on record when they were put right."""

import json

import pytest
from click.testing import CliRunner

from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.commands.records import show_ended
from ziggy_dask.interface.main import ziggy

ALGORITHMS = """
    from pathlib import Path

    HERE = Path(__file__).parent


    def work(raw, context):
        print("working on", *context.labels)
        if context.labels == ["i2"] and not (HERE / "right").exists():
            raise ValueError("bad weather")
        return raw
"""


@pytest.fixture
def failed(cluster, code, client):
    """A cluster with a task of which one subtask of four failed; its code is at `root`."""
    cluster.root = code(ALGORITHMS)
    cluster.register(work_pipeline(cluster.root))
    store(cluster, {"set-1/L0": images(4)})
    cluster.first = cluster.run("test", client=client)
    return cluster


def command(cluster, *arguments):
    file = str(cluster._site.cluster.path)
    done = CliRunner().invoke(ziggy, ["--cluster", file, *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_item_is_named_everywhere(failed):
    message = failed.first.tasks[0].record.message
    assert message == "subtask 2 (i2): ValueError: bad weather"
    assert "(i2)" in failed.alerts[0].message
    assert failed.failures(failed.first.id)[0].items == ("i2",)
    frame = failed.first.tasks[0].to_frame()
    assert frame["items"].tolist() == [("i0",), ("i1",), ("i2",), ("i3",)]
    (row,) = json.loads(command(failed, "failures", "1", "--json"))
    assert row["items"] == ["i2"]
    assert "i2" in command(failed, "failures", "1")
    assert "── task 1, subtask 2 (i2)" in command(failed, "logs", "1")
    log = command(failed, "logs", "1", "--item", "i1")
    assert "working on i1" in log
    assert "i2" not in log
    assert "work [set-1]: subtask 2 (i2): ValueError: bad weather" in command(
        failed, "status"
    )
    assert repr(failed.task(1).open(2)).startswith(
        "<ziggy_dask.OpenedSubtask 2 (i2) of task 1: work [set-1]"
    )
    rows = json.loads(command(failed, "subtasks", "1", "--item", "i3", "--json"))
    assert [(row["subtask"], row["items"]) for row in rows] == [(3, ["i3"])]


def test_it_is_told_what_a_task_was_stored_without(failed, client, capsys):
    failed.register(work_pipeline(failed.root, max_failed_subtasks=1))
    done = failed.run("test", client=client)
    assert done.state.value == "COMPLETED"
    words = "work [set-1]: stored without 1 subtask that failed: i2"
    assert words in [one.message for one in failed.alerts]
    assert show_ended([done], as_json=False) == 0
    assert f"warning: {words}\n" in capsys.readouterr().err


ABSENT = {
    ("logs", "1", "--item", "i22"): "no subtask of task 1 has the item 'i22'",
    ("logs", "--instance", "1", "--item", "x"): "has the item 'x'",
    ("subtasks", "1", "--item", "x"): "has the item 'x'",
    ("debug", "1", "--item", "x"): "has the item 'x'",
    ("logs", "1", "--subtask", "4"): "task 1 has no subtask 4; it has 4",
}


def test_what_no_subtask_has_is_refused(failed):
    file = str(failed._site.cluster.path)
    for arguments, says in ABSENT.items():
        done = CliRunner().invoke(ziggy, ["--cluster", file, *arguments])
        assert says in str(done.exception), arguments
        assert done.exception.exit_code == 4


def test_what_is_empty_says_of_what(failed):
    assert "item 'i1' of task 1 did not fail" in command(
        failed, "logs", "1", "--item", "i1", "--errors"
    )


def test_failures_of_earlier_attempts_are_kept_and_shown(failed, client):
    (failed.root / "right").touch()
    (again,) = failed.restart(instance=failed.first.id, client=client)
    assert again.state.value == "COMPLETED"
    assert "1 subtask failed in earlier attempts" in command(failed, "failures", "1")
    errors = command(failed, "logs", "1", "--errors")
    assert "── task 1, subtask 2 (i2), in the earlier attempt 0" in errors
    assert "working on i2" in errors
    assert "ValueError: bad weather" in errors
    rows = json.loads(command(failed, "subtasks", "1", "--item", "i2", "--json"))
    found = [(row["attempt"], row["state"], row["message"]) for row in rows]
    assert found == [(0, "FAILED", "ValueError: bad weather"), (1, "COMPLETE", "")]
