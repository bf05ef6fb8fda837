"""The sample pipeline from the command line, as a user types it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ziggy_dask as z
from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.main import ziggy

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "pipelines" / "sample"


@pytest.fixture
def mission(tmp_path, monkeypatch):
    """A directory with an initialised cluster, the sample, and a waiting delivery."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    (tmp_path / "cluster.yaml").write_text(
        "cluster: mission\nhome: ./home\ncompute: {local: {workers: 2}}\n"
    )
    shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__py*"))
    subprocess.run([sys.executable, SAMPLE / "draw.py", "home/receipt"], check=True)
    assert command("cluster", "init", "cluster.yaml").exit_code == 0
    assert command("manifest", "home/receipt", "--dataset-id", "1").exit_code == 0
    assert command("import", "sample").exit_code == 0
    return tmp_path


def command(*arguments):
    """Run a command in this process; its own errors are raised."""
    return CliRunner().invoke(
        ziggy, [str(a) for a in arguments], catch_exceptions=False
    )


def rows(*arguments) -> list[dict]:
    done = command(*arguments, "--json")
    return json.loads(done.stdout)


def original(dataset: int) -> np.ndarray:
    """Return the drawn images (image, y, x, channel), as float64."""
    draw = {}
    exec((SAMPLE / "draw.py").read_text(), draw)
    tints = {1: (1.0, 0.6, 0.3), 2: (0.35, 0.65, 1.0)}
    return np.stack([draw["planet"](n, tints[dataset]) for n in range(4)]).astype(float)


@pytest.mark.integration
def test_the_sample_runs_from_delivery_to_averages(mission):
    plan = rows("plan", "sample")
    assert [(r["node"], r["unit"], r["subtasks"]) for r in plan] == [
        ("permuter", "[set-1]", 4),
        ("permuter", "[set-2]", 4),
        ("flip", "[set-1]", 4),
        ("flip", "[set-2]", 4),
        ("averaging", "[set-1]", 1),
        ("averaging", "[set-2]", 1),
    ]
    run = command("run", "sample", "--name", "First")
    assert run.exit_code == 0, run.output
    assert "instance 1: COMPLETED" in run.output
    port = re.search(r"dashboard: http://127\.0\.0\.1:(\d+)/status", run.output)[1]
    assert f"the page: http://127.0.0.1:{port}/ziggy" in run.output
    (instance,) = rows("instances")
    assert (instance["name"], instance["state"]) == ("First", "COMPLETED")
    tasks = rows("tasks", "1")
    assert [(r["id"], r["node"], r["subtasks"], r["state"]) for r in tasks] == [
        (1, "data-receipt", "1/1", "COMPLETE"),
        (2, "permuter", "4/4", "COMPLETE"),
        (3, "permuter", "4/4", "COMPLETE"),
        (4, "flip", "4/4", "COMPLETE"),
        (5, "flip", "4/4", "COMPLETE"),
        (6, "averaging", "1/1", "COMPLETE"),
        (7, "averaging", "1/1", "COMPLETE"),
    ]
    assert [row["subtask"] for row in rows("subtasks", "2")] == [0, 1, 2, 3]
    datastore = z.open("cluster.yaml").datastore
    for number in (1, 2):
        permuted = np.roll(original(number), 1, axis=-1)
        both = np.concatenate([permuted[:, :, ::-1], permuted[:, ::-1]])
        found = datastore[f"set-{number}/L3"]["pixels"].values
        np.testing.assert_array_equal(found, np.rint(both.mean(0)).astype("u1"))


@pytest.mark.integration
def test_the_sample_can_be_told_to_misbehave(mission):
    run = command(
        "run",
        "sample",
        "--set",
        "Algorithm Parameters.throw_exception_subtask_0=true",
        "--set",
        "Algorithm Parameters.produce_output_subtask_1=false",
    )
    assert run.exit_code == 1
    assert "see: ziggy failures 1" in run.output
    (instance,) = rows("instances")
    assert instance["state"] == "ERRORS_STALLED"
    states = {(r["node"], r["unit"]): r["state"] for r in rows("tasks", "1")}
    assert states["permuter", "[set-1]"] == "ERROR - WAITING_TO_STORE"
    log = command("logs", "2", "--errors").output
    assert "ValueError: subtask 0 was asked to fail" in log
    assert "algorithms.py" in log
    assert "asked to make no output" in command("logs", "2", "--subtask", "1").output
    # The parameters were changed for this run alone.
    again = command("run", "sample")
    assert again.exit_code == 0, again.output
    first, second = z.open("cluster.yaml").instances.values()
    assert first.parameters["Algorithm Parameters"]["throw_exception_subtask_0"] is True
    assert (
        second.parameters["Algorithm Parameters"]["throw_exception_subtask_0"] is False
    )


@pytest.mark.integration
def test_warnings_of_algorithms_are_in_their_logs(mission):
    file = mission / "sample" / "algorithms.py"
    text = file.read_text().replace(
        "    wanted = parameters[SET]\n",
        "    wanted = parameters[SET]\n"
        "    import warnings\n"
        "    warnings.warn('hazy', stacklevel=1)\n",
    )
    file.write_text(text)
    assert command("import", "sample").exit_code == 0
    assert command("run", "sample", "--stop", "permuter").exit_code == 0
    for subtask in range(4):
        assert "UserWarning: hazy" in command("logs", 2, "--subtask", subtask).output


def test_a_wrong_command_line_exits_with_2():
    for arguments in (["rnu"], ["run"], ["run", "x", "--continue"], ["tasks", "one"]):
        assert CliRunner().invoke(ziggy, arguments).exit_code == 2
    assert "did you mean 'run'" in CliRunner().invoke(ziggy, ["rnu"]).output


def test_without_a_cluster_the_way_to_one_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    with pytest.raises(ZiggyError, match="ziggy cluster init FILE"):
        command("instances")


def test_a_cluster_that_was_not_initialised_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cluster.yaml").write_text("cluster: a\nhome: ./home\n")
    with pytest.raises(ZiggyError, match="there is none; make it with"):
        command("--cluster", tmp_path / "cluster.yaml", "instances")
    assert not (tmp_path / "home").exists()


def test_listings_of_a_new_cluster_are_empty_and_say_so(mission):
    assert "none yet" in command("instances").output
    assert "none yet" in command("deliveries").output
    assert rows("instances") == []
    assert "sample" in command("pipelines").output
    assert "execution_pause_seconds" in command("parameters", "sample").output
    assert "supervisor none" in command("cluster", "status").output
    assert "is sound" in command("cluster", "check", "cluster.yaml").output
    assert "sample" in command("import", "sample", "--dry-run").output


def test_the_plan_can_list_every_subtask(mission):
    listed = rows("plan", "sample", "--subtasks", "--where", "dataset=set-2")
    assert len(listed) == 9
    assert listed[0] == {
        "node": "permuter",
        "unit": "[set-2]",
        "subtask": 0,
        "items": "image-0",
    }
    assert listed[-1]["items"] == "all"


@pytest.mark.parametrize("ending", ["svg", "png", "dot"])
def test_the_graph_is_drawn_with_an_edge_for_each_dependency(mission, ending):
    done = command("graph", "sample", "-o", f"graph.{ending}")
    assert done.exit_code == 0
    content = (mission / f"graph.{ending}").read_bytes()
    if ending == "dot":
        text = content.decode()
        # 8 from permuter to flip, 8 from flip to the averages.
        assert len(re.findall(r" -> ", text)) == 16
        assert '"flip-2-3" -> "averaging-4-0"' in text
    elif ending == "svg":
        assert content.lstrip().startswith(b"<?xml")
        assert content.count(b"<use ") >= 18
    else:
        assert Image.open(mission / "graph.png").width > 300


def test_receiving_alone_and_looking_at_products(mission):
    (received,) = rows("receive", "home/receipt")
    assert (received["name"], received["state"]) == ("data receipt", "COMPLETED")
    listed = command("datastore", "ls").output.split()
    assert listed == ["set-1/L0", "set-2/L0"]
    assert "pixels" in command("datastore", "show", "set-1/L0").output
    assert "data-receipt" in command("datastore", "history").output
    (delivery,) = rows("deliveries")
    assert delivery["files"] == 8


def test_a_bad_manifest_name_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ZiggyError, match=r"must end with '-manifest.xml'"):
        command("manifest", tmp_path, "--dataset-id", 1, "--name", "list.xml")


def test_errors_are_one_message_and_an_exit_code(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ziggy_dask.interface.main import main; main()",
            "--cluster",
            str(tmp_path / "none.yaml"),
            "instances",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "none.yaml: can't be read: No such file or directory" in done.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from ziggy_dask.interface.main import ziggy\n"
        "try:\n    ziggy.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'dask', 'xarray', 'zarr', 'sqlalchemy', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("run", "plan", "graph", "logs", "receive"):
        assert f"\n  {name} " in done.stdout


def test_every_public_name_can_be_had():
    for name in dir(z):
        assert getattr(z, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        z.nothing  # noqa: B018 -- asking for it is the test
