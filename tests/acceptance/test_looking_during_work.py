"""Looks and backups while instances run: what they say is of one point in time."""

import shutil
import threading

import pytest

from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records.backup import read_backup
from ziggy_dask.supervisor import examine

ALGORITHMS = """
    def work(raw):
        return raw * 2
"""
TIMES = 6


@pytest.fixture
def busy(cluster, code, client):
    """A cluster on which instances run one after the other; tells whether they still do."""
    store(cluster, {f"set-{n}/L0": images(2, seed=n) for n in (1, 2, 3)})
    cluster.register(work_pipeline(code(ALGORITHMS)))
    failures = []

    def work():
        try:
            for _ in range(TIMES):
                cluster.run("test", client=client)
        except Exception as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    cluster.is_busy = thread.is_alive
    yield cluster
    thread.join()
    assert failures == []
    assert len(cluster.instances) == TIMES


def test_the_doctor_raises_no_false_alarm(busy):
    looks = 0
    while busy.is_busy():
        assert [one.what for one in examine(busy._site)] == []
        looks += 1
    assert looks > 1
    assert examine(busy._site) == []


def test_a_live_backup_restores_to_a_whole(busy, tmp_path):
    made = []
    while busy.is_busy():
        file = tmp_path / f"backup-{len(made)}.db"
        assert busy.backup(file) == ()
        made.append(file)
    assert len(made) > 1
    snapshots = [read_backup(file).snapshot for file in made]
    assert len(set(snapshots)) > 1
    home = busy._site.cluster.home
    for number, file in enumerate(made[:3]):
        place = tmp_path / f"restored-{number}"
        place.mkdir()
        text = "cluster: test\nhome: ./home\ncompute: {local: {workers: 1}}\n"
        (place / "cluster.yaml").write_text(text)
        shutil.copytree(home / "datastore", place / "home" / "datastore")
        other = create_cluster(place / "cluster.yaml")
        other.restore(file)
        said = [one.what for one in examine(other._site)]
        assert [what for what in said if "nobody works on" not in what] == []
