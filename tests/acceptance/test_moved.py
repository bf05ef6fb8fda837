"""A mission that is moved, copied or restored elsewhere: every command works there."""

import os
import shutil
import subprocess
from textwrap import dedent

import numpy as np
import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.main import ziggy

ALGORITHMS = """
    from pathlib import Path

    GAIN = 2.0


    def work(raw, context):
        print("code in", Path(__file__).parent)
        if context.labels == ["i3"] and not Path(__file__).with_name("right").exists():
            raise ValueError("not yet")
        return raw * GAIN
"""
COMMANDS = """
    status
    instances
    tasks 1
    subtasks 1
    failures 1
    logs 1 --errors
    stats 1
    alerts
    plan test
    graph test -o OUT/graph.dot
    code show 1
    code checkout 1 OUT/code
    datastore ls
    datastore show set-1/L0
    datastore history
    export test
    report 1 -o OUT/report.html
    cluster check HERE/cluster.yaml
    cluster status
    cluster init HERE/cluster.yaml
    import HERE/pipeline
    doctor
    verify --all
    backup OUT/backup
"""
YAML = """
    pipeline: test
    placeholders: {dataset: "set-[0-9]+"}
    data_types:
      raw: {location: "{dataset}/L0", subtask: item, external: true}
      out: {location: "{dataset}/L1", subtask: item}
    nodes:
      work: {function: "algorithms:work", inputs: [raw], outputs: [out]}
"""


@pytest.fixture
def mission(tmp_path, client):
    """The directory of a mission with its code, which has run once, and failed."""
    place = tmp_path / "first"
    (place / "pipeline").mkdir(parents=True)
    (place / "pipeline" / "algorithms.py").write_text(dedent(ALGORITHMS))
    (place / "pipeline" / "pipeline.yaml").write_text(dedent(YAML))
    (place / "cluster.yaml").write_text("cluster: test\nhome: ./home\n")
    cluster = create_cluster(place / "cluster.yaml")
    cluster.register(work_pipeline(place / "pipeline"))
    store(cluster, {"set-1/L0": images(4)})
    assert cluster.run("test", client=client).state.value == "ERRORS_STALLED"
    cluster._site.database.close()
    yield place
    subprocess.run(
        ["umount", "--lazy", tmp_path / "elsewhere" / "mounted"],
        capture_output=True,
        check=False,
    )


def moved(mission, tmp_path):
    return shutil.move(mission, tmp_path / "elsewhere" / "moved")


def copied(mission, tmp_path):
    place = tmp_path / "elsewhere" / "copied"
    shutil.copytree(mission, place)
    (mission / "pipeline" / "algorithms.py").write_text("this is not to be run")
    return place


def mounted(mission, tmp_path):
    """Return a mission whose disk appears in another place, as in a container."""
    disk = shutil.move(mission, tmp_path / "disk")
    place = tmp_path / "elsewhere" / "mounted"
    place.mkdir()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    return place


def linked(mission, tmp_path):
    there = shutil.move(mission, tmp_path / "elsewhere" / "real")
    (tmp_path / "link").symlink_to(there)
    return tmp_path / "link"


def restored(mission, tmp_path):
    """Return a mission whose records were restored, beside a copy of the datastore."""
    backup = tmp_path / "backup"
    done = command(mission, f"backup {backup}")
    assert done.exit_code == 0, done.output
    place = tmp_path / "elsewhere" / "restored"
    shutil.copytree(mission / "home" / "datastore", place / "home" / "datastore")
    shutil.copytree(mission / "pipeline", place / "pipeline")
    shutil.copy(mission / "cluster.yaml", place)
    shutil.rmtree(mission)
    for words in (f"cluster init {place}/cluster.yaml", f"restore {backup}"):
        done = command(place, words)
        assert done.exit_code == 0, done.output
    return place


def command(place, line):
    words = ["--cluster", f"{place}/cluster.yaml", *line.split()]
    return CliRunner().invoke(ziggy, words)


IS_ROOT = os.geteuid() == 0


@pytest.mark.parametrize(
    "go",
    [
        *(moved, copied, linked, restored),
        pytest.param(mounted, marks=pytest.mark.skipif(not IS_ROOT, reason="mounts")),
    ],
)
def test_every_command_works_elsewhere(mission, tmp_path, client, monkeypatch, go):
    (tmp_path / "elsewhere").mkdir()
    place = go(mission, tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    for line in (
        COMMANDS.replace("HERE", str(place)).replace("OUT", str(own)).split("\n")
    ):
        done = command(place, line)
        assert not line or done.exit_code == 0, (line, done.output, done.exception)
    cluster = z.open(f"{place}/cluster.yaml")
    (instance,) = cluster.restart(instance=1, client=client)
    assert instance.state.value == "ERRORS_STALLED"
    with pytest.raises(ValueError, match="not yet"):
        cluster.task(1).open(3).run()
    (cluster.pipelines["test"].pipeline.root / "right").touch()
    assert (place / "pipeline" / "right").exists()
    (instance,) = cluster.restart(instance=1, client=client)
    assert instance.state.value == "COMPLETED"
    assert cluster.run("test", client=client).state.value == "COMPLETED"
    found = cluster.datastore["set-1/L1"] / cluster.datastore["set-1/L0"]
    assert np.unique(found["pixels"].values).tolist() == [2.0]
    assert command(place, "why set-1/L1").exit_code == 0
