"""Backups that are damaged, foreign or forged: restored whole, or refused and nothing changed."""

import os
import pickle
import random
import shutil
import sqlite3

import pytest

import ziggy_dask as z
from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.cluster import create_cluster

ALGORITHMS = """
    def work(raw, context):
        if context.labels == ["i1"]:
            raise ValueError("clouds")
        return raw
"""
FLIPS = int(os.environ.get("ZIGGY_FLIPS", "40"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("restore")


@pytest.fixture(scope="module")
def backup(place, client):
    """A backup of a cluster with change sets that wait; its datastore was moved on since."""
    (place / "cluster.yaml").write_text("cluster: test\nhome: ./home\n")
    cluster = create_cluster(place / "cluster.yaml")
    root = place / "code"
    root.mkdir()
    (root / "algorithms.py").write_text(ALGORITHMS.replace("\n    ", "\n"))
    store(cluster, {"set-1/L0": images(3)})
    cluster.register(work_pipeline(root))
    cluster.run("test", client=client)
    cluster.backup(place / "good.db")
    store(cluster, {"set-1/L0": images(3, seed=5)})
    for file in (place / "home").glob("ziggy.db*"):
        file.unlink()
    create_cluster(place / "cluster.yaml")
    shutil.copytree(place / "home", place / "empty")
    return place / "good.db"


@pytest.fixture
def emptied(place, backup):
    """The cluster, with an empty database."""
    shutil.rmtree(place / "home")
    shutil.copytree(place / "empty", place / "home")
    return z.open(place / "cluster.yaml")


class Command:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def refused(cluster, file):
    """Restore what can't be; see that nothing is changed. Return what is said."""
    tip = cluster.datastore.snapshot
    with pytest.raises((z.RecordsError, z.DatastoreError)) as caught:
        cluster.restore(file)
    assert cluster.datastore.snapshot == tip
    assert cluster.instances == {}
    assert cluster.pipelines == {}
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_good_backup_is_restored_whole(emptied, backup):
    tag = emptied.restore(backup)
    assert tag.startswith("before-restore-")
    assert emptied.instance(1).state.value == "ERRORS_STALLED"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE instances SET created = 'yesterday'", "row 1 of table 'instances'"),
        ("UPDATE instances SET state = 'FINE'", "'FINE' is not a valid InstanceState"),
        ("UPDATE tasks SET step = 'ON'", "'ON' is not a valid TaskStep"),
        ("UPDATE tasks SET plan = '{\"node\": 3}'", "row 1 of table 'tasks'"),
        ("UPDATE tasks SET plan = '{'", "row 1 of table 'tasks'"),
        ("UPDATE subtasks SET cause = 'rain'", "table 'subtasks'"),
        ("UPDATE pipelines SET text = 'nodes: ['", "row 1 of table 'pipelines'"),
        ("UPDATE change_sets SET data = x'80'", "row 1 of table 'change_sets'"),
        ("UPDATE change_sets SET task_id = 77", "refers to what table 'tasks'"),
        ("CREATE VIEW v AS SELECT 1", "has the view 'v'"),
        (
            "CREATE TRIGGER t AFTER INSERT ON tasks BEGIN DELETE FROM tasks; END",
            "has the trigger 't'",
        ),
        ("DROP TABLE subtasks", "subtasks"),
        ("UPDATE alembic_version SET version_num = '9999'", "9999"),
        ("DELETE FROM alembic_version", "is not a backup"),
        ("DELETE FROM backup", "is not a backup"),
        ("UPDATE backup SET snapshot = 'NONE'", "is not in its history"),
        ("UPDATE backup SET made = 'soon'", "'soon'"),
    ],
)
def test_what_can_not_be_read_is_told_and_nothing_is_changed(
    emptied, backup, tmp_path, change, message
):
    file = tmp_path / "bad.db"
    shutil.copy(backup, file)
    with sqlite3.connect(file) as connection:
        connection.executescript(change)
    connection.close()
    assert message in refused(emptied, file)


def test_a_forged_change_set_runs_nothing(emptied, backup, tmp_path):
    file, mark = tmp_path / "forged.db", tmp_path / "mark"
    shutil.copy(backup, file)
    with sqlite3.connect(file) as connection:
        forged = pickle.dumps(Command(str(mark)))
        connection.execute("UPDATE change_sets SET data = ?", (forged,))
    connection.close()
    assert "refers to posix.mkdir" in refused(emptied, file)
    assert not mark.exists()


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_backup_is_restored_as_it_was_or_refused(
    emptied, backup, tmp_path, seed
):
    chance = random.Random(seed)
    content = backup.read_bytes()
    file = tmp_path / "damaged.db"
    for _ in range(FLIPS // 3):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 20)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            damaged = damaged[: chance.randrange(len(damaged))]
        file.write_bytes(damaged)
        try:
            emptied.restore(file)
        except (z.RecordsError, z.DatastoreError):
            assert emptied.instances == {}
            assert emptied.pipelines == {}
        else:  # a flip in text or unused space: the rest is whole
            assert list(emptied.instances) == [1]
            break
