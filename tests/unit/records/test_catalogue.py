"""The catalogue says what the datastore says, whatever happened to either."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from sqlalchemy import delete, update

from ziggy_dask.datastore import (
    Labels,
    Publication,
    Storage,
    allocate,
    create_repository,
    walk,
)
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.items import (
    FileItem,
    write_dataset_item,
    write_file_item,
)
from ziggy_dask.datastore.soundness import check_files
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.records import catalogue, create_database
from ziggy_dask.records.catalogue import (
    RecordedCatalogue,
    catch_up,
    current_places,
    newest_number,
    number_of,
    products_at,
    stored_digests,
    trees_at,
    unlike_successor,
)
from ziggy_dask.records.tables import PublicationRow, StoredFileRow

STORAGE = Storage(dimension="item", chunk=1, chunks=(), compression="none")
SMALL = xr.Dataset({"x": ("item", np.zeros(2))}, coords={"item": ["a", "b"]})
PATHS = ["set-1/L1", "set-1/L2", "set-2/L1", "set-2/deep/L1", "set-2/deep", "L1"]
FILES = ["set-1/files", "set-2/files", "set-2/files/inner", "set-2"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'ziggy.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").new_database()
    database = create_database(url)
    yield database
    database.close()


@pytest.fixture
def repository(tmp_path):
    return create_repository(str(tmp_path / "store"))


def forked(repository, path, write) -> bytes:
    fork = pickle.loads(repository.scaffold("scaffold-1", [path]))
    write(fork)
    return pickle.dumps(fork)


def publish_array(repository, path, kind="array"):
    def write(fork):
        if kind == "array":
            allocate(fork, path, SMALL, STORAGE, Labels.of(["a", "b"]))
        else:
            for name in ("a", "b"):
                write_dataset_item(fork, path, name, SMALL, STORAGE)

    origin = {"kind": kind, "dimension": "item", "instance": 1}
    sets = [forked(repository, path, write)]
    one = Publication(path=path, change_sets=sets, attributes=origin)
    repository.publish([one], f"publish {path}", {"instance": 1})


def publish_nothing(repository, path):
    one = Publication(
        path=path, change_sets=(), attributes={"instance": 1}, is_absent=True
    )
    repository.publish([one], f"nothing of {path}", {"instance": 1})


def publish_files(repository, path, name):
    def write(fork):
        above, _, last = f"{path}/{name}".rpartition("/")
        write_file_item(fork, above, FileItem(name=last, data=b"content"))

    origin = {"kind": "file", "dimension": "", "instance": 2}
    sets = [forked(repository, path, write)]
    one = Publication(path=path, change_sets=sets, attributes=origin, is_files=True)
    repository.publish([one], f"files {path}", {"instance": 2})


def deliver(repository, path):
    """Store a product directly, as data receipt does."""
    writing = repository.writing()
    session = writing.session(path)
    root = zarr.open_group(session.store, mode="a")
    if path in root:
        del root[path]
    for depth in range(1, path.count("/") + 1):
        root.require_group("/".join(path.split("/")[:depth]))
    write_whole(session, path, SMALL, STORAGE)
    group = zarr.open_group(session.store, path=path, mode="a")
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item"}
    repository.finish_writing(writing, f"deliver {path}", {})


def remove(repository, path):
    """Remove a product, or a directory with all below it."""
    writing = repository.writing()
    session = writing.session(path)
    root = zarr.open_group(session.store, mode="a")
    if path in root:
        del root[path]
    repository.finish_writing(writing, f"remove {path}", {})


def commit_as_others_do(repository, path):
    """Store a product with nothing but Icechunk, as another program would."""
    session = repository._repo.writable_session("main")
    group = zarr.open_group(session.store, mode="a").require_group(path)
    group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item"}
    group.attrs["touched"] = random.random()
    session.commit("another program was here")


def check(database, repository, snapshots):
    """Compare the catalogue with all trees that ever were, as far as main leads to them."""
    tip = repository.tip()
    number, places = current_places(database, tip)
    assert number == number_of(database, tip) == newest_number(database)
    tree = dict(walk(repository.reading(tip)))
    assert {(p.path, p.kind, p.dimension) for p in places} == {
        (path, one.kind, one.dimension) for path, one in tree.items()
    }
    assert all(place.changed <= number for place in places)
    own = list(repository.ancestry())
    told = list(repository.history())
    assert [one.snapshot for one in told] == [one.snapshot for one in own]
    assert [one.metadata for one in told] == [one.metadata for one in own]
    for commit in own:
        snapshots.setdefault(
            commit.snapshot,
            [p for p, one in walk(repository.reading(commit.snapshot)) if one.kind],
        )
        held = snapshots[commit.snapshot]
        known = paths_at(database, number_of(database, commit.snapshot))
        assert known is None or sorted(known) == sorted(held)
        assert repository.paths(at=commit.snapshot) == sorted(
            held, key=lambda path: path.split("/")
        )
        below = [one for one in held if f"{one}/".startswith("set-2/")]
        assert sorted(repository.paths("set-2", commit.snapshot)) == sorted(below)


@pytest.mark.parametrize("seed", range(6))
def test_the_catalogue_says_what_the_trees_say(database, repository, seed, monkeypatch):
    """Kills between commit and catalogue, other programs and restored states included."""
    monkeypatch.setattr(catalogue, "_AT_FIRST", 2)
    chance = random.Random(seed)
    repository.catalogue = RecordedCatalogue(database)
    snapshots = {}
    steps = [
        lambda: publish_array(repository, chance.choice(PATHS)),
        lambda: publish_array(repository, chance.choice(PATHS), "collection"),
        lambda: publish_nothing(repository, chance.choice(PATHS)),
        lambda: publish_files(
            repository, chance.choice(FILES), chance.choice(["f", "in/f", "in/deep/f"])
        ),
        lambda: deliver(repository, chance.choice(PATHS)),
        lambda: remove(repository, chance.choice([*PATHS, *FILES, "set-1"])),
        lambda: commit_as_others_do(
            repository, chance.choice(["set-3/L1", "set-1/L9"])
        ),
        lambda: repository.fence("a takeover"),
        lambda: repository.go_back(
            chance.choice([one.snapshot for one in repository.ancestry()][:4]),
            f"kept-{chance.random()}",
        ),
    ]
    catch_up(database, repository)
    for _ in range(14):
        chance.choices(steps, [4, 2, 2, 4, 3, 2, 1, 1, 1])[0]()
        if chance.random() < 0.3:
            continue  # killed before the catalogue knew
        catch_up(database, repository)
        check(database, repository, snapshots)


def changed(database, repository):
    number, places = current_places(database, repository.tip())
    return {one.path for one in places if one.changed == number}


def test_a_publication_changes_what_is_above_and_below_it(database, repository):
    catch_up(database, repository)
    for path in ("set-1/L1", "set-1/L2", "set-2/L1"):
        publish_array(repository, path)
        catch_up(database, repository)
        assert changed(database, repository) == {path.partition("/")[0], path}
    publish_files(repository, "set-2", "in/f")
    catch_up(database, repository)
    assert changed(database, repository) == {"set-2", "set-2/in", "set-2/L1"}


def test_what_the_catalogue_does_not_know_is_looked_up_in_the_datastore(
    database, repository
):
    repository.catalogue = RecordedCatalogue(database)
    publish_array(repository, "set-1/L1")
    assert repository.paths() == ["set-1/L1"]
    catch_up(database, repository)
    publish_array(repository, "set-1/L2")
    assert current_places(database, repository.tip()) is None
    assert repository.paths() == ["set-1/L1", "set-1/L2"]
    assert [one.message for one in repository.history()] == [
        "publish set-1/L2",
        "publish set-1/L1",
        "Repository initialized",
    ]
    assert next(one.message for one in repository.history(instance=1)) == (
        "publish set-1/L2"
    )


def test_a_product_that_is_new_takes_one_commit(database, repository):
    publish_array(repository, "set-1/L1")
    assert len(list(repository._repo.ancestry(branch="main"))) == 2
    publish_array(repository, "set-1/L1")
    assert len(list(repository._repo.ancestry(branch="main"))) == 4
    assert len(list(repository.history())) == 3


def test_an_old_datastore_is_walked_through_once(database, repository):
    """Its commits do not say what they changed."""
    for path in ("set-1/L1", "set-1/L2", "set-1/L3"):
        commit_as_others_do(repository, path)
    catch_up(database, repository)
    tips = [one.snapshot for one in repository.ancestry()]
    assert [paths_at(database, number_of(database, tip)) for tip in tips] == [
        ["set-1/L1", "set-1/L2", "set-1/L3"],
        None,
        None,
        [],
    ]
    repository.catalogue = RecordedCatalogue(database)
    assert repository.paths(at=tips[1]) == ["set-1/L1", "set-1/L2"]


def paths_at(database, number):
    """The paths of the products as of a publication; None: they are not known."""
    if trees_at(database, number) is None:
        return None
    return sorted(products_at(database, number))


def digested(database, repository):
    """Return the files on record, after a comparison with those that are there."""
    known = stored_digests(database)
    checked = check_files(repository, known)
    assert checked.faults == ()
    assert unlike_successor(database) == []
    return set(known), checked.undigested


def publish_some(database, repository):
    repository.catalogue = RecordedCatalogue(database)
    catch_up(database, repository)
    for path in ("set-1/L1", "set-1/L2", "set-1/L1"):
        publish_array(repository, path)
        catch_up(database, repository)
    repository.drop_scaffold("scaffold-1")


def test_each_file_of_the_history_has_a_digest(database, repository):
    """Also the steps on the way to a publication; but not scaffolds, which go."""
    publish_some(database, repository)
    names, undigested = digested(database, repository)
    steps = {one.id for one in repository._repo.ancestry(branch="main")}
    assert len(steps) == 5
    assert {f"snapshots/{one}" for one in steps} <= names
    last = repository.tip()
    told = repository.files_of(["set-1/L1", "set-1/L2"], last)
    assert {name for files in told.values() for name in files} <= names
    assert undigested == 3  # one scaffold per publication
    for commit in repository.history():
        files = {f"snapshots/{commit.snapshot}"}
        assert files <= names


def test_a_catalogue_made_anew_has_what_the_datastore_says_of_itself(
    database, repository, tmp_path
):
    publish_some(database, repository)
    names, _ = digested(database, repository)
    anew = create_database(f"sqlite:///{tmp_path / 'anew.db'}")
    catch_up(anew, repository)
    # Nothing says yet what the newest one was.
    newest = f"snapshots/{repository.tip()}"
    found, _ = digested(anew, repository)
    assert found < names
    assert newest in names - found
    publish_array(repository, "set-1/L3")
    catch_up(anew, repository)
    assert newest not in stored_digests(anew)
    anew.close()
    again = create_database(f"sqlite:///{tmp_path / 'again.db'}")
    repository.catalogue = RecordedCatalogue(again)
    catch_up(again, repository)
    assert stored_digests(again).keys() >= found
    again.close()


def test_a_file_that_changed_before_the_catalogue_was_made_anew_is_told(
    database, repository, tmp_path
):
    publish_some(database, repository)
    second = list(repository.ancestry())[2].snapshot
    [name] = [
        name
        for name in repository.files_of(["set-1/L1"], second)["set-1/L1"]
        if "manifests" in name
    ][:1]
    file = Path(repository.url) / name
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0")
    anew = create_database(f"sqlite:///{tmp_path / 'anew.db'}")
    catch_up(anew, repository)
    assert unlike_successor(anew) == [(2, second)]
    anew.close()
    file.write_bytes(whole)


def test_publications_of_before_digests_have_none(database, repository):
    publish_some(database, repository)
    with database.writing() as connection:
        connection.execute(delete(StoredFileRow))
        connection.execute(update(PublicationRow).values(root=""))
    publish_array(repository, "set-1/L3")
    catch_up(database, repository)
    names, undigested = digested(database, repository)
    assert undigested > 5
    assert len([one for one in names if "snapshots" in one]) == 1
    assert f"snapshots/{repository.tip()}" in names
