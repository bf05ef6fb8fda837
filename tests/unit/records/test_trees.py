"""Products lie in several trees, and nobody who reads them can tell.

The oracle is another datastore with the same past, all of it in one tree.
"""

import os
import pickle
import random

import icechunk
import pytest
import zarr

from tests.unit.records.test_catalogue import (
    FILES,
    PATHS,
    SMALL,
    STORAGE,
    forked,
)
from ziggy_dask.datastore import (
    Publication,
    create_repository,
    open_repository,
    walk,
    writing,
)
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.items import FileItem, write_file_item
from ziggy_dask.datastore.soundness import check_files
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.datastore.trees import above
from ziggy_dask.records import create_database
from ziggy_dask.records.catalogue import (
    RecordedCatalogue,
    catch_up,
    stored_digests,
    unlike_successor,
)

MANY = [f"night-{n}/frames" for n in range(9)]


class Past:
    """A datastore, with its records, to which the same happens as to another one."""

    def __init__(self, place, full):
        self.repository = create_repository(str(place / "store"))
        self.database = create_database(f"sqlite:///{place / 'ziggy.db'}")
        self.repository.catalogue = RecordedCatalogue(self.database)
        self.full = full
        self.tips = []
        catch_up(self.database, self.repository)

    def do(self, step, *args):
        writing.FULL = self.full
        step(self.repository, *args)
        self.tips.append(self.repository.tip())

    def back(self, steps, tag):
        self.repository.go_back(self.tips[-1 - steps], tag)
        del self.tips[len(self.tips) - steps :]

    def forget(self, place):
        """Lose the records, and make them anew from the datastore."""
        self.database.close()
        self.database = create_database(f"sqlite:///{place}")
        self.repository.catalogue = RecordedCatalogue(self.database)
        catch_up(self.database, self.repository)


def store(repository, paths, value, is_files):
    """Publish products in one step, as tasks do."""
    made = []
    for path in paths:

        def write(fork, path=path):
            if is_files:
                for name in ("f", "in/f", f"in/{value % 3}"):
                    above, _, last = f"{path}/{name}".rpartition("/")
                    data = f"{path} {name} {value}".encode()
                    write_file_item(fork, above, FileItem(name=last, data=data))
            else:
                write_whole(fork, path, SMALL + value, STORAGE)

        origin = {"kind": "file" if is_files else "array", "dimension": "item"}
        one = Publication(
            path=path,
            change_sets=[forked(repository, path, write)],
            attributes={**origin, "instance": 1, "value": value},
            is_files=is_files,
        )
        made.append(one)
    repository.publish(made, f"publish {paths}", {"instance": 1})


def store_nothing(repository, path):
    one = Publication(
        path=path, change_sets=(), attributes={"instance": 1}, is_absent=True
    )
    repository.publish([one], f"nothing of {path}", {"instance": 1})


def deliver(repository, paths, value):
    """Change products in part, as data receipt does."""
    written = repository.writing()
    held = repository.paths()
    for path in paths:
        if any(one in held for one in above(path)):
            continue
        session = written.session(path)
        root = zarr.open_group(session.store, mode="a")
        if path in root and not isinstance(root[path], zarr.Group):
            continue
        group = root.require_group(path)
        group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": "item", "value": value}
        group.create_array(f"x{value}", shape=(), dtype="i8")[...] = value
    repository.finish_writing(written, f"deliver {paths}", {})


def take_away(repository, path):
    written = repository.writing()
    root = zarr.open_group(written.session(path).store, mode="a")
    if path in root:
        del root[path]
    repository.finish_writing(written, f"remove {path}", {})


def arrays(group, above=""):
    """The values of all arrays of a product, but not those of products in it."""
    for name, member in sorted(group.members()):
        if isinstance(member, zarr.Array):
            yield f"{above}{name}", member[...].tobytes()
        elif ATTRIBUTE not in member.attrs:
            yield from arrays(member, f"{above}{name}/")


def products(repository, at):
    """All that can be read of a datastore as of then."""
    found = {}
    for path in repository.paths(at=at):
        session = repository.session_of(path, at)
        group = zarr.open_group(session.store, path=path, mode="r")
        found[path] = dict(group.attrs), dict(arrays(group))
    whole = repository.reading(at)
    assert [p for p, one in walk(whole) if one.kind] == list(found)
    for path, (attributes, values) in found.items():
        store = pickle.loads(pickle.dumps(whole.store))
        group = zarr.open_group(store, path=path, mode="r")
        assert (dict(group.attrs), dict(arrays(group))) == (attributes, values)
    return found


def found_plainly(repository, path):
    """What Icechunk alone reads of a product, as docs/datastore.md says."""
    repo = icechunk.Repository.open(icechunk.local_filesystem_storage(repository.url))
    trees = sorted(one for one in repo.list_branches() if one.startswith("tree."))
    for branch in ("main", *trees):
        root = zarr.open_group(repo.readonly_session(branch).store, mode="r")
        if path in root:
            return dict(root[path].attrs), dict(arrays(root[path]))
    return None


def listed(repository, at, path):
    """What lies below a directory, files of several products together."""
    try:
        session = repository.session_of(path, at)
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return set()
    members = group.members(max_depth=None)
    return {name for name, one in members if isinstance(one, zarr.Array)}


@pytest.fixture
def full():
    before = writing.FULL
    yield
    writing.FULL = before


def steps(chance, value):
    paths = [chance.choice([*PATHS, *MANY]) for _ in range(chance.choice([1, 1, 3]))]
    apart = [one for one in MANY if chance.random() < 0.3] or MANY[:1]
    return chance.choices(
        [
            (store, list(dict.fromkeys(apart)), value, False),
            (store, paths[:1], value, False),
            (store, [chance.choice(FILES)], value, True),
            (store_nothing, paths[0]),
            (deliver, [*apart, chance.choice(PATHS)], value),
            (take_away, chance.choice([*PATHS, *FILES, *MANY])),
        ],
        [5, 3, 4, 1, 4, 1],
    )[0]


@pytest.mark.parametrize("seed", range(int(os.environ.get("ZIGGY_TREES_SEEDS", 3))))
def test_several_trees_read_as_one_does(tmp_path, full, seed, monkeypatch):
    """Whatever is published, taken back or lost: at every moment, as of every moment."""
    monkeypatch.setattr("ziggy_dask.datastore.placings._ASKED_OFTEN", 4)
    chance = random.Random(seed)
    places = [tmp_path / "several", tmp_path / "one"]
    for place in places:
        place.mkdir()
    several, one = Past(places[0], 10), Past(places[1], 10**9)
    for value in range(18):
        step = steps(chance, value)
        is_known = chance.random() < 0.7
        for past in (several, one):
            past.do(*step)
            if is_known:
                catch_up(past.database, past.repository)
        event = chance.random()
        for number, past in enumerate((several, one)):
            if event < 0.08 and len(past.tips) > 3:
                past.back(2, f"tag-{value}")
                catch_up(past.database, past.repository)
            elif event > 0.92:
                past.forget(places[number] / f"{value}.db")
            elif event > 0.85:
                past.repository.keep_whole("Say where all products are")
                past.tips[-1] = past.repository.tip()
        newest = products(several.repository, several.tips[-1])
        for path in [*MANY, *PATHS]:
            if path in newest or path in MANY:
                assert found_plainly(several.repository, path) == newest.get(path)
        then = chance.randrange(len(several.tips))
        for at in (-1, then):
            mine, theirs = several.tips[at], one.tips[at]
            assert products(several.repository, mine) == products(
                one.repository, theirs
            )
            for path in ("set-1", "set-2", "set-2/deep", "night-1", ""):
                assert listed(several.repository, mine, path) == listed(
                    one.repository, theirs, path
                )
    assert len(several.repository.trees(several.tips[-1])) > 2
    alone = open_repository(several.repository.url)
    assert products(alone, several.tips[-1]) == products(one.repository, one.tips[-1])
    catch_up(several.database, several.repository)
    known = stored_digests(several.database)
    assert check_files(several.repository, known).faults == ()
    assert unlike_successor(several.database) == []


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("step", "count", "is_published"),
    [
        ("to_disk", 1, False),
        ("to_disk", 2, True),
        ("_name_trees", 1, True),
    ],
)
def test_whoever_comes_after_a_kill_finds_each_product_in_one_tree(
    tmp_path, full, monkeypatch, step, count, is_published
):
    past = Past(tmp_path, 10)
    for path in MANY:
        past.do(store, [path], 1, False)
    before = products(past.repository, past.tips[-1])
    there = past.repository.tip()
    left, act = count, getattr(past.repository, step)

    def killed(*args):
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        act(*args)

    monkeypatch.setattr(past.repository, step, killed)
    with pytest.raises(Killed):
        deliver(past.repository, [MANY[0], MANY[5], "new/frames"], 2)
    repository = open_repository(past.repository.url)
    assert (repository.tip() != there) == is_published
    assert products(repository, there) == before
    deliver(repository, [MANY[3]], 3)
    newest = products(repository, repository.tip())
    assert ("new/frames" in newest) == is_published
    for path in newest:
        assert found_plainly(repository, path) == newest[path]
    trees = repository.trees(repository.tip())
    assert len(set(trees.values())) == len(trees) > 2


def test_a_publication_costs_what_one_did_a_hundred_before(tmp_path):
    repository = create_repository(str(tmp_path / "store"))

    def size():
        return sum(one.stat().st_size for one in tmp_path.rglob("*") if one.is_file())

    sizes = [size()]
    for number in range(160):
        deliver(repository, [f"night-{number}/frames"], number)
        sizes.append(size())
    assert sizes[-1] - sizes[-41] < 1.5 * (sizes[60] - sizes[20])
    assert len(repository.paths()) == 160


def test_files_of_another_program_are_found_in_whatever_tree(tmp_path, full):
    past = Past(tmp_path, 10)
    past.do(store, [MANY[0]], 1, False)
    session = past.repository._repo.writable_session("main")
    zarr.open_group(session.store, mode="a").require_group("logs/night-1")
    write_file_item(session, "logs/night-1", FileItem(name="f", data=b"said"))
    session.commit("another program was here")
    for path in MANY[1:]:
        past.do(store, [path], 1, False)
        catch_up(past.database, past.repository)
    tip = past.repository.tip()
    assert len(past.repository.trees(tip)) > 2
    assert listed(past.repository, tip, "logs/night-1") == {"f"}
    assert "logs/night-1" not in past.repository.paths()
    assert listed(past.repository, tip, "logs/night-2") == set()
