"""Export: all that can be written is, and nothing half."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import Datastore, FileItem, Storage, create_repository
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.export import ExportError
from ziggy_dask.datastore.items import write_dataset_item, write_file_item
from ziggy_dask.datastore.netcdf import open_exported
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.errors import DatastoreError

STORAGE = Storage(dimension="", chunk=1, chunks=(), compression="none")
NOISE = np.random.default_rng(5).integers(0, 256, 100_000, dtype="u1")


@pytest.fixture
def datastore(tmp_path):
    """Return a datastore with an array, a collection and files."""
    repository = create_repository(str(tmp_path / "store"))
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    for path in ("a", "a/curves", "a/files"):
        root.require_group(path)
    write_whole(session, "a/image", xr.Dataset({"pixels": ("x", NOISE)}), STORAGE)
    for name in ("one", "two"):
        dataset = xr.Dataset({"flux": ("time", NOISE / 7)}, attrs={"ok": True})
        write_dataset_item(session, "a/curves", name, dataset, STORAGE)
    for name in ("f.txt", "g.raw"):
        write_file_item(session, "a/files", FileItem(name=name, data=NOISE.tobytes()))
    for name, kind in (("image", "array"), ("curves", "collection"), ("files", "file")):
        zarr.open_group(session.store, path=f"a/{name}", mode="a").attrs[ATTRIBUTE] = {
            "kind": kind,
            "dimension": "",
            "instance": 7,
        }
    repository.finish_writing(writing, "test", {})
    return Datastore(repository)


def names(directory):
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file()
    )


ALL = [
    *(
        "a/curves/one.nc",
        "a/curves/two.nc",
        "a/files/f.txt",
        "a/files/g.raw",
        "a/image.nc",
    ),
]


def test_all_products_come_out_and_say_where_they_come_from(datastore, tmp_path):
    out = tmp_path / "out"
    written = datastore.export(out)
    assert sorted(path.relative_to(out).as_posix() for path in written) == ALL
    assert names(out) == ALL
    assert (out / "a/files/f.txt").read_bytes() == NOISE.tobytes()
    with xr.open_dataset(out / "a/curves/two.nc", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["flux"], NOISE / 7)
        said = json.loads(found.attrs["ziggy"])
    assert (said["product"], said["item"], said["instance"]) == ("a/curves", "two", 7)


def test_what_fails_is_named_and_the_rest_is_written(datastore, tmp_path, monkeypatch):
    whole = FileItem.copy_to

    def copy_to(item, path):
        if item.name == "f.txt":
            raise OSError("no space left")
        return whole(item, path)

    monkeypatch.setattr(FileItem, "copy_to", copy_to)
    out = tmp_path / "out"
    with pytest.raises(ExportError) as caught:
        datastore.export(out, ["a/files", "a/nowhere", "/a/curves/"])
    assert names(out) == ["a/curves/one.nc", "a/curves/two.nc", "a/files/g.raw"]
    assert len(caught.value.written) == 3
    first, second = caught.value.faults
    assert first == "'a/files', item 'f.txt': OSError: no space left"
    assert second.startswith("'a/nowhere': the datastore has no product")
    assert "2 could not be exported; 3 files were written" in str(caught.value)
    assert caught.value.exit_code == DatastoreError.exit_code != 0


def test_damaged_chunks_leave_no_file_and_spoil_no_other(datastore, tmp_path):
    for chunk in (tmp_path / "store" / "chunks").rglob("*"):
        damaged = bytearray(chunk.read_bytes())
        if len(damaged) < len(NOISE) * 8:  # all but the curves
            damaged[len(damaged) // 2] ^= 1
            chunk.write_bytes(damaged)
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=r"'a/files', item 'f\.txt'.*corrupt"):
        datastore.export(out, ["a/files", "a/curves"])
    assert names(out) == ["a/curves/one.nc", "a/curves/two.nc"]


def test_names_with_slashes_are_told_in_a_tree_and_exact_in_a_file(tmp_path):
    names = ["dT/dt", "a%2Fb", "a/b", "100%", "a%b"]
    given = xr.Dataset({name: ("x", [1.0, 2.0]) for name in names})
    repository = create_repository(str(tmp_path / "store"))
    writing = repository.writing()
    session = writing.newest().session
    group = zarr.open_group(session.store, mode="a").require_group("s/made")
    storage = Storage(dimension="", chunk=1, chunks=(), compression="zstd")
    write_dataset_item(session, "s/made", "one", given, storage)
    group.attrs[ATTRIBUTE] = {"kind": "collection", "dimension": ""}
    repository.finish_writing(writing, "made", {})
    datastore = Datastore(repository)
    held = list(datastore["s/made"]["one"].to_dataset().data_vars)
    assert held == ["dT%2Fdt", "a%252Fb", "a%2Fb", "100%", "a%b"]
    (file,) = datastore.export(tmp_path / "out", ["s/made"])
    xr.testing.assert_identical(open_exported(file).load(), given)
    item = datastore.product("s/made").chosen("dT/dt")
    xr.testing.assert_identical(item.load(), given["dT/dt"])
