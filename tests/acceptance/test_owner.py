"""A database and a datastore belong to one cluster, and to each other."""

from __future__ import annotations

import shutil

import pytest

import ziggy_dask as z
from tests.conftest import images, store
from ziggy_dask.errors import DatastoreError, RecordsError, ZiggyError
from ziggy_dask.records.owner import owner

LINES = "cluster: {name}\nhome: ./{home}\ncompute: {{local: {{workers: 1}}}}\n"


@pytest.fixture
def named(tmp_path):
    """Write a cluster file, with further lines."""

    def write(name: str, home: str, more: str = ""):
        file = tmp_path / f"{name}-{home}.yaml"
        file.write_text(LINES.format(name=name, home=home) + more)
        return file

    return write


def test_the_database_of_another_cluster_is_refused_by_name(named, tmp_path):
    z.create(named("lab", "one"))
    more = f"database: sqlite:///{tmp_path}/one/ziggy.db\n"
    other = named("other", "two", more)
    words = "the database belongs to cluster 'lab', not to 'other'"
    for _ in range(2):
        with pytest.raises(RecordsError, match=words):
            z.create(other)
    assert not (tmp_path / "two" / "datastore").exists()
    assert list(z.open(named("lab", "one")).instances) == []


def test_the_datastore_of_another_cluster_is_refused_by_name(named, tmp_path):
    z.create(named("lab", "one"))
    other = named("other", "two", f"datastore: {tmp_path}/one/datastore\n")
    with pytest.raises(
        DatastoreError, match="belongs to cluster 'lab', not to 'other'"
    ):
        z.create(other)
    assert not (tmp_path / "two").exists()


def test_a_name_that_was_changed_is_refused_with_the_one_that_it_was(named):
    z.create(named("my lab", "one"))
    changed = named("your lab", "one")
    for use in (z.create, z.open):
        with pytest.raises(ZiggyError, match="write 'cluster: my lab'"):
            use(changed)


def test_two_of_one_name_are_told_apart(named, tmp_path):
    z.create(named("lab", "one"))
    z.create(named("lab", "two"))
    mixed = named(
        "lab",
        "three",
        f"datastore: {tmp_path}/one/datastore\ndatabase: sqlite:///{tmp_path}/two/ziggy.db\n",
    )
    for use in (z.create, z.open):
        with pytest.raises(
            DatastoreError, match="belongs to another database of a cluster 'lab'"
        ):
            use(mixed)


def test_a_new_datastore_in_place_of_one_that_has_something_is_refused(named, tmp_path):
    cluster = z.create(named("lab", "one"))
    store(cluster, {"set-1/in": images(1)})
    z.create(named("lab", "one"))  # what the datastore has is in the catalogue now
    lost = named("lab", "one", f"datastore: {tmp_path}/elsewhere\n")
    with pytest.raises(DatastoreError, match="is new, but the database tells of"):
        z.create(lost)


def test_a_copy_and_a_new_database_beside_a_datastore_belong_to_the_cluster(
    named, tmp_path
):
    cluster = z.create(named("lab", "one"))
    before = owner(cluster._site.database)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    copy = z.open(named("lab", "copy"))
    assert owner(copy._site.database) == copy._site.repository.owner == before
    anew = z.create(named("lab", "anew", f"datastore: {tmp_path}/one/datastore\n"))
    assert owner(anew._site.database) == before
    assert anew._site.repository.scaffolds == []
