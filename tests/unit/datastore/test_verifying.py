"""What a disk changed of a datastore is named, or the values are what they were."""

import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from ziggy_dask.datastore import Datastore, Storage, create_repository, open_repository
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.items import FileItem, write_dataset_item, write_file_item
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.soundness import faults_of
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
    tip, session = repository.writing()
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
    repository.finish_writing(tip, session, "seed", {})
    return place


def verified(place):
    repository = open_repository(str(place))
    tip = repository.tip()
    return {p: verify_product(repository, p, tip) for p in products_at(repository, tip)}


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


def test_what_is_whole_is_sound(place):
    found = verified(place)
    assert set(found) == {"set-1/array", "set-1/files", "set-1/items"}
    assert all(one.is_sound and not one.unchecked for one in found.values())
    assert found["set-1/array"].bytes >= 6 * 40 * 50 * 8
    assert found["set-1/files"].arrays == 2


def outcome(place, before):
    """Return whether damage is named, or makes no difference, or is not noticed."""
    try:
        repository = open_repository(str(place))
        bad = list(faults_of(repository))
        bad += [d for one in verified(place).values() for d in one.damages]
    except DatastoreError as error:
        bad = [str(error)]
    if bad:
        return "named"
    try:
        with panics_as_errors():
            return "same" if same(contents(place), before) else "unnoticed"
    except Exception:  # noqa: BLE001 -- readers notice, but verifying did not
        return "unnoticed"


@pytest.mark.parametrize("directory", ["chunks", "manifests", "snapshots"])
def test_a_flipped_bit_is_named_or_changes_nothing(place, directory):
    """Icechunk keeps no checksum of what lists the chunks, so that is not always noticed."""
    chance = random.Random(directory)
    before = contents(place)
    files = sorted((place / directory).iterdir())
    seen = Counter()
    for _ in range(FLIPS):
        file = chance.choice(files)
        whole = file.read_bytes()
        at = chance.randrange(len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(8)
        file.write_bytes(bytes(changed))
        seen[outcome(place, before)] += 1
        file.write_bytes(whole)
    if directory == "chunks":
        assert seen == {"named": FLIPS}
    assert seen["unnoticed"] <= FLIPS / 5
    assert same(contents(place), before)


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
    tip, session = repository.writing()
    root = zarr.open_group(session.store, mode="a")
    group = root.create_group("old")
    group.create_array("x", shape=(4,), dtype="f8", chunks=(2,), compressors=None)[
        :
    ] = 1
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": ""}
    repository.finish_writing(tip, session, "seed", {})
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
