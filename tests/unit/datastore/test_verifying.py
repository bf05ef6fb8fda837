"""What a disk changed of a datastore is named, or the values are what they were."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import Datastore, Storage, create_repository, open_repository
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.digests import root_of
from ziggy_dask.datastore.items import FileItem, write_dataset_item, write_file_item
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.soundness import check_files
from ziggy_dask.datastore.stored_array import damage_told
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.datastore.verifying import products_at, verify_product
from ziggy_dask.errors import DatastoreError

FLIPS = int(os.environ.get("ZIGGY_FLIPS", "15"))  # by hand: 50
NOISE = np.random.default_rng(1)


def dataset(count):
    values = NOISE.random((count, 40, 50))
    labels = [f"i{number}" for number in range(count)]
    return xr.Dataset({"pixels": (("item", "y", "x"), values)}, coords={"item": labels})


@pytest.fixture(params=["zstd", "none"])
def place(request, tmp_path):
    """A datastore with an array of two items per chunk, a collection, and files."""
    place = tmp_path / "datastore"
    repository = create_repository(str(place))
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    root.require_group("set-1")
    storage = Storage(dimension="item", chunk=2, chunks=(), compression=request.param)
    write_whole(session, "set-1/array", dataset(6), storage)
    for name in ("a/b", "c"):
        root.require_group("set-1/items")
        write_dataset_item(session, "set-1/items", name, dataset(2), storage)
    for name in ("x.bin", "below/y.bin"):
        root.require_group("set-1/files/below")
        write_file_item(
            session, "set-1/files", FileItem(name=name, data=NOISE.bytes(5000))
        )
    for name, kind in (("array", "array"), ("items", "collection"), ("files", "file")):
        group = zarr.open_group(session.store, path=f"set-1/{name}", mode="a")
        dimension = "item" if kind == "array" else ""
        group.attrs[ATTRIBUTE] = {"kind": kind, "dimension": dimension}
    repository.finish_writing(writing, "seed", {})
    return place


@pytest.fixture
def digests(place):
    """What was taken of the files when they were written."""
    repository = open_repository(str(place))
    newest, first = repository.ancestry()
    return {
        **repository.digests(first, None),
        **repository.digests(newest, first.snapshot),
    }


def verified(place, digests=()):
    repository = open_repository(str(place))
    tip = repository.tip()
    paths = products_at(repository, tip)
    try:
        files = repository.files_of(paths, tip)
    except DatastoreError:
        files = {path: [f"snapshots/{tip}"] for path in paths}
    known = dict(digests)
    return {
        p: verify_product(repository, p, tip, {f: known.get(f) for f in files[p]})
        for p in paths
    }


def contents(place):
    """Return all values, as readers get them."""
    datastore = Datastore(open_repository(str(place)))
    array = datastore["set-1/array"].load()
    items = {k: v.load() for k, v in datastore["set-1/items"].children.items()}
    return array, items, dict(datastore["set-1/files"])


def same(one, other):
    return (
        one[0].identical(other[0])
        and one[1].keys() == other[1].keys()
        and all(one[1][key].identical(other[1][key]) for key in one[1])
        and one[2] == other[2]
    )


def test_what_is_whole_is_sound(place, digests):
    found = verified(place, digests)
    assert set(found) == {"set-1/array", "set-1/files", "set-1/items"}
    assert all(one.is_sound and not one.unchecked for one in found.values())
    assert found["set-1/array"].bytes >= 6 * 40 * 50 * 8
    assert found["set-1/files"].arrays == 2
    # One manifest per array, of those that are stored in chunks of their own, too.
    assert all(one.files > one.arrays and not one.undigested for one in found.values())
    assert {name for one in digests for name in [one.split("/")[0]]} == {
        "manifests",
        "snapshots",
    }


def test_files_without_digest_are_told(place, digests):
    some = dict(list(digests.items())[::2])
    found = verified(place, some).values()
    assert all(one.is_sound for one in found)
    assert sum(one.undigested for one in found) > 0
    checked = check_files(open_repository(str(place)), some)
    assert checked.undigested == len(digests) - len(some)
    assert checked.files == len(digests)
    assert checked.faults == ()


def test_a_root_digest_is_of_names_and_contents(digests):
    root = root_of(digests)
    assert root == root_of(dict(sorted(digests.items(), key=lambda one: one[1])))
    first, second, *_ = digests
    swapped = {**digests, first: digests[second], second: digests[first]}
    fewer = {name: digest for name, digest in digests.items() if name != first}
    assert len({root, root_of(swapped), root_of(fewer), root_of({})}) == 4


def outcome(place, before, digests):
    """Return whether damage is named, or makes no difference, or is not noticed."""
    try:
        repository = open_repository(str(place))
        bad = list(check_files(repository, digests).faults)
        bad += [d for one in verified(place, digests).values() for d in one.damages]
    except DatastoreError as error:
        bad = [str(error)]
    if bad:
        return "named"
    try:
        with panics_as_errors():
            return "same" if same(contents(place), before) else "unnoticed"
    except Exception:  # noqa: BLE001 -- readers notice, but verifying did not
        return "unnoticed"


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Return what a disk may make of a file: a bit is flipped, or its end is lost."""
    at = chance.randrange(len(whole))
    if chance.random() < 0.2:
        return whole[:at]
    return whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]


@pytest.mark.parametrize("directory", ["chunks", "manifests", "snapshots"])
def test_every_flipped_bit_is_named(place, digests, directory):
    chance = random.Random(directory)
    before = contents(place)
    files = sorted((place / directory).iterdir())
    seen = Counter()
    for _ in range(FLIPS):
        file = chance.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, chance))
        seen[outcome(place, before, digests)] += 1
        file.write_bytes(whole)
    assert seen == {"named": FLIPS}
    assert same(contents(place), before)


def test_a_changed_manifest_is_named_for_its_product_alone(place, digests):
    repository = open_repository(str(place))
    paths = ["set-1/array", "set-1/files", "set-1/items"]
    files = repository.files_of(paths, repository.tip())
    for path in paths:
        for name in files[path]:
            file = place / name
            whole = file.read_bytes()
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            known = {one: digests.get(one) for one in files[path]}
            bad = verify_product(repository, path, repository.tip(), known).damages
            assert any(name in one.reason for one in bad), name
            others = {other for other in paths if name in files[other]}
            assert others == ({path} if "manifests" in name else set(paths))
            file.write_bytes(whole)


def test_damage_is_named_by_product_item_and_chunk(place):
    whole = verified(place)
    assert all(one.is_sound for one in whole.values())
    told = set()
    for file in sorted((place / "chunks").iterdir()):
        content = file.read_bytes()
        file.unlink()
        bad = [d for one in verified(place).values() for d in one.damages]
        assert len(bad) == 1, file
        told.add((bad[0].path, bad[0].array, bad[0].items))
        file.write_bytes(content)
    assert {
        ("set-1/array", "pixels", ("i0", "i1")),
        ("set-1/array", "pixels", ("i4", "i5")),
        ("set-1/items", "pixels", ("a/b",)),
        ("set-1/items", "pixels", ("c",)),
        ("set-1/files", "", ("x.bin",)),
        ("set-1/files", "", ("below/y.bin",)),
    } <= told


def test_arrays_without_checksums_are_told(tmp_path):
    repository = create_repository(str(tmp_path / "datastore"))
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    group = root.create_group("old")
    group.create_array("x", shape=(4,), dtype="f8", chunks=(2,), compressors=None)[
        :
    ] = 1
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": ""}
    repository.finish_writing(writing, "seed", {})
    found = verify_product(repository, "old", repository.tip())
    assert (found.is_sound, found.unchecked, found.chunks) == (True, ("x",), 2)


def test_a_lost_manifest_is_named(place):
    for file in Path(place / "manifests").iterdir():
        whole = file.read_bytes()
        file.unlink()
        bad = [d for one in verified(place).values() for d in one.damages]
        assert bad, file.name
        assert all(one.path.startswith("set-1/") for one in bad)
        file.write_bytes(whole)


SHORT = """
import os, resource, sys
from ziggy_dask.datastore import open_repository
from ziggy_dask.datastore.verifying import verify_product
from ziggy_dask.errors import DatastoreError

repository = open_repository(sys.argv[1])
tip = repository.tip()
assert verify_product(repository, "set-1/array", tip).is_sound
few = len(os.listdir("/proc/self/fd")) - 1  # that of the list itself is closed again
resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
try:
    print(verify_product(repository, "set-1/array", tip).damages)
except DatastoreError as error:
    print(error)
"""


def test_that_a_process_lacks_something_is_no_damage(place):
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(place)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "the datastore can't be verified: this process may have no more open files "
        "(see: ulimit -n)\n"
    )


def test_that_there_are_no_more_threads_is_no_damage():
    lack = "can't be read: this process may have no more threads"
    with pytest.raises(DatastoreError, match=lack), damage_told("set-1/array/pixels"):
        raise RuntimeError("can't start new thread")
    with (
        pytest.raises(DatastoreError, match="is damaged"),
        damage_told("set-1/array/pixels"),
    ):
        raise RuntimeError("error during blosc decompression: -1")
