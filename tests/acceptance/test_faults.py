"""Faults of disks and operators: each is told, with the exit code that it should have."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import zarr

from tests.conftest import images, store, work_pipeline
from ziggy_dask.engine.clearing import _keep_and_remove
from ziggy_dask.engine.launch import _require_fitting
from ziggy_dask.errors import RecordsError
from ziggy_dask.interface import main
from ziggy_dask.receipt.delivery import Delivery
from ziggy_dask.receipt.manifest import generate_manifest, write_manifest


def test_a_lost_snapshot_is_told_by_every_command(cluster, monkeypatch, capsys):
    store(cluster, {"set-1/L0": images(2)})
    datastore = Path(cluster._site.cluster.datastore)
    (datastore / "snapshots" / cluster.datastore.snapshot).unlink()
    for words in (["datastore", "ls"], ["datastore", "show", "set-1/L0"]):
        monkeypatch.setattr(
            "sys.argv", ["ziggy", "--cluster", str(cluster._site.cluster.path), *words]
        )
        assert main.exit_code() == 4
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"ziggy: datastore {datastore}: can't read ")
        assert told.err.endswith("; ziggy doctor says what is damaged\n")
        assert len(told.err.splitlines()) == 1
    monkeypatch.setattr(
        "sys.argv", ["ziggy", "--cluster", str(cluster._site.cluster.path), "doctor"]
    )
    assert main.exit_code() == 1
    told = capsys.readouterr()
    assert "history can't be read to the beginning" in told.out
    assert "Traceback" not in told.err


def test_an_old_database_that_was_put_back_starts_nothing(cluster):
    session = cluster._site.repository._repo.writable_session("main")
    zarr.open_group(session.store, mode="a").create_group("p")
    session.commit("of an instance that is not on record", metadata={"instance": 3})
    with pytest.raises(
        RecordsError, match="products of instance 3, but the newest one on"
    ):
        _require_fitting(cluster._site)


def garbage(file):
    file.write_bytes(bytes(range(256)) * 64)


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def flipped(file):
    content = bytearray(file.read_bytes())
    for place in range(100, len(content), 97):
        content[place] ^= 0xFF
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def directory(file):
    file.unlink()
    file.mkdir()


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def sql(text):
    def change(file):
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(text)

    return change


DAMAGES = {
    **{one.__name__: one for one in (garbage, cut, flipped, empty, directory, pipe)},
    "no table": sql("DROP TABLE subtasks"),
    "future": sql("UPDATE alembic_version SET version_num = '9999'"),
    "no version": sql("DELETE FROM alembic_version"),
    "state": sql("UPDATE instances SET state = 'FINE'"),
    "step": sql("UPDATE tasks SET step = 'DANCING'"),
    "cause": sql("UPDATE subtasks SET cause = 'rain'"),
    "time": sql("UPDATE instances SET created = 'yesterday'"),
    "time of another type": sql("UPDATE instances SET created = x'00ff'"),
    "plan": sql("UPDATE tasks SET plan = '{'"),
    "plan that is none": sql("UPDATE tasks SET plan = '{\"node\": 3}'"),
    "definition": sql("UPDATE pipelines SET text = 'nodes: ['"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_told_of_by_every_command(
    cluster, code, client, damage, monkeypatch, capsys
):
    root = code("""
        def work(raw):
            return raw
    """)
    store(cluster, {"set-1/L0": images(2)})
    cluster.register(work_pipeline(root))
    cluster.run("test", client=client)
    cluster._site.database.close()
    file = cluster._site.cluster.home / "ziggy.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    DAMAGES[damage](file)
    told = {}
    place = str(cluster._site.cluster.path)
    commands = ("doctor", "status", "failures 1", "tasks 1", "backup new.db")
    for words in (*commands, f"cluster init {place}"):
        monkeypatch.setattr("sys.argv", ["ziggy", "--cluster", place, *words.split()])
        monkeypatch.chdir(cluster._site.cluster.path.parent)
        told[words] = main.exit_code(), capsys.readouterr()
    assert not list(file.parent.parent.glob(".new.db*"))
    for words, (number, said) in told.items():
        assert "Traceback" not in said.err, words
        assert len(said.err.splitlines()) <= 1, words
        assert number in (0, 1, 3, 4), words
    number, said = told["doctor"]
    assert number in (1, 4)
    assert str(file) in (said.out if number == 1 else said.err)


def test_manifests_of_one_name_are_all_kept(tmp_path):
    kept = tmp_path / "kept"
    contents = []
    for number in range(3):
        directory = tmp_path / f"delivery-{number}"
        directory.mkdir()
        (directory / "a.png").write_bytes(b"x" * number)
        path = directory / "a-manifest.xml"
        write_manifest(generate_manifest(directory, dataset_id=number), path)
        contents.append(path.read_bytes())
        delivery = Delivery(name=directory.name, directory=directory, is_inside=True)
        _keep_and_remove(kept, delivery)
    found = [one.read_bytes() for one in sorted(kept.rglob("a-manifest.xml"))]
    assert sorted(found) == sorted(contents)
