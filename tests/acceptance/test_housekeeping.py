"""The doctor, and backups: what is left over, lost, and brought back."""

import json
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records import TaskStep


@pytest.fixture
def mission(cluster, code):
    """A cluster with a pipeline of one node on two data sets."""
    root = code("def double(raw):\n    return raw * 2\n")
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("double", "double", "raw", "out"),
        )
    )
    store(cluster, {"set-1/L0": images(2, seed=1), "set-2/L0": images(2, seed=2)})
    return cluster


def command(cluster, *arguments):
    whole = ["--cluster", str(cluster._site.cluster.path), *map(str, arguments)]
    return CliRunner().invoke(ziggy, whole)


def sql(cluster, statement):
    with sqlite3.connect(cluster.home / "ziggy.db") as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def test_a_sound_cluster_has_no_findings(mission, client):
    mission.run("test", client=client)
    done = command(mission, "doctor")
    assert (done.exit_code, done.output.strip()) == (0, "all is well")


def test_what_is_left_over_is_found_and_fixed(mission, client):
    mission.run("test", client=client)
    left = mission.home / "work" / "1-1-double" / "st-0"
    left.mkdir(parents=True)
    mission._site.repository.scaffold("scaffold-1", ["set-1/L1"])
    sql(mission, "INSERT INTO parts (id, task_id) VALUES (99, 1)")
    sql(
        mission,
        "INSERT INTO change_sets (part_id, task_id, path, data) VALUES (99, 1, 'x', 'y')",
    )
    found = command(mission, "doctor")
    assert found.exit_code == 1
    assert "ziggy doctor --fix" in found.output
    assert len(mission.doctor()) == 3
    fixed = command(mission, "doctor", "--fix", "--json")
    assert fixed.exit_code == 0
    assert [row["done"] for row in json.loads(fixed.stdout)] == [True] * 3
    assert mission.doctor() == []
    assert not left.exists()


def test_a_commit_that_is_not_on_record_is_found_and_recorded(mission, client):
    mission.run("test", client=client)
    sql(
        mission,
        "UPDATE tasks SET step = 'STORING', snapshot = '' WHERE id = 2",
    )
    (finding,) = mission.doctor()
    assert finding.what.startswith("tasks 2 are stored, and not on record")
    mission.doctor(fix=True)
    assert mission.task(2).record.step is TaskStep.COMPLETE
    assert mission.doctor() == []


def test_lost_products_and_abandoned_instances_are_for_the_operator(mission, client):
    mission.run("test", client=client)
    sql(mission, "UPDATE tasks SET snapshot = 'GONE' WHERE id = 1")
    sql(mission, "UPDATE instances SET state = 'PROCESSING', finished = NULL")
    whats = [one.what for one in mission.doctor(fix=True)]
    assert whats == [
        "task 1 was stored by snapshot 'GONE', which is not in the datastore's history",
        "instance 1 is PROCESSING, and nobody works on it",
    ]
    assert command(mission, "doctor", "--fix").exit_code == 1


def test_a_backup_brings_back_records_and_products_as_they_were(
    mission, client, tmp_path
):
    mission.run("test", client=client)
    then = mission.datastore["set-1/L1"]["pixels"].values
    file = tmp_path / "ziggy-backup.db"
    assert command(mission, "backup", file).exit_code == 0
    assert [path.name for path in tmp_path.glob("*backup*")] == [file.name]
    records = [task.record for task in mission.instance(1).tasks]
    store(mission, {"set-1/L0": images(2, seed=5)})
    mission.run("test", client=client)
    lost = mission.datastore.snapshot

    for path in mission.home.glob("ziggy.db*"):
        path.unlink()
    new = create_cluster(mission._site.cluster.path)
    done = command(new, "restore", file)
    assert done.exit_code == 0, done.exception
    assert "what was stored since is kept as tag 'before-restore-" in done.output
    assert [task.record for task in new.instance(1).tasks] == records
    assert list(new.instances) == [1]
    np.testing.assert_array_equal(new.datastore["set-1/L1"]["pixels"].values, then)
    assert new.doctor() == []
    assert new.datastore.as_of(lost)["set-1/L1"].sizes["item"] == 2
    again = new.run("test", client=client)
    assert (again.id, again.state.value) == (2, "COMPLETED")


def test_a_restore_over_something_is_refused(mission, client, tmp_path):
    mission.run("test", client=client)
    file = tmp_path / "backup.db"
    mission.backup(file)
    with pytest.raises(z.RecordsError, match="has instances, which would be lost"):
        mission.restore(file)
    with pytest.raises(z.RecordsError, match="a backup never replaces a file"):
        mission.backup(file)
    other = tmp_path / "other.yaml"
    other.write_text("cluster: other\nhome: ./other\n")
    with pytest.raises(z.RecordsError, match="is a backup of cluster 'test', not of"):
        create_cluster(other).restore(file)
    with pytest.raises(z.RecordsError, match="is not a backup"):
        create_cluster(other).restore(mission.home / "ziggy.db")
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(z.RecordsError, match="text.db"):
        create_cluster(other).restore(tmp_path / "text.db")


def test_a_backup_of_another_datastore_changes_nothing(mission, client, tmp_path):
    mission.run("test", client=client)
    file = tmp_path / "backup.db"
    mission.backup(file)
    other = tmp_path / "other" / "cluster.yaml"
    other.parent.mkdir()
    other.write_text("cluster: test\nhome: ./home\n")
    cluster = create_cluster(other)
    with pytest.raises(z.DatastoreError, match="is not in its history"):
        cluster.restore(file)
    assert cluster.instances == {}
