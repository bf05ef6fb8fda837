"""Deliveries, from a directory to the datastore."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from PIL import Image

import ziggy_dask as z
from tests.conftest import node
from ziggy_dask.engine import intake
from ziggy_dask.interface.main import ziggy
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.receipt.reading import read_acknowledgement

ALGORITHMS = """
    def name_of_model(raw, models):
        return raw.assign(version=("item", [models["flat"].data.decode()]))
"""


@pytest.fixture
def definition(code):
    """Images, spectra as files, tables as they are, and models."""
    place = z.Location

    def data_type(name, location, files, reader, **options):
        return z.DataType(
            name=name, location=place(location), files=files, reader=reader, **options
        )

    return z.Pipeline(
        name="mission",
        placeholders=(z.Placeholder(name="night", pattern="night-[0-9]"),),
        data_types=(
            data_type("raw", "{night}/raw", r"(f[0-9]+)\.png", "image", subtask="item"),
            data_type(
                "curve",
                "{night}/curves",
                r"(c[0-9]+)\.csv",
                "csv",
                kind=z.ProductKind.COLLECTION,
            ),
            data_type(
                "note", "{night}/notes", r".*\.txt", "bytes", kind=z.ProductKind.FILE
            ),
            data_type("table", "{night}/table", r"all\.csv", "csv"),
            z.DataType(name="out", location=place("{night}/out"), subtask="item"),
        ),
        model_types=(
            z.ModelType(name="flat", files=r"flat-([0-9]+)\.txt", version_group=1),
        ),
        nodes=(
            z.Node(name="receive", step=z.DataReceiptStep()),
            node("use", "name_of_model", "raw", "out", models=("flat",)),
        ),
        root=code(ALGORITHMS),
    )


def picture(path, value, size=(3, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, dtype="u1")).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def seal(directory, dataset_id):
    manifest = generate_manifest(directory, dataset_id, ChecksumType.SHA256)
    (directory / "x-manifest.xml").write_text(manifest_to_xml(manifest))


@pytest.fixture
def inbox(cluster, definition):
    """The receipt directory of a cluster that knows the pipeline, with a delivery."""
    cluster.register(definition)
    inbox = cluster._site.cluster.receipt
    for number in range(3):
        picture(inbox / "one" / "night-1" / "raw" / f"f{number}.png", number)
        text(
            inbox / "one" / "night-1" / "curves" / f"c{number}.csv",
            f"0,{number}\n1,2\n",
        )
    text(inbox / "one" / "night-1" / "notes" / "a.txt", "clouds")
    text(inbox / "one" / "night-1" / "table" / "all.csv", "1,2\n3,4\n")
    text(inbox / "one" / "models" / "flat-7.txt", "seven")
    seal(inbox / "one", 12)
    return inbox


def receive(cluster, inbox):
    return cluster.receive(inbox)


def test_every_kind_of_file_gets_to_its_product(cluster, inbox):
    instance = receive(cluster, inbox)
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
    night = cluster.datastore
    assert night["night-1/raw"]["pixels"].values[:, 0, 0].tolist() == [0, 1, 2]
    assert list(night["night-1/raw"]["item"].values) == ["f0", "f1", "f2"]
    curves = night["night-1/curves"]
    assert float(curves["c2"]["flux"][0]) == 2
    assert night["night-1/notes"] == {"a.txt": b"clouds"}
    assert night["night-1/table"]["flux"].values.tolist() == [2, 4]
    assert night["models/flat"].keys() == {
        name for name in night["models/flat"] if name.endswith("flat-7.txt")
    }


def test_what_was_taken_in_is_cleared_away_and_recorded(cluster, inbox):
    receive(cluster, inbox)
    assert list(inbox.iterdir()) == []
    kept = cluster._site.cluster.home / "log" / "manifests"
    assert sorted(path.name for path in kept.iterdir()) == [
        "x-manifest-ack.xml",
        "x-manifest.xml",
    ]
    acknowledgement = read_acknowledgement(kept / "x-manifest-ack.xml")
    assert acknowledgement.is_valid
    (delivery,) = cluster.deliveries
    assert (delivery.dataset_id, delivery.files, delivery.task) == (12, 9, 1)
    assert "<manifest" in delivery.manifest


def test_a_delivery_is_one_commit(cluster, inbox):
    before = len(cluster.datastore.history())
    receive(cluster, inbox)
    assert len(cluster.datastore.history()) == before + 1


def test_an_id_can_be_used_only_once(cluster, inbox):
    receive(cluster, inbox)
    picture(inbox / "two" / "night-2" / "raw" / "f0.png", 9)
    seal(inbox / "two", 12)
    instance = receive(cluster, inbox)
    assert instance.state.value == "ERRORS_STALLED"
    assert "datasetId 12 was delivered before" in instance.tasks[0].record.message
    assert instance.tasks[0].record.state == "ERROR - EXECUTING"
    assert "night-2/raw" not in cluster.datastore
    seal(inbox / "two", 0)
    assert receive(cluster, inbox).state.value == "COMPLETED"


def test_a_later_delivery_adds_items_and_replaces_those_that_come_again(cluster, inbox):
    receive(cluster, inbox)
    for number, value in ((1, 100), (5, 105)):
        picture(inbox / "two" / "night-1" / "raw" / f"f{number}.png", value)
    text(inbox / "two" / "night-1" / "curves" / "c1.csv", "0,7\n1,7\n2,7\n")
    seal(inbox / "two", 13)
    assert receive(cluster, inbox).state.value == "COMPLETED"
    raw = cluster.datastore["night-1/raw"]
    assert raw["pixels"].values[:, 0, 0].tolist() == [0, 100, 2, 105]
    assert list(raw["item"].values) == ["f0", "f1", "f2", "f5"]
    curves = cluster.datastore["night-1/curves"]
    assert set(curves.children) == {"c0", "c1", "c2"}
    assert curves["c1"].sizes["time"] == 3
    then = cluster.datastore.at(1)["night-1/raw"]
    assert then["pixels"].values[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda d: picture(d / "night-1/raw/f1.png", 77),
            "f1.png' has another size or",
        ),
        (lambda d: (d / "night-1/raw/f1.png").unlink(), "f1.png' is missing"),
        (
            lambda d: text(d / "night-1/raw/more.png", "x"),
            "1 files are there that it does",
        ),
        (lambda d: text(d / "y-manifest.xml", "<x/>"), "manifests"),
    ],
    ids=["corrupt", "missing", "extra", "two manifests"],
)
def test_a_bad_delivery_is_refused_whole_and_left_as_it_is(
    cluster, inbox, spoil, words
):
    spoil(inbox / "one")
    names = sorted(
        path.name for path in (inbox / "one").rglob("*") if "ack" not in path.name
    )
    snapshot = cluster.datastore.snapshot
    instance = receive(cluster, inbox)
    assert instance.state.value == "ERRORS_STALLED"
    assert words in instance.tasks[0].record.message
    assert cluster.datastore.snapshot == snapshot
    assert cluster.deliveries == []
    after = sorted(
        path.name for path in (inbox / "one").rglob("*") if "ack" not in path.name
    )
    assert after == names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("night-1/raw/g1.png", "belongs to no data type of pipeline 'mission'"),
        ("night-x/raw/f1.png", "belongs to no data type"),
        ("f1.png", "belongs to no data type"),
        ("models/dark-1.txt", "belongs to no model type"),
        ("models/deep/flat-1.txt", "belongs to no model type"),
    ],
)
def test_a_file_that_belongs_nowhere_is_refused(cluster, inbox, name, words):
    text(inbox / "two" / name, "x")
    seal(inbox / "two", 13)
    snapshot_before = cluster.datastore.history()
    instance = receive(cluster, inbox)
    task = next(t.record for t in instance.tasks if t.record.unit == "[two]")
    assert words in task.message
    assert len(cluster.datastore.history()) == len(snapshot_before) + 1
    assert "night-1/raw" in cluster.datastore


def test_images_of_different_shapes_are_refused_with_the_mend(cluster, inbox):
    picture(inbox / "two" / "night-2" / "raw" / "f0.png", 1)
    picture(inbox / "two" / "night-2" / "raw" / "f1.png", 1, size=(5, 5))
    seal(inbox / "two", 13)
    instance = receive(cluster, inbox)
    task = next(t.record for t in instance.tasks if t.record.unit == "[two]")
    assert "items of different shapes need 'kind: collection'" in task.message
    assert "night-2/raw" not in cluster.datastore


def test_a_broken_image_is_refused_with_its_name(cluster, inbox):
    text(inbox / "two" / "night-2" / "raw" / "f0.png", "no image")
    seal(inbox / "two", 13)
    instance = receive(cluster, inbox)
    task = next(t.record for t in instance.tasks if t.record.unit == "[two]")
    assert "f0.png: the reader 'image' can't read it" in task.message
    file = ["--cluster", str(cluster._site.cluster.path)]
    shown = CliRunner().invoke(ziggy, [*file, "failures", str(instance.id)])
    assert shown.exit_code == 0
    assert f"task {task.id} receive [two]: {task.message}" in shown.output
    assert "[one]" not in shown.output


def test_without_a_manifest_the_directory_stays_as_it_is(cluster, definition, tmp_path):
    cluster.register(definition)
    picture(tmp_path / "plain" / "night-3" / "raw" / "f0.png", 3)
    instance = cluster.receive(tmp_path / "plain", needs_manifest=False)
    assert instance.state.value == "COMPLETED"
    assert (tmp_path / "plain" / "night-3" / "raw" / "f0.png").exists()
    assert cluster.datastore["night-3/raw"]["pixels"].shape == (1, 3, 4)


def test_without_a_manifest_what_is_changed_after_the_look_is_not_stored(
    cluster, definition, tmp_path, monkeypatch
):
    cluster.register(definition)
    note = tmp_path / "plain" / "night-3" / "notes" / "a.txt"
    note.parent.mkdir(parents=True)
    note.write_text("first")
    accept = intake.accept

    def accept_then_change(*args, **options):
        accepted = accept(*args, **options)
        note.write_text("other")
        return accepted

    monkeypatch.setattr(intake, "accept", accept_then_change)
    instance = cluster.receive(tmp_path / "plain", needs_manifest=False)
    assert instance.state.value == "ERRORS_STALLED"
    assert "a.txt: was changed after it was checked" in instance.tasks[0].record.message
    assert "night-3/notes" not in cluster.datastore


def test_the_plan_counts_what_waits_as_received(cluster, inbox):
    plan = cluster.plan("mission")
    assert [(t.node, t.unit.name, t.count) for t in plan.tasks] == [
        ("use", "[night-1]", 3)
    ]
    assert "night-1/raw" not in cluster.datastore


def test_an_algorithm_gets_the_current_model_under_its_name(cluster, inbox, client):
    instance = cluster.run("mission", client=client)
    assert instance.state.value == "COMPLETED", [
        t.record.message for t in instance.tasks
    ]
    assert set(cluster.datastore["night-1/out"]["version"].values) == {"seven"}
    text(inbox / "two" / "models" / "flat-8.txt", "eight")
    seal(inbox / "two", 14)
    second = cluster.run("mission", client=client)
    assert second.state.value == "COMPLETED"
    assert set(cluster.datastore["night-1/out"]["version"].values) == {"eight"}
    assert set(cluster.datastore.at(instance)["night-1/out"]["version"].values) == {
        "seven"
    }


def test_the_models_are_listed_and_kept_in_the_inputs_of_a_task(cluster, inbox, client):
    instance = cluster.run("mission", client=client)
    (version,) = cluster.models["flat"]
    assert (version.original, version.revision) == ("flat-7.txt", "7")
    (use,) = [task.record for task in instance.tasks if task.record.node == "use"]
    assert set(use.inputs) == {"night-1/raw", f"models/flat/{version.stored}"}
    listed = CliRunner().invoke(
        ziggy, ["--cluster", str(cluster._site.cluster.path), "models", "--json"]
    )
    (row,) = json.loads(listed.stdout)
    assert (row["type"], row["file"], row["version"]) == ("flat", "flat-7.txt", "7")


def test_each_unit_gets_the_model_of_its_time(cluster, definition, tmp_path, client):
    """A reprocessing of old data does not use the newest model."""
    flat = z.ModelType(
        name="flat",
        files=r"flat-([0-9]+)\.txt",
        observed="night",
        valid_from_group=1,
    )
    cluster.register(dataclasses.replace(definition, model_types=(flat,)))
    plain = tmp_path / "plain"
    for night in (3, 6, 9):
        picture(plain / f"night-{night}" / "raw" / "f0.png", night)
    text(plain / "models" / "flat-5.txt", "from five on")
    cluster.receive(plain, needs_manifest=False)
    with pytest.raises(
        z.DefinitionError,
        match="applies to night 'night-3'; there are 'flat-5.txt' from 5",
    ):
        cluster.run("mission", start="use", client=client)
    text(plain / "models" / "flat-8.txt", "from eight on")
    text(plain / "models" / "flat-1.txt", "from one on")
    (plain / "models" / "flat-5.txt").unlink()
    cluster.receive(plain, needs_manifest=False)
    assert cluster.run("mission", start="use", client=client).state.value == "COMPLETED"
    used = {
        night: str(cluster.datastore[f"night-{night}/out"]["version"].values[0])
        for night in (3, 6, 9)
    }
    assert used == {3: "from one on", 6: "from five on", 9: "from eight on"}


def test_an_older_model_is_refused(cluster, inbox):
    receive(cluster, inbox)
    text(inbox / "two" / "models" / "flat-6.txt", "six")
    seal(inbox / "two", 15)
    instance = receive(cluster, inbox)
    assert "a new version must be greater" in instance.tasks[0].record.message


def test_a_model_that_was_never_delivered_is_missed_before_anything_runs(
    cluster, definition, tmp_path, client
):
    cluster.register(definition)
    picture(tmp_path / "plain" / "night-3" / "raw" / "f0.png", 3)
    cluster.receive(tmp_path / "plain", needs_manifest=False)
    with pytest.raises(
        z.DefinitionError, match="uses the model type 'flat', of which none"
    ):
        cluster.run("mission", client=client)
    assert cluster.instance(2).state.value == "TRANSITION_FAILED"


def test_an_acknowledgement_that_can_not_be_written_fails_the_delivery(cluster, inbox):
    (inbox / "one" / "x-manifest-ack.xml").mkdir()
    instance = receive(cluster, inbox)
    assert instance.state.value == "ERRORS_STALLED"
    assert "x-manifest-ack.xml: can't be written" in instance.tasks[0].record.message
    assert list(cluster.datastore) == []


def test_no_link_is_followed_where_the_acknowledgement_is_written(
    cluster, inbox, tmp_path
):
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    (inbox / "one" / ".x-manifest-ack.xml.partial").symlink_to(precious)
    assert receive(cluster, inbox).state.value == "COMPLETED"
    assert precious.read_text() == "keep me"


def test_a_delivery_that_can_not_be_cleared_away_is_stored_and_told_of(cluster, inbox):
    (cluster._site.cluster.home / "log").write_text("in the way")
    instance = receive(cluster, inbox)
    assert instance.state.value == "COMPLETED"
    (told,) = cluster.alerts
    assert told.message.startswith(
        "the delivery [one] is stored, but could not be cleared away; take away "
        f"{inbox / 'one'}: "
    )
    assert [one.dataset_id for one in cluster.deliveries] == [12]
    assert receive(cluster, inbox).state.value == "ERRORS_STALLED"


def test_a_manifest_in_another_encoding_is_recorded_by_what_it_says(cluster, inbox):
    path = inbox / "one" / "x-manifest.xml"
    (inbox / "one" / "night-1" / "notes" / "a.txt").rename(
        inbox / "one" / "night-1" / "notes" / "é.txt"
    )
    text = path.read_text().replace("a.txt", "é.txt").replace("UTF-8", "ISO-8859-1")
    path.write_text(text, encoding="latin-1")
    assert receive(cluster, inbox).state.value == "COMPLETED"
    assert cluster.datastore["night-1/notes"] == {"é.txt": b"clouds"}
    assert "night-1/notes/é.txt" in cluster.deliveries[0].manifest


def test_files_that_can_not_be_stored_are_not_acknowledged_as_valid(cluster, inbox):
    """All of them are named, and nothing is left in the middle."""
    for number in (1, 4):
        text(inbox / "one" / "night-1" / "curves" / f"c{number}.csv", "t,x\n1,here\n")
    seal(inbox / "one", 12)
    instance = receive(cluster, inbox)
    (task,) = [task.record for task in instance.tasks]
    assert instance.state.value == "ERRORS_STALLED"
    assert "2 files can't be taken in" in task.message
    assert "c1.csv:2: column 'x': 'here'" in task.message
    found = read_acknowledgement(inbox / "one" / "x-manifest-ack.xml")
    assert not found.is_valid
    bad = {file.name for file in found.files if not file.is_valid}
    assert bad == {"night-1/curves/c1.csv", "night-1/curves/c4.csv"}
    assert list(cluster.datastore) == []
    assert (inbox / "one" / "night-1" / "raw" / "f0.png").exists()


def test_what_nobody_foresaw_ends_as_a_refusal(cluster, inbox, monkeypatch):
    def fails(*_arguments, **_options):
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("ziggy_dask.engine.intake.store_delivery", fails)
    instance = receive(cluster, inbox)
    (task,) = [task.record for task in instance.tasks]
    assert task.state == "ERROR - STORING"
    assert "ZeroDivisionError: nobody thought of this" in task.message
    found = read_acknowledgement(inbox / "one" / "x-manifest-ack.xml")
    assert not any(file.is_valid for file in found.files)


def test_what_was_not_read_of_a_file_is_an_alert(cluster, definition, tmp_path):
    orbit = z.DataType(
        name="orbit",
        location=z.Location("orbits"),
        kind=z.ProductKind.COLLECTION,
        files=r"(.+)\.nc",
        reader="netcdf",
        reader_options=(("group", "PRODUCT"),),
    )
    types = (*definition.data_types, orbit)
    cluster.register(dataclasses.replace(definition, data_types=types))
    tree = xr.DataTree.from_dict(
        {
            "/PRODUCT": xr.Dataset({"methane": ("n", [1.0])}),
            "/METADATA": xr.Dataset(attrs={"version": "1.7"}),
        }
    )
    (tmp_path / "plain" / "orbits").mkdir(parents=True)
    tree.to_netcdf(tmp_path / "plain" / "orbits" / "a.nc", engine="h5netcdf")
    instance = cluster.receive(tmp_path / "plain", needs_manifest=False)
    assert instance.state.value == "COMPLETED"
    (told,) = cluster.alerts
    assert "orbits/a.nc: groups not read: /METADATA" in told.message
    assert cluster.datastore["orbits"]["a"]["methane"].values.tolist() == [1.0]
