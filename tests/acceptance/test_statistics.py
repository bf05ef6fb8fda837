"""``ziggy stats``, and tasks and subtasks as tables, of an instance with a failure."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.main import ziggy

ALGORITHMS = """
    def fragile(raw, context):
        if context.labels[0] == "i1":
            raise ValueError("a bad pixel")
        return raw * 2
"""


@pytest.fixture
def ended(cluster, code, client) -> z.Instance:
    """An instance in which one subtask of four failed."""
    definition = pipeline(
        code(ALGORITHMS),
        data_type("raw", "L0"),
        data_type("scaled", "L1", external=False),
        node("scale", "fragile", "raw", "scaled"),
    )
    cluster.register(definition)
    store(cluster, {"set-1/L0": images(4)})
    return cluster.run("test", client=client)


def command(ended, *arguments) -> str:
    file = ended._site.cluster.path
    words = ["--cluster", str(file), "stats", *arguments]
    done = CliRunner().invoke(ziggy, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_statistics_count_what_is_on_record(ended):
    (row,) = json.loads(command(ended, "--json"))
    assert (row["node"], row["status"]) == ("scale", "ERROR")
    assert (row["subtasks"], row["complete"], row["failed"]) == (4, 3, 1)
    subtasks = ended.tasks[0].to_frame()
    good = subtasks[subtasks["state"] == "COMPLETE"]["wall_s"]
    assert row["times"]["count"] == 3
    assert row["times"]["total"] == pytest.approx(good.sum())
    assert row["times"]["percentiles"]["50"] == pytest.approx(good.median())
    assert row["slowest"][0]["number"] == good.idxmax()
    parts = row["breakdown"]
    total = sum(parts[name] for name in ("waiting_s", "executing_s", "storing_s"))
    assert parts["total_s"] == pytest.approx(total)


def test_statistics_are_watched_to_the_end_of_the_instance(ended):
    assert "scale" in command(ended, "--watch")


def test_logs_are_told_to_scripts(ended):
    words = ["--cluster", str(ended._site.cluster.path), "logs", "1", "--json"]
    done = CliRunner().invoke(ziggy, words, catch_exceptions=False)
    (failed,) = [one for one in json.loads(done.stdout) if one["traceback"]]
    assert failed["number"] == 1
    assert "a bad pixel" in failed["traceback"]
    both = CliRunner().invoke(ziggy, [*words, "--follow"], catch_exceptions=False)
    assert both.exit_code == 2


def test_statistics_are_shown_as_tables(ended):
    assert "scale" in command(ended, "1")
    assert "executing" in command(ended, "1", "--breakdown")


def test_an_instance_and_a_task_are_tables(ended):
    tasks = ended.to_frame()
    assert tasks.loc[1, ["node", "complete", "failed"]].tolist() == ["scale", 3, 1]
    assert tasks.loc[1, "state"].startswith("ERROR")
    subtasks = ended.tasks[0].to_frame()
    assert subtasks["state"].tolist() == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert "a bad pixel" in subtasks.loc[1, "message"]


def test_every_subtask_is_in_the_timeline(ended):
    drawn = ended.timeline
    assert (drawn.subtasks, sum(bar.failed for bar in drawn.bars)) == (4, 1)


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "instances",
        "tasks 1",
        "alerts",
        "subtasks 1",
        "failures 1",
        "logs 1",
        "stats 1",
    ],
)
def test_looking_at_records_imports_neither_dask_nor_the_datastore(ended, command):
    code = (
        "import sys\n"
        "from ziggy_dask.interface.main import ziggy\n"
        f"ziggy.main({command.split()!r}, standalone_mode=False)\n"
        "heavy = {'numpy', 'dask', 'distributed', 'xarray', 'zarr', 'icechunk', 'pandas',"
        " 'bokeh', 'matplotlib', 'alembic', 'sqlalchemy.dialects.postgresql'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ZIGGY_CLUSTER": str(ended._site.cluster.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
