"""Faults of disks and operators: each is told, with the exit code that it should have."""

from pathlib import Path

import pytest
import zarr

from tests.conftest import images, store
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
