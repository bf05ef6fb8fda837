"""What a disk may lose of a datastore is told by name, and never taken for emptiness."""

import os
import socket
from pathlib import Path

import pytest
import zarr

import ziggy_dask as z
from ziggy_dask.datastore import (
    Datastore,
    create_repository,
    irregular,
    open_repository,
)
from ziggy_dask.datastore.soundness import check_files


@pytest.fixture
def place(tmp_path):
    """A datastore with something in it."""
    place = tmp_path / "datastore"
    session = create_repository(str(place))._repo.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    root.create_array("x", shape=(4,), dtype="f8", chunks=(2,))[:] = 1.0
    session.commit("something")
    return place


def faults(place: Path) -> list[str]:
    return list(check_files(open_repository(str(place)), {}).faults)


def test_every_file_that_is_lost_cut_short_or_changed_is_named(place):
    assert faults(place) == []
    files = [*(place / "snapshots").iterdir(), *(place / "manifests").iterdir()]
    assert len(files) == 3
    for file in files:
        whole = file.read_bytes()
        for content in (
            *(whole[:length] for length in (0, 20, 39, 60, len(whole) - 5)),
            whole[:60] + bytes([whole[60] ^ 0xFF]) + whole[61:],
        ):
            file.write_bytes(content)
            assert any(file.name in one for one in faults(place)), len(content)
        file.unlink()
        assert any(file.name in one for one in faults(place))
        file.write_bytes(whole)
    assert faults(place) == []


@pytest.mark.parametrize("make", [None, Path.mkdir])
def test_a_datastore_without_its_reference_is_not_taken_for_none(place, make):
    references = [*place.glob("refs/branch.main/ref.json"), *place.glob("repo")]
    assert references
    for file in references:
        file.unlink()
        if make:
            make(file)
    before = sorted(place.rglob("*"))
    for opened in (open_repository, create_repository):
        with pytest.raises(z.DatastoreError, match="says which is the newest is lost"):
            opened(str(place))
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("length", [None, 0, 60])
def test_a_datastore_without_its_newest_snapshot_is_not_empty(place, length):
    file = place / "snapshots" / open_repository(str(place)).tip()
    whole = file.read_bytes()
    file.unlink()
    if length is not None:
        file.write_bytes(whole[:length])
    with pytest.raises(z.DatastoreError, match=f"can't read snapshot .{file.name}"):
        list(Datastore(open_repository(str(place))))


def pipe(file):
    os.mkfifo(file)


def device(file):
    file.symlink_to("/dev/zero")


def listening(file):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(file))  # a whole path may be too long for a socket


@pytest.mark.parametrize("make", [pipe, device, listening])
def test_nobody_waits_for_what_is_no_file(place, make, monkeypatch):
    monkeypatch.chdir(place)
    for file in [one for one in sorted(place.rglob("*")) if one.is_file()]:
        whole = file.read_bytes()
        file.unlink()
        make(file)
        for opened in (open_repository, create_repository):
            with pytest.raises(z.DatastoreError, match=f"{file} is not a regular file"):
                opened(str(place))
        file.unlink()
        file.write_bytes(whole)
    assert faults(place) == []


def test_a_chunk_that_is_no_file_is_found_among_many(place, monkeypatch):
    monkeypatch.setattr(irregular, "_QUICK_BYTES", 0)
    (place / "chunks").mkdir()
    os.mkfifo(place / "chunks" / "pipe")
    assert faults(place) == [f"{place}/chunks/pipe: is not a regular file"]
