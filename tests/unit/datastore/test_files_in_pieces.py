"""Files that are stored, read and copied in pieces."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.datastore import FileItem, content, create_repository, items
from ziggy_dask.datastore.items import Files, read_file_item, write_file_item
from ziggy_dask.errors import DatastoreError, MissingError

PIECE_BYTES = 65_536
LARGE = 2 * PIECE_BYTES + 12_345


@pytest.fixture(scope="module", autouse=True)
def _small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "PIECE_BYTES", PIECE_BYTES)
        patch.setattr(items, "PIECE_BYTES", PIECE_BYTES)
        patch.setattr(items, "_AT_ONCE_BYTES", 2000)
        yield


@pytest.fixture(scope="module")
def large():
    return np.random.default_rng(7).integers(0, 256, LARGE, dtype="u1").tobytes()


def stored(tmp_path, *files):
    """Return a session in which some files are stored in a directory ``d``."""
    repository = create_repository(str(tmp_path / "store"))
    writing = repository.writing()
    session = writing.newest().session
    zarr.open_group(session.store, mode="a").require_group("d")
    for file in files:
        write_file_item(session, "d", file)
    repository.finish_writing(writing, "test", {})
    return repository.reading()


@pytest.mark.parametrize(
    "size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, LARGE]
)
def test_files_of_all_sizes_come_back_from_disk_and_memory(tmp_path, large, size):
    data = large[:size]
    (tmp_path / "a.raw").write_bytes(data)
    session = stored(
        tmp_path,
        FileItem.from_path(tmp_path / "a.raw"),
        FileItem(name="b.raw", data=data),
    )
    for name in ("a.raw", "b.raw"):
        found = read_file_item(session, "d", name)
        assert found.size == size
        assert found.data == b"".join(found.pieces()) == data
        assert found.copy_to(tmp_path / "out").read_bytes() == data
        array = zarr.open_array(session.store, path=f"d/{name}", mode="r")
        assert array.attrs["sha256"] == hashlib.sha256(data).hexdigest()
        assert np.asarray(array[:]).tobytes() == data


def test_a_stored_file_is_stored_again_under_another_name(tmp_path, large):
    session = stored(tmp_path / "1", FileItem(name="a.raw", data=large))
    copied = replace(read_file_item(session, "d", "a.raw"), name="b.raw")
    again = stored(tmp_path / "2", pickle.loads(pickle.dumps(copied)))
    assert read_file_item(again, "d", "b.raw").data == large


@given(moves=st.lists(st.tuples(st.integers(0, LARGE + 9), st.integers(0, 99_999))))
def test_a_file_is_sought_and_read_like_any_other(large, moves):
    file = FileItem(name="a.raw", data=large).open()
    for place, count in moves:
        file.seek(place)
        assert file.read(count) == large[place : place + count]
    assert file.seek(0, 2) == LARGE


def test_a_stored_file_is_opened_like_any_other(tmp_path, large):
    item = read_file_item(stored(tmp_path, FileItem(name="a", data=large)), "d", "a")
    with item.open() as file:
        file.seek(PIECE_BYTES - 5)
        assert file.read(10) == large[PIECE_BYTES - 5 : PIECE_BYTES + 5]
        file.seek(-3, 2)
        assert file.read() == large[-3:]


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("change", [b"", b"more than there was"])
def test_a_file_that_changes_while_it_is_stored_is_refused(tmp_path, size, change):
    path = tmp_path / "a.raw"
    path.write_bytes(b"x" * size)
    item = FileItem.from_path(path)
    path.write_bytes(
        path.read_bytes()[: size // 2] if not change else b"x" * size + change
    )
    with pytest.raises(DatastoreError, match=r"a\.raw: changed while it was read"):
        stored(tmp_path, item)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_flipped_bit_is_told_with_the_name_of_the_file(tmp_path, large, size):
    session = stored(tmp_path, FileItem(name="a.raw", data=large[:size]))
    chunks = [p for p in (tmp_path / "store" / "chunks").rglob("*") if p.is_file()]
    assert chunks
    for chunk in chunks:
        damaged = bytearray(chunk.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        chunk.write_bytes(damaged)
    target = tmp_path / "out" / "a.raw"
    with pytest.raises(DatastoreError, match=r"d/a\.raw in the datastore is corrupt"):
        read_file_item(session, "d", "a.raw").copy_to(target)
    assert not list((tmp_path).glob("out/*"))


def test_files_stored_without_checksums_of_chunks_are_checked_as_a_whole(
    tmp_path, large, monkeypatch
):
    wrong = hashlib.sha256(b"other").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(items, "_write_pieces", _forged(items._write_pieces, wrong))
        session = stored(tmp_path, FileItem(name="a.raw", data=large))
    with pytest.raises(DatastoreError, match="corrupt"):
        read_file_item(session, "d", "a.raw").copy_to(tmp_path / "a.raw")
    with pytest.raises(DatastoreError, match="corrupt"):
        _ = read_file_item(session, "d", "a.raw").data


def _forged(write, told):
    def written(*arguments):
        write(*arguments)
        return told

    return written


def test_files_by_name_are_read_when_they_are_asked_for(tmp_path, large):
    session = stored(
        tmp_path, FileItem(name="a", data=b"1"), FileItem(name="b", data=large)
    )
    files = Files(session, "d", ["a", "b", "gone"])
    assert list(files) == ["a", "b", "gone"]
    assert files["a"] == b"1"
    assert files.item("b").size == LARGE
    assert "c" not in files
    assert files.get("c") is None
    with pytest.raises(MissingError):
        files["gone"]
    assert dict(Files(session, "d", ["a"])) == {"a": b"1"}


BEYOND_THE_LIMIT = """
import pathlib, resource, sys
from ziggy_dask.datastore import FileItem
path = pathlib.Path(sys.argv[1])
with path.open("wb") as file:
    file.truncate(3 * 2**30)
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, hard))
try:
    FileItem.from_path(path).data
except MemoryError as error:
    print(error)
"""


def test_a_file_too_large_for_memory_is_told_by_size(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", BEYOND_THE_LIMIT, tmp_path / "a.raw"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "the file 'a.raw' has 3072 MiB, but this process has room for" in told
    assert "copy_to(path)" in told
