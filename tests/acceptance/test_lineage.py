"""What products were made of, and what depends on what: after a past with changes."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import update

import ziggy_dask as z
from tests.acceptance.mission import with_a_past
from ziggy_dask.errors import DatastoreError, DefinitionError
from ziggy_dask.interface.lineage import tree_lines
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records.code import Kind
from ziggy_dask.records.reasons import Used, differences
from ziggy_dask.records.tables import VersionRow


@pytest.fixture(scope="module")
def mission(tmp_path_factory, client) -> z.Cluster:
    return with_a_past(tmp_path_factory.mktemp("mission"), client)


def told(mission, *words):
    """Return what a command prints; it must end well."""
    file = str(mission._site.cluster.path)
    done = CliRunner().invoke(ziggy, ["--cluster", file, *words])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def shape(lineage):
    """Return the edges as instances and products: who made what of what."""

    def of(key):
        return lineage.versions[key].instance, key.path.rpartition("/")[2]

    return {
        (*of(edge.made), edge.relation.value, *of(edge.source))
        for edge in lineage.edges
    }


def test_history_tells_why_each_version_was_made(mission):
    reasons = [(one.instance, one.reason) for one in mission.history("night-1/levels")]
    assert [number for number, _ in reasons] == [2, 4, 7]
    assert reasons[0][1] == "new"
    assert "Calibration.bias: 1.0 → 5.0" in reasons[1][1]
    assert "code " in reasons[1][1]
    assert "input night-1/raw: version " in reasons[1][1]
    assert "Calibration.bias: 5.0 → 1.0" in reasons[2][1]
    assert "model flat: flat-7.txt → flat-8.txt" in reasons[2][1]
    raw = [one.reason for one in mission.history("night-1/raw")]
    assert raw == [f"delivery x-manifest.xml ({number})" for number in (11, 12, 13)]
    rows = json.loads(told(mission, "history", "night-1/levels", "--json"))
    assert [row["instance"] for row in rows] == [7, 4, 2]


def test_environments_that_differ_are_told_by_what_differs():
    def environment(**said):
        content = {"python": "3.12.1", "container": False, **said}
        return [Used(Kind.ENVIRONMENT, "", str(sorted(said)), content)]

    old = environment(packages={"a": "1", "b": "1"}, variables={})
    new = environment(packages={"a": "2", "c": "1"}, variables={"X": "4"}, python="4")
    assert list(differences(old, new)) == [
        "environment: python 3.12.1 → 4, package a 1 → 2, package b 1 → - and 2 more"
    ]
    assert list(differences(old, [*new, *old])) == ["environment"]


def test_lineage_goes_back_to_what_was_read_and_all_that_it_had(mission):
    after_4 = mission.lineage("night-1/levels", at=4)
    assert shape(after_4) == {
        (4, "levels", "read", 3, "raw"),
        (4, "levels", "read", 1, "flat"),
        (3, "raw", "kept", 1, "raw"),
    }
    [item] = [edge.item for edge in after_4.edges if edge.item]
    assert item.endswith("flat-7.txt")
    # All frames were delivered anew, so nothing of the first two deliveries is left.
    assert shape(mission.lineage("night-1/levels")) == {
        (7, "levels", "read", 5, "raw"),
        (7, "levels", "read", 5, "flat"),
    }


def test_files_of_several_instances_in_one_product_are_told(mission):
    found = shape(mission.lineage("night-1/notes"))
    assert (7, "notes", "kept", 4, "notes") in found
    assert (7, "notes", "kept", 2, "notes") in found
    assert (4, "notes", "read", 4, "levels") in found
    assert (2, "notes", "read", 2, "levels") in found
    assert (2, "levels", "read", 1, "raw") in found


def test_an_input_that_was_replaced_since_is_named_as_it_was_read(mission):
    weights = mission.lineage("night-1/weights", at=6)
    assert (6, "weights", "read", 4, "notes") in shape(weights)
    lines = [one.text for one in tree_lines(weights) if one.path == "night-1/notes"]
    assert "instance 4" in lines[0]
    assert "replaced since by version" in lines[0]


def test_lineage_goes_down_to_all_that_was_made_of_a_version(mission):
    found = shape(mission.lineage("night-1/raw", way="down", at=1))
    assert {one for one in found if one[1] == "raw"} == {(3, "raw", "kept", 1, "raw")}
    makers = {one[:2] for one in found if one[2] == "read"}
    assert makers == {
        *((number, "levels") for number in (2, 4)),
        *((number, "notes") for number in (2, 4)),
        *((number, "weights") for number in (2, 4, 6, 7)),
    }
    new = shape(mission.lineage("night-1/raw", way="down"))
    assert {one[:2] for one in new} == {(7, "levels"), (7, "notes"), (7, "weights")}
    steps = shape(mission.lineage("night-1/raw", way="down", at=1, depth=1))
    assert {one[:2] for one in steps} == {(2, "levels"), (3, "raw")}


def test_the_way_down_is_the_way_up_from_the_other_side(mission):
    """Each way finds the same, whichever end it begins at."""
    found: dict[object, set[object]] = {}
    for path in mission.datastore:
        for version in mission.history(path):
            up = mission.lineage(path, at=version.snapshot)
            for key, one in up.versions.items():
                if key not in found:
                    down = mission.lineage(key.path, way="down", at=one.snapshot)
                    found[key] = set(down.versions)
                assert version.key in found[key], (version.key, key)


def test_a_tree_shows_each_version_once(mission):
    text = told(mission, "lineage", "night-1/weights")
    assert text.startswith("night-1/weights  version ")
    assert "├── " in text
    assert "parts of version" in text
    lines = [line for line in text.splitlines() if "as above" not in line]
    assert len(set(lines)) == len(lines)
    graph = json.loads(told(mission, "lineage", "night-1/weights", "--json"))
    assert graph["direction"] == "up"
    assert {one["relation"] for one in graph["edges"]} == {"read", "kept"}


def test_products_that_are_not_there_are_refused_by_name(mission):
    with pytest.raises(DatastoreError, match="did you mean 'night-1/raw'"):
        mission.lineage("night-1/rav")
    with pytest.raises(DatastoreError, match="no product 'night-1/levels' at 1"):
        mission.lineage("night-1/levels", at=1)
    with pytest.raises(DefinitionError, match="'sideways'"):
        mission.lineage("night-1/raw", way="sideways")


def of(dependents, *, is_direct):
    """Return instances and products of dependents."""
    return {
        (one.version.instance, one.version.path.rpartition("/")[2])
        for one in dependents
        if one.is_direct is is_direct
    }


FIRST = (
    {(2, "levels")},
    {
        *((number, "notes") for number in (2, 4, 7)),
        *((number, "weights") for number in (2, 4, 6, 7)),
    },
)
SECOND = (
    {(4, "levels")},
    {
        *((number, "notes") for number in (4, 7)),
        *((number, "weights") for number in (4, 6, 7)),
    },
)
LAST = {(7, "levels")}, {(7, "notes"), (7, "weights")}


def union(*some):
    return tuple(set.union(*parts) for parts in zip(*some, strict=True))


@pytest.mark.parametrize(
    ("used", "name", "expected"),
    [
        ("parameter", "Calibration.bias=5", SECOND),
        ("parameter", "Calibration.bias=1.0", union(FIRST, LAST)),
        ("parameter", "Calibration.bias", union(FIRST, SECOND, LAST)),
        ("model", "flat@flat-7.txt", union(FIRST, SECOND)),
        ("model", "flat@flat-8.txt", LAST),
        ("file", "flat-8.txt", ({*LAST[0], (5, "flat")}, LAST[1])),
        ("delivery", "13", ({(5, "raw"), (5, "flat")}, LAST[0] | LAST[1])),
    ],
)
def test_which_finds_what_was_made_with_something(mission, used, name, expected):
    found = mission.which(used, name)
    assert of(found, is_direct=True) == expected[0]
    assert of(found, is_direct=False) == expected[1] - expected[0]


def test_which_follows_a_file_until_it_is_replaced(mission):
    kept = mission.which(
        "file", "f0.png"
    )  # of two deliveries, the first until the last
    assert of(kept, is_direct=True) == {(number, "raw") for number in (1, 3, 5)}
    replaced = mission.which("file", "night-1/raw/f3.png")
    assert of(replaced, is_direct=True) == {(3, "raw"), (5, "raw")}
    assert (2, "levels") not in of(replaced, is_direct=False)
    first = mission.which("delivery", "11")
    assert of(first, is_direct=True) >= {(1, "raw"), (3, "raw"), (1, "flat")}
    assert (5, "raw") not in of(first, is_direct=True)


def test_which_knows_packages_and_code(mission):
    everything = mission.which("package", "xarray>=2024")
    levels = {(number, "levels") for number in (2, 4, 7)}
    assert of(everything, is_direct=True) > levels
    assert mission.which("package", "xarray<2024") == []
    digest = mission.why("night-1/levels", at=2).code
    old = mission.which("code", digest[:12])
    assert of(old, is_direct=True) == {
        (2, name) for name in ("levels", "notes", "weights")
    }
    assert old == mission.which("code", "2")
    rows = json.loads(told(mission, "which", "code", "2", "--now", "--json"))
    assert {row["how"] for row in rows} <= {"by night-1/notes"}


@pytest.mark.parametrize(
    ("used", "name", "words"),
    [
        ("model", "flaz", "did you mean 'flat'"),
        ("model", "flat@flat-9.txt", "version of the model 'flat' 'flat-9.txt'"),
        ("parameter", "Calibration.bia", "did you mean 'Calibration.bias'"),
        ("parameter", "Calibration.bias=7", "there are: 1.0, 5.0"),
        ("code", "beef", "there are: "),
        ("package", "xarrai", "did you mean 'xarray'"),
        ("package", "xarray<<1", "as in 'scipy<1.15'"),
        ("delivery", "4", "there are: 11, 12, 13"),
        ("file", "f9.png", "no delivered file 'f9.png'"),
        ("weather", "rain", "weather"),
    ],
)
def test_unknown_names_are_refused_with_what_there_is(mission, used, name, words):
    with pytest.raises(z.ZiggyError) as caught:
        mission.which(used, name)
    assert words in str(caught.value)


def test_a_tag_is_a_state_that_can_be_read_by_its_name(mission):
    assert told(mission, "tag", "4", "dr1", "--note", "first").startswith("dr1 names ")
    try:
        datastore = mission.datastore
        assert datastore.at("dr1").snapshot == datastore.at(4).snapshot
        assert shape(mission.lineage("night-1/levels", at="dr1")) == shape(
            mission.lineage("night-1/levels", at=4)
        )
        assert told(mission, "datastore", "ls", "night-1/raw", "--at", "dr1") == (
            told(mission, "datastore", "ls", "night-1/raw", "--at", "4")
        )
        assert [one.tags for one in mission.history("night-1/levels")] == [
            (),
            ("dr1",),
            (),
        ]
        with pytest.raises(
            z.ZiggyError, match=r"tag 'dr1' already, of instance 4.*--move"
        ):
            mission.tag(7, "dr1")
        assert mission.tags["dr1"].instance == 4
        new, before = mission.tag(7, "dr1", moves=True)
        assert (new.instance, before.instance) == (7, 4)
        assert "dr1" in told(mission, "tags")
    finally:
        mission.untag("dr1")
    with pytest.raises(z.ZiggyError, match="no tag 'dr1'"):
        mission.datastore.at("dr1")


@pytest.mark.parametrize(
    "name", ["", "3", "1st", "a b", "a/b", "A" * 65, "-x", "ä", "a\n"]
)
def test_what_can_not_name_a_tag_is_refused(mission, name):
    with pytest.raises(DefinitionError, match="can't name a tag"):
        mission.tag(4, name)
    assert mission.tags == {}


def test_a_read_by_date_never_falls_between_two_commits(mission):
    """Replacing a product takes two commits; in the first one it is not there."""
    repository = mission._site.repository
    entries = list(repository._repo.ancestry(branch="main"))
    whole = {one.snapshot for one in repository.ancestry()}
    steps = [one for one in entries if one.id not in whole]
    assert steps
    datastore = mission.datastore
    for entry in entries[:-1]:
        assert datastore.at(entry.written_at).snapshot in whole
    for step in steps:
        assert "night-1/raw" in datastore.at(step.written_at)
        with pytest.raises(DatastoreError, match="is not a publication"):
            datastore.at(step.id)
    day = entries[0].written_at.date()
    assert datastore.at(day).snapshot == datastore.at(str(day)).snapshot
    assert datastore.at(day).snapshot == repository.tip()
    with pytest.raises(DatastoreError, match="nothing was published up to 1999"):
        datastore.at("1999-12-31")
    with pytest.raises(DefinitionError, match="is not a state of the datastore"):
        datastore.at("2026-13-45")


def test_verifying_names_the_delivery_of_a_damaged_item(mission):
    assert "sound" in told(mission, "verify", "night-1/raw")
    words = ["--cluster", str(mission._site.cluster.path), "verify", "night-1/raw"]
    named = []
    for file in sorted((mission._site.cluster.home / "datastore" / "chunks").iterdir()):
        whole = file.read_bytes()
        file.unlink()
        done = CliRunner().invoke(ziggy, [*words, "--json"])
        found = json.loads(done.output)["damages"]
        assert done.exit_code == (4 if found else 0)
        named += found
        file.write_bytes(whole)
    assert len(named) == 4
    for number, one in enumerate(sorted(named)):
        assert f"item f{number}, 'pixels', chunk {number},0,0" in one
        assert f"night-1/raw/f{number}.png of delivery x-manifest.xml" in one
    with pytest.raises(DatastoreError, match="did you mean 'night-1/raw'"):
        list(mission.verify("night-1/rav"))
    refused = CliRunner().invoke(ziggy, [*words[:-1]])
    assert "name products, or give --all" in refused.output


def test_diff_tells_what_was_run_and_how_values_differ(mission):
    found = mission.diff(2, 4)
    assert [line for line in found.code if line[:1] in "+-"][2:] == [
        "-GAIN = 2.0",
        "+GAIN = 3.0",
    ]
    assert (found.definitions, found.packages) == ((), ())
    by_path = {one.path: one for one in found.products}
    assert set(by_path) == {
        f"night-1/{k}" for k in ("raw", "levels", "notes", "weights")
    }
    assert found.same == 1  # the model
    levels = by_path["night-1/levels"]
    assert "Calibration.bias: 1.0 → 5.0" in levels.made_with
    extra, values = levels.values
    assert extra.note == "only in the second: f3"
    old, new = (mission.datastore.at(n)["night-1/levels"]["level"] for n in (2, 4))
    apart = np.abs(new.sel(item=old["item"]) - old)
    assert (values.variable, values.values, values.differing) == ("level", 3, 3)
    assert values.largest == float(apart.max())
    assert values.relative == float((apart / old).max())
    assert values.where == f"item={apart['item'].values[int(apart.values.argmax())]}"
    notes = [one.note for one in by_path["night-1/notes"].values]
    assert notes == ["only in the second: page-4.txt"]
    assert by_path["night-1/weights"].values == ()
    text = told(mission, "diff", "2", "4", "night-1/levels")
    assert "+GAIN = 3.0" in text
    assert "1 product differs" in text
    assert mission.diff(4, 4).products == ()
    assert all(not one.values for one in mission.diff(2, 4, values=False).products)
    with pytest.raises(DatastoreError, match="did you mean"):
        mission.diff(2, 4, "night-1/rav")


def all_lineage(cluster):
    """Return all edges and all that depends on some things, by how it was asked."""
    ways = [
        (p, w, at) for p in cluster.datastore for w in ("up", "down") for at in (4, 7)
    ]
    found = {
        way: {
            (one.made, one.source)
            for one in cluster.lineage(way[0], way=way[1], at=way[2]).edges
        }
        for way in ways
    }
    asked = [
        ("parameter", "Calibration.bias=5"),
        ("delivery", "12"),
        ("file", "f1.png"),
    ]
    for one in asked:
        found[one] = {(d.version.key, d.is_direct) for d in cluster.which(*one)}
    return found


def test_what_an_earlier_version_did_not_note_is_found_in_the_datastore(
    mission, tmp_path
):
    """Publications from before commits named tasks: products and plans tell."""
    copied = shutil.copytree(mission._site.cluster.path.parent, tmp_path / "copy")
    cluster = z.open(copied / "cluster.yaml")
    with cluster._site.database.writing() as connection:
        connection.execute(update(VersionRow).values(task=None, attempt=None))
    assert all_lineage(cluster) == all_lineage(mission)
