"""A full disk pauses what needs it, is told of, and is forgiven when there is space."""

import shutil
import string
import subprocess
import threading
from collections import namedtuple
from contextlib import suppress

import pytest

from tests.conftest import images, store
from ziggy_dask.engine import disk_space
from ziggy_dask.engine.disk_space import is_full, patient, shortage
from ziggy_dask.errors import ClusterError, DatastoreError, DiskFullError
from ziggy_dask.interface import main
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.daemon import start_supervisor
from ziggy_dask.records import alerts
from ziggy_dask.records.alerts import Severity, raise_alert
from ziggy_dask.records.lease import take_lease
from ziggy_dask.supervisor.service import _has_space

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def small(tmp_path):
    """A cluster in a file system of a few megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        file = tmp_path / "cluster.yaml"
        file.write_text(f"cluster: test\nhome: {place}/home\n")
        yield create_cluster(file)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(cluster):
    """Take all space of its disk."""
    path = cluster.home / "filling"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(cluster.home).free < 4096
    return path


def say_much(cluster):
    """Record more than there is space for."""
    for letter in string.ascii_letters:
        words = letter * 3000
        database = cluster._site.database
        raise_alert(database, Severity.WARNING, words, source="a", process="b")


def test_records_wait_for_space_where_a_supervisor_is_in_charge(small, monkeypatch):
    monkeypatch.setattr("ziggy_dask.records.database._FULL_S", 0.1)
    take_lease(small._site.database)
    path = fill(small)
    said = threading.Event()

    def work():
        say_much(small)
        said.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not said.wait(2)
    path.unlink()
    assert said.wait(60)
    thread.join()
    assert len(alerts.alerts(small._site.database)) == len(string.ascii_letters)


def test_others_are_told_at_once(small):
    fill(small)
    with pytest.raises(DiskFullError, match="disk is full"):
        say_much(small)


def test_new_work_waits_while_a_disk_is_short(cluster, monkeypatch):
    site = cluster._site
    assert shortage(site.cluster) == ""
    free = [50e6]
    monkeypatch.setattr(
        disk_space.shutil, "disk_usage", lambda place: Usage(1e12, 1e12, free[0])
    )
    assert not _has_space(site)
    assert not _has_space(site)
    (said,) = alerts.alerts(site.database)
    assert "only 50.0 MB of the disk are free" in said.message
    free[0] = 1e9
    assert _has_space(site)
    assert alerts.alerts(site.database) == []


def test_what_is_stored_is_tried_again_while_the_disk_is_full(monkeypatch):
    monkeypatch.setattr(disk_space, "_LOOK_S", 0.0)
    left = [
        DatastoreError("can't be written: No space left on device (os error 28)")
    ] * 3

    def store():
        if left:
            raise left.pop()
        return "stored"

    assert patient(store, "it", again=store, stops=lambda: False) == "stored"
    left.append(DatastoreError("can't be written: No space left on device"))
    with pytest.raises(DatastoreError):
        patient(store, "it", again=store, stops=lambda: True)
    left.append(DatastoreError("something else"))
    with pytest.raises(DatastoreError):
        patient(store, "it", again=store, stops=lambda: False)
    assert is_full(OSError(28, "x"))
    assert not is_full(OSError(2, "x"))


def test_no_half_of_a_file_is_left_on_a_full_disk(small, monkeypatch, capsys):
    place = str(small._site.cluster.path)
    kept = small.home / "manifested"
    kept.mkdir()
    (kept / "one.png").write_bytes(b"1")
    old = kept / "old-manifest.xml"
    old.write_text("of before")
    before = {*small.home.rglob("*"), fill(small)}
    for words, file in (
        (f"backup {small.home}/new.db", f"{small.home}/.new.db.partial"),
        (f"manifest {kept} --dataset-id 1", kept / "manifested-manifest.xml"),
        (f"manifest {kept} --dataset-id 1 --name {old.name}", old),
    ):
        monkeypatch.setattr("sys.argv", ["ziggy", "--cluster", place, *words.split()])
        assert main.exit_code() == 4, words
        (said,) = capsys.readouterr().err.splitlines()
        assert str(file) in said
        assert set(small.home.rglob("*")) == before
    assert old.read_text() == "of before"


def test_a_supervisor_that_can_not_even_say_why_it_did_not_start_is_told_of(small):
    fill(small)
    with pytest.raises(ClusterError, match="exit code 4, and could not say why"):
        start_supervisor(small._site.cluster.path)


def test_an_export_to_a_full_disk_is_told_in_one_line(small, monkeypatch, capsys):
    store(small, {"set-1/L0": images(2)})
    out = small.home / "out"
    (out / "set-1").mkdir(parents=True)
    before = {*small.home.rglob("*"), fill(small)}
    place = str(small._site.cluster.path)
    words = ["datastore", "export", str(out), "set-1/L0"]
    monkeypatch.setattr("sys.argv", ["ziggy", "--cluster", place, *words])
    assert main.exit_code() == 4
    _, said = capsys.readouterr().err.splitlines()
    assert said == "ziggy:   'set-1/L0': No space left on device"
    assert set(small.home.rglob("*")) == before
