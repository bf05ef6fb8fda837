"""An RO-Crate says what is so: files, digests, references, who made what of what."""

import csv
import hashlib
import json
import shutil
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.acceptance.mission import edit
from ziggy_dask.interface.cluster import open_cluster
from ziggy_dask.interface.main import ziggy


def exported(past, place, number=4, **options):
    cluster = open_cluster(past / "cluster.yaml")
    crate = cluster.export_crate(number, place / "crate", **options)
    content = json.loads((crate / "ro-crate-metadata.json").read_text())
    graph = {one["@id"]: one for one in content["@graph"]}
    assert len(graph) == len(content["@graph"]), "an identity is there twice"
    return crate, graph


def references(value, key=""):
    """Yield all references below a value."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        else:
            for name, one in value.items():
                yield from references(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from references(one, key)


def kinds(one):
    found = one["@type"]
    return set(found) if isinstance(found, list) else {found}


@pytest.mark.parametrize("data", [False, True])
def test_all_files_are_there_with_size_and_digest(past, tmp_path, data):
    crate, graph = exported(past, tmp_path, data=data)
    files = {key: one for key, one in graph.items() if "File" in kinds(one)}
    there = {
        str(one.relative_to(crate))
        for one in crate.rglob("*")
        if one.is_file() and one.name != "ro-crate-metadata.json"
    }
    assert {unquote(key) for key in files} == there
    assert any(name.startswith("data/") for name in there) is data
    assert any(name.endswith("algorithms.py") for name in there)
    for key, one in files.items():
        content = (crate / unquote(key)).read_bytes()
        assert one["contentSize"] == str(len(content))
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
    assert {one["@id"] for one in graph["./"]["hasPart"]} == set(files)


def test_nothing_refers_to_what_is_not_there(past, tmp_path):
    _, graph = exported(past, tmp_path, data=True)
    for one in graph.values():
        for key in references({k: v for k, v in one.items() if k != "@id"}):
            assert key in graph or key.startswith(("http://", "https://")), key
    for one in graph.values():
        if one["@id"].startswith(("http://schema.org", "https://w3id.org/ro/crate")):
            continue
        assert one["@id"] == "ro-crate-metadata.json" or any(
            one["@id"]
            in set(references({k: v for k, v in other.items() if k != "@id"}))
            for other in graph.values()
        ), f"nobody refers to {one['@id']}"


def test_actions_say_what_each_task_read_and_made(past, tmp_path):
    """As lineage and the records do."""
    cluster = open_cluster(past / "cluster.yaml")
    crate, graph = exported(past, tmp_path)
    tasks = cluster.instance(4).task_records
    actions = {
        key: one
        for key, one in graph.items()
        if kinds(one) == {"CreateAction"} and key.startswith("#task-")
    }
    assert set(actions) == {f"#task-{one.id}" for one in tasks}
    measure = next(one for one in tasks if one.node == "measure")
    action = actions[f"#task-{measure.id}"]
    names = {graph[key["@id"]]["name"] for key in action["object"]}
    levels = cluster.lineage("night-1/levels", at=4)
    raw = next(k for k in levels.versions if k.path == "night-1/raw" and k.number > 3)
    assert f"night-1/raw, version {raw.number}" in names
    assert any(name.endswith("flat-7.txt") or "flat-7" in name for name in names)
    values = [graph[k["@id"]] for k in action["object"] if "parameters" in k["@id"]]
    assert '"bias"' in values[0]["value"]
    assert "5.0" in values[0]["value"]
    [made] = action["result"]
    assert graph[made["@id"]]["name"].startswith("night-1/levels, version ")
    assert action["actionStatus"] == {"@id": "http://schema.org/CompletedActionStatus"}
    assert action["endTime"] >= action["startTime"]
    whole = graph["#instance-4"]
    assert {one["@id"] for one in whole["result"]} == {
        key["@id"] for one in actions.values() for key in one["result"]
    }
    rows = list(csv.DictReader((crate / "subtasks.csv").open()))
    assert len(rows) == sum(one.total for one in tasks)
    assert {row["state"] for row in rows} == {"COMPLETE"}


def test_a_product_names_earlier_versions_of_which_it_has_files(past, tmp_path):
    cluster = open_cluster(past / "cluster.yaml")
    _, graph = exported(past, tmp_path)
    [notes] = [
        one
        for key, one in graph.items()
        if "night-1/notes@" in key and "isBasedOn" in one
    ]
    [earlier] = [graph[one["@id"]] for one in notes["isBasedOn"]]
    first = cluster.history("night-1/notes")[0]
    assert earlier["name"] == f"night-1/notes, version {first.number}"
    assert not any("levels" in key and "isBasedOn" in one for key, one in graph.items())


def test_a_task_that_failed_says_so(past, tmp_path, client):
    shutil.copytree(past, tmp_path / "copy")
    cluster = open_cluster(tmp_path / "copy" / "cluster.yaml")
    edit(tmp_path / "copy" / "code", 2.0)
    file = tmp_path / "copy" / "code" / "algorithms.py"
    file.write_text(file.read_text().replace("* GAIN", "* None"))
    assert cluster.run("mission", client=client).id == 8
    _, graph = exported(tmp_path / "copy", tmp_path, 8)
    failed = [one for one in graph.values() if "error" in one]
    assert failed
    assert all(
        one["actionStatus"] == {"@id": "http://schema.org/FailedActionStatus"}
        for one in failed
    )


def test_a_crate_replaces_nothing_and_leaves_nothing_when_refused(past, tmp_path):
    exported(past, tmp_path)
    file = str(past / "cluster.yaml")
    words = ["--cluster", file, "export-crate", "4", str(tmp_path / "crate")]
    with pytest.raises(z.ClusterError, match="never replaces anything"):
        CliRunner().invoke(ziggy, words, catch_exceptions=False)
    with pytest.raises(z.ClusterError, match="instance 1 ran no task"):
        exported(past, tmp_path / "other", 1)
    with pytest.raises(z.RecordsError, match="99"):
        exported(past, tmp_path / "other", 99)
    assert [one.name for one in tmp_path.iterdir()] == ["crate"]


def test_a_license_that_was_not_given_is_told(past, tmp_path):
    _, graph = exported(past, tmp_path)
    named = graph[graph["./"]["license"]["@id"]]
    assert "Not stated" in named["name"]
    url = "https://spdx.org/licenses/CC-BY-4.0"
    _, graph = exported(past, tmp_path / "two", license=url)
    assert graph["./"]["license"] == {"@id": url}
