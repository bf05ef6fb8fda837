"""Exports for archives hold what their standards ask for, and say what is on record."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import icechunk
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from datacite import schema45
from prov.model import ProvDocument
from pystac import Catalog, Item
from pystac.validation import validate_dict

import ziggy_dask as z
from ziggy_dask.interface.cluster import open_cluster
from ziggy_dask.interface.main import ziggy


def run(past, *words):
    return CliRunner().invoke(
        ziggy,
        ["--cluster", str(past / "cluster.yaml"), *map(str, words)],
        catch_exceptions=False,
    )


@pytest.fixture
def prov_of(past, tmp_path):
    def exported(number, place=past):
        cluster = open_cluster(place / "cluster.yaml")
        file = cluster.export_prov(number, tmp_path / "prov.json")
        return cluster, json.loads(file.read_text())

    return exported


def test_prov_reads_what_was_written(prov_of):
    """By W3C's own model, with nothing left out."""
    _, written = prov_of(4)
    document = ProvDocument.deserialize(content=json.dumps(written), format="json")
    again = json.loads(document.serialize(format="json"))
    assert {kind: len(some) for kind, some in again.items()} == {
        kind: len(some) for kind, some in written.items()
    }
    names = written["entity"].keys() | written["activity"].keys()
    names |= written["agent"].keys()
    for kind in ("used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith"):
        for relation in written[kind].values():
            ends = {v for k, v in relation.items() if k != "prov:role"}
            assert ends <= names, kind


def test_prov_says_of_each_product_what_lineage_says(prov_of):
    cluster, written = prov_of(4)
    for task in cluster.instance(4).task_records:
        name = f"ziggy:task/{task.id}/{task.attempt}"
        activity = written["activity"][name]
        subtasks = list(cluster.task(task.id).subtasks)
        assert activity["ziggy:complete_subtasks"] == len(subtasks)
        assert datetime.fromisoformat(activity["prov:startTime"]) <= min(
            one.started for one in subtasks
        )
        made = {
            one["prov:entity"]
            for one in written["wasGeneratedBy"].values()
            if one["prov:activity"] == name
        }
        read = {
            one["prov:entity"]
            for one in written["used"].values()
            if one["prov:activity"] == name and one["prov:role"] == "input"
        }
        for product in made:
            path, _, number = product.removeprefix("ziggy:product/").partition("@")
            (version,) = [v for v in cluster.history(path) if v.number == int(number)]
            assert version.task == task.id
        assert {unquote(one).partition("@")[0] for one in read} == {
            f"ziggy:product/{path}" for path in task.inputs
        }
        assert made


def test_prov_derives_a_product_from_those_of_which_it_has_files(prov_of):
    cluster, written = prov_of(4)
    first, second, _ = [v.number for v in cluster.history("night-1/notes")]
    sources = {
        one["prov:usedEntity"].partition("product/")[2]
        for one in written["wasDerivedFrom"].values()
        if one["prov:generatedEntity"].endswith(f"night-1/notes@{second}")
    }
    levels = cluster.why("night-1/notes", at=4).inputs["night-1/levels"]
    [read] = [v for v in cluster.history("night-1/levels") if v.snapshot == levels]
    assert sources == {f"night-1/notes@{first}", f"night-1/levels@{read.number}"}


def test_prov_names_the_code_and_the_values_that_why_names(prov_of):
    cluster, written = prov_of(4)
    why = cluster.why("night-1/levels", at=4)
    task = f"ziggy:task/{why.origin.task}/0"
    used = [o for o in written["used"].values() if o["prov:activity"] == task]
    values = [
        written["entity"][one["prov:entity"]]["prov:value"]
        for one in used
        if one["prov:role"] == "parameters"
    ]
    assert json.loads(values[0])["parameters"] == [["bias", "double", "5.0"]]
    assert f"ziggy:code/{why.code}" in {one["prov:entity"] for one in used}
    assert {one["prov:role"] for one in used} == {
        "input",
        "code",
        "parameters",
        "environment",
        "node",
    }


def test_stac_items_are_valid_and_lead_to_the_products(past, tmp_path):
    cluster = open_cluster(past / "cluster.yaml")
    place = cluster.export_stac(tmp_path / "archive")
    catalog = Catalog.from_file(str(place / "catalog.json"))
    assert validate_dict(json.loads((place / "catalog.json").read_text()))
    items = {one.id: one for one in catalog.get_items()}
    assert set(items) == set(cluster.datastore)
    for path, item in items.items():
        validate_dict(item.to_dict())
        assert item.get_root().id == catalog.id
        version = cluster.history(path)[-1]
        assert item.datetime == version.time
        assert item.properties["ziggy:version"] == version.number
        asset = item.assets["product"]
        storage = icechunk.local_filesystem_storage(asset.href.removeprefix("file://"))
        session = icechunk.Repository.open(storage).readonly_session(
            snapshot_id=asset.extra_fields["icechunk:snapshot_id"]
        )
        assert asset.extra_fields["zarr:group"] in zarr.open_group(
            session.store, mode="r"
        )


def test_stac_of_a_release_with_its_files(past, tmp_path):
    cluster = open_cluster(past / "cluster.yaml")
    words = ["export-stac", tmp_path / "archive", "night-1/levels", "--at", "4"]
    assert run(past, *words, "--data").exit_code == 0
    assert (tmp_path / "archive" / "items" / "night-1" / "levels").is_dir()
    file = tmp_path / "archive" / "items" / "night-1" / "levels" / "item.json"
    item = Item.from_file(str(file))
    then = cluster.datastore.at(4)
    for asset in item.assets.values():
        content = Path(asset.get_absolute_href()).read_bytes()
        assert asset.extra_fields["file:size"] == len(content)
        digest = hashlib.sha256(content).hexdigest()
        assert asset.extra_fields["file:checksum"] == f"1220{digest}"
    (name,) = item.assets
    with xr.open_dataset(
        item.assets[name].get_absolute_href(), engine="h5netcdf"
    ) as found:
        xr.testing.assert_equal(found.load(), then["night-1/levels"].load())


def test_datacite_is_valid_and_asks_for_what_is_not_on_record(past, tmp_path):
    cluster = open_cluster(past / "cluster.yaml")
    if "dr1" not in cluster.tags:
        cluster.tag(4, "dr1", note="First release")
    file = tmp_path / "datacite-dr1.json"
    words = ["export-datacite", "dr1", file, "--publisher", "Our institute"]
    said = run(past, *words)
    assert said.exit_code == 2
    assert "--creator" in said.output
    assert not file.exists()
    assert run(past, *words, "--creator", "Doe, Jo", "--year", 2026).exit_code == 0
    content = json.loads(file.read_text())
    schema45.validate(content)
    assert content["creators"] == [{"name": "Doe, Jo"}]
    assert content["publicationYear"] == "2026"
    assert (
        content["alternateIdentifiers"][0]["alternateIdentifier"]
        == cluster.tags["dr1"].snapshot
    )
    with pytest.raises(z.DefinitionError, match="at least one creator"):
        cluster.export_datacite(
            "dr1", tmp_path / "new.json", creators=[], publisher="Our institute"
        )


@pytest.mark.parametrize(
    "words",
    [
        ("export-prov", 4, "taken"),
        ("export-stac", "taken"),
        ("export-stac", "new", "night-9/levels"),
        ("export-prov", 99, "new"),
        ("export-datacite", "dr9", "new", "--creator", "Jo", "--publisher", "We"),
    ],
)
def test_what_is_refused_leaves_nothing_and_replaces_nothing(past, tmp_path, words):
    (tmp_path / "taken").symlink_to(tmp_path / "gone")
    found = ["taken", "new"]
    with pytest.raises(z.ZiggyError) as error:
        run(past, *(tmp_path / one if one in found else one for one in words))
    assert any(str(one) in str(error.value) for one in words)
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]
