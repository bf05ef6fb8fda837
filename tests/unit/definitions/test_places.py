"""Where things of a cluster lie, whatever its directory is called."""

from pathlib import Path

import pytest

from ziggy_dask.definitions import read_cluster
from ziggy_dask.errors import DefinitionError
from ziggy_dask.records.engines import make_engine

NAMES = [
    "$HOME",
    "${HOME}",
    "~",
    "a b",
    "50%",
    "%41",
    "x?y",
    "a#b",
    "a:b",
    "x@y",
    "ünï",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "home", ["", "home: ./home\n", "home: ./home\nreceipt: ./in\n"]
)
def test_a_directory_is_what_it_is_called(name, home, tmp_path):
    place = tmp_path / name
    place.mkdir()
    (place / "cluster.yaml").write_text(f"cluster: test\n{home}")
    cluster = read_cluster(place / "cluster.yaml")
    where = place / "home" if home else tmp_path / ".ziggy" / "test"
    assert cluster.home == where
    assert Path(cluster.datastore) == where / "datastore"
    assert cluster.receipt == (place / "in" if "in\n" in home else where / "receipt")
    assert cluster.programs.work == where / "work"
    assert make_engine(cluster.database.url).url.database == str(where / "ziggy.db")


def test_variables_in_what_is_given_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path / "x"))
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: test\nhome: $PLACE/home\ndatabase: sqlite:///$PLACE/a%20b.db\n"
    )
    cluster = read_cluster(file)
    assert cluster.home == tmp_path / "x" / "home"
    database = make_engine(cluster.database.url).url.database
    assert database == str(tmp_path / "x" / "a b.db")


def test_options_of_a_database_file_are_refused(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\ndatabase: sqlite:///a.db?mode=ro\n")
    with pytest.raises(DefinitionError, match="takes no options"):
        read_cluster(file)
