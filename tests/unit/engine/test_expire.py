"""Expiry where products lie in several trees: what stays can be read, whatever is lost."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.records.test_trees import MANY, products, store
from ziggy_dask.datastore import open_repository, writing
from ziggy_dask.engine.expire import expire, plan_expiry
from ziggy_dask.errors import DatastoreError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records.catalogue import catch_up

NO_MARGIN = timedelta(0)
DEFINITION = """
pipeline: nights
placeholders: {night: "night-[0-9]+"}
data_types:
  raw: {location: "{night}/frames", subtask: item, external: true}
  made: {location: "{night}/levels", subtask: item}
nodes:
  measure: {function: "algorithms:measure", inputs: [raw], outputs: [made]}
"""
RULE = "retention: {raw: {keep: last 1}}\n"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes a cluster with three versions of each of nine products, in several trees."""
    monkeypatch.setattr(writing, "FULL", 6)

    def made(rule):
        (tmp_path / "mission").mkdir()
        (tmp_path / "mission" / "pipeline.yaml").write_text(DEFINITION)
        code = "def measure(raw):\n    return raw\n"
        (tmp_path / "mission" / "algorithms.py").write_text(code)
        file = tmp_path / "cluster.yaml"
        file.write_text(f"cluster: nights\nhome: ./home\n{rule}")
        cluster = create_cluster(file)
        cluster.register(tmp_path / "mission")
        for value in range(3):
            for path in MANY:
                store(cluster._site.repository, [path], value, False)
                catch_up(cluster._site.database, cluster._site.repository)
            if value == 1:
                cluster.tag(cluster.datastore.snapshot, "dr1")
        cluster._site.repository.drop_scaffold("scaffold-1")
        assert len(cluster._site.repository.trees(cluster.datastore.snapshot)) > 2
        return cluster

    return made


def newest(cluster):
    return products(cluster._site.repository, cluster._site.repository.tip())


def size(cluster):
    place = Path(cluster._site.repository.url)
    names = ("chunks", "manifests", "snapshots", "transactions")
    files = [one for name in names for one in place.glob(f"{name}/*")]
    return {one: one.stat().st_size for one in files}


def anew(cluster):
    """The same cluster with its records lost."""
    cluster._site.database.close()
    for file in cluster._site.cluster.path.parent.rglob("ziggy.db*"):
        file.unlink()
    return create_cluster(cluster._site.cluster.path)


@pytest.mark.parametrize("rule", ["", RULE])
def test_what_stays_is_known_also_when_the_records_are_lost(make, rule):
    cluster = make(rule)
    before, files = newest(cluster), size(cluster)
    tagged = products(cluster._site.repository, cluster.tags["dr1"].snapshot)
    plan = plan_expiry(cluster._site, NO_MARGIN)
    assert bool(plan.expired) == bool(rule)
    done = expire(cluster._site, NO_MARGIN)
    gone = sum(files[one] for one in files.keys() - size(cluster).keys())
    assert done.freed == gone == sum(plan.bytes.values())
    assert newest(cluster) == before
    release = cluster.tags["dr1"].snapshot
    assert products(cluster._site.repository, release) == tagged
    assert cluster.verify_history().faults == ()
    assert [bad for one in cluster.verify() for bad in one.damages] == []
    alone = open_repository(cluster._site.repository.url)
    assert products(alone, alone.tip()) == before
    cluster = anew(cluster)
    assert newest(cluster) == before
    if rule:
        with pytest.raises(DatastoreError, match="nobody knows any more"):
            alone.paths(at=release)
        assert not cluster._site.repository.has(release)
    store(cluster._site.repository, MANY[:5], 7, False)
    catch_up(cluster._site.database, cluster._site.repository)
    after = newest(cluster)
    assert {p: one for p, one in after.items() if p not in MANY[:5]} == {
        p: one for p, one in before.items() if p not in MANY[:5]
    }


def test_what_a_restore_put_aside_stays_whole(make):
    cluster = make(RULE)
    repository, database = cluster._site.repository, cluster._site.database
    before = newest(cluster)
    repository.keep_whole("Say where all products are")
    repository.go_back(cluster.tags["dr1"].snapshot, "aside")
    catch_up(database, repository)
    store(repository, MANY[:3], 8, False)
    repository.drop_scaffold("scaffold-1")
    catch_up(database, repository)
    expire(cluster._site, NO_MARGIN)
    aside = repository._repo.lookup_tag("aside")
    alone = open_repository(repository.url)
    assert products(alone, aside) == before
    assert cluster.verify_history().faults == ()


def test_what_expired_is_never_read_in_part(make):
    cluster = make(RULE)
    repository = cluster._site.repository
    expired = expire(cluster._site, NO_MARGIN).expired
    for one in expired:
        for path in MANY:
            with pytest.raises(DatastoreError, match="expired on"):
                repository.session_of(path, one.snapshot)


def test_a_restore_takes_all_trees_back(make, tmp_path):
    cluster = make("")
    before = newest(cluster)
    cluster.backup(tmp_path / "records.db")
    for value in (5, 6):
        store(cluster._site.repository, [*MANY[2:6], "set-1/more"], value, False)
        cluster._site.repository.drop_scaffold("scaffold-1")
        catch_up(cluster._site.database, cluster._site.repository)
    after = newest(cluster)
    cluster = anew(cluster)
    assert newest(cluster) == after
    cluster.restore(tmp_path / "records.db")
    repository = cluster._site.repository
    assert newest(cluster) == before
    (tag,) = repository._repo.list_tags()
    alone = open_repository(repository.url)
    assert products(alone, repository._repo.lookup_tag(tag)) == after
    assert products(alone, alone.tip()) == before
    assert [bad for one in cluster.verify() for bad in one.damages] == []
