"""What was taken in is recorded as that, once, whatever comes into its place or fails after."""

import errno

import pytest

import ziggy_dask as z
from ziggy_dask.datastore.repository import Repository
from ziggy_dask.engine import disk_space
from ziggy_dask.errors import DatastoreError
from ziggy_dask.interface.cluster import create_cluster, open_cluster
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.records import outcomes


class Killed(BaseException):
    """The supervisor was killed."""


@pytest.fixture
def mission(tmp_path):
    def made(bad_files="refuse"):
        file = tmp_path / "cluster.yaml"
        file.write_text("cluster: test\nhome: ./home\ncompute: {local: {workers: 1}}\n")
        cluster = create_cluster(file)
        cluster.register(
            z.Pipeline(
                name="mission",
                placeholders=(z.Placeholder(name="night", pattern="night-[0-9]"),),
                data_types=(
                    z.DataType(
                        name="note",
                        location=z.Location("{night}/notes"),
                        files=r".*\.txt",
                        reader="bytes",
                        kind=z.ProductKind.FILE,
                    ),
                ),
                model_types=(z.ModelType(name="flat", files=r"flat-[0-9]+\.bin"),),
                nodes=(
                    z.Node(name="receive", step=z.DataReceiptStep(bad_files=bad_files)),
                ),
                root=None,
            )
        )
        return cluster

    return made


def put(directory, number, **files):
    """Write files of a delivery, by night, and its manifest."""
    for night, text in files.items():
        file = directory / night.replace("_", "-") / "notes" / "a.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if number:
        manifest = generate_manifest(directory, number, ChecksumType.SHA256)
        (directory / "x-manifest.xml").write_text(manifest_to_xml(manifest))


def notes(cluster):
    return {
        path: cluster.datastore.file(path, "a.txt").data.decode()
        for path in cluster.datastore
    }


def receipt(cluster):
    return cluster._site.cluster.receipt


def test_a_new_delivery_in_the_place_of_one_that_was_taken_in_waits(mission):
    cluster = mission()
    inbox = receipt(cluster)
    put(inbox / "one", 1, night_1="first")
    put(inbox / "two", 2, night_2="good")
    put(inbox / "two", 0, night_2="bad!")
    first = cluster.receive(inbox)
    assert first.state.value == "ERRORS_STALLED"
    put(inbox / "two", 2, night_2="good")
    put(inbox / "one", 3, night_7="new")
    (again,) = cluster.restart(instance=first.id)
    assert again.state.value == "COMPLETED"
    (said,) = [one.message for one in cluster.alerts if "by task 1" in one.message]
    assert said.endswith(f"; {inbox / 'one'} has another one by now, which waits")
    assert notes(cluster) == {"night-1/notes": "first", "night-2/notes": "good"}
    assert cluster.receive(inbox).state.value == "COMPLETED"
    assert notes(cluster)["night-7/notes"] == "new"
    assert sorted(one.dataset_id for one in cluster.deliveries) == [1, 2, 3]
    assert list(inbox.iterdir()) == []


@pytest.fixture
def killed(monkeypatch):
    """Kill the supervisor between a commit and its record."""

    def die(*given, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "publish", die)
        yield patch


def test_what_was_added_after_a_kill_is_not_taken_for_what_was_stored(mission, killed):
    cluster = mission()
    inbox = receipt(cluster)
    put(inbox / "one", 1, night_1="first")
    with pytest.raises(Killed):
        cluster.receive(inbox)
    killed.undo()
    put(inbox / "one", 2, night_2="added")
    cluster = open_cluster(cluster._site.cluster.path)
    assert cluster.resume().state.value == "COMPLETED"
    assert any("could not be put on record" in one.message for one in cluster.alerts)
    assert cluster.deliveries == []
    assert notes(cluster) == {"night-1/notes": "first"}
    cluster.receive(inbox)
    assert notes(cluster) == {"night-1/notes": "first", "night-2/notes": "added"}
    assert [(one.dataset_id, one.files) for one in cluster.deliveries] == [(2, 2)]


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_delivery_is_recorded_though_a_kill_came_first(
    mission, killed, tmp_path, has_manifest
):
    cluster = mission()
    place = receipt(cluster) if has_manifest else tmp_path / "source"
    put(place / "one" if has_manifest else place, int(has_manifest), night_1="first")
    with pytest.raises(Killed):
        cluster.receive(place, needs_manifest=has_manifest)
    killed.undo()
    cluster = open_cluster(cluster._site.cluster.path)
    assert cluster.resume().state.value == "COMPLETED"
    assert [one.files for one in cluster.deliveries] == [1]
    assert cluster.alerts == []
    (task,) = cluster.instance(1).tasks
    assert [one.state.value for one in task.subtasks] == ["COMPLETE"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_what_fails_after_the_commit_does_not_store_it_twice(
    mission, monkeypatch, error
):
    cluster = mission()
    inbox = receipt(cluster)
    put(inbox / "one", 5, night_1="first")
    (inbox / "one" / "models").mkdir()
    (inbox / "one" / "models" / "flat-7.bin").write_text("seven")
    put(inbox / "one", 5)
    monkeypatch.setattr(disk_space, "_LOOK_S", 0.0)
    to_disk, calls = Repository.to_disk, []

    def fails_once(self):
        calls.append(self)
        if len(calls) == 2:  # `main` names the commit already
            raise DatastoreError("the disk failed") from OSError(error, "it did")
        to_disk(self)

    monkeypatch.setattr(Repository, "to_disk", fails_once)
    before = len(cluster.datastore.history())
    assert cluster.receive(inbox).state.value == "COMPLETED"
    assert len(cluster.datastore.history()) == before + 1
    assert len(cluster.datastore["models/flat"]) == 1
    assert [(one.dataset_id, one.files) for one in cluster.deliveries] == [(5, 2)]
    assert list(inbox.iterdir()) == []
    assert [one.message for one in cluster.alerts] == (
        ["the delivery [one] is stored, but then: the disk failed"]
        if error == errno.EIO
        else []
    )


def test_a_quarantine_is_never_that_of_another_delivery(mission, tmp_path):
    cluster = mission("quarantine")
    inbox = receipt(cluster)
    kept = cluster._site.cluster.quarantine
    backup = tmp_path / "records.zip"
    cluster.backup(backup)
    for number in (1, 2):
        put(inbox / "one", number, night_1="good", night_2="x")
        put(inbox / "one", 0, night_2=f"bad {number}")
        assert cluster.receive(inbox).state.value == "COMPLETED"
        assert "night-2/notes" not in cluster.datastore
        found = {
            str(one.relative_to(kept)): one.read_text() for one in kept.rglob("*.txt")
        }
        place = "1" if number == 1 else "1-2"
        assert found[f"{place}/night-2/notes/a.txt"] == f"bad {number}"
        cluster._site.database.close()
        for file in (tmp_path / "home").glob("ziggy.db*"):
            file.unlink()
        cluster = create_cluster(cluster._site.cluster.path)
        cluster.restore(backup)
    assert len(list(kept.rglob("*.txt"))) == 2


def test_a_note_of_bad_files_does_not_outlive_that_they_are_mended(mission, killed):
    cluster = mission("quarantine")
    inbox = receipt(cluster)
    put(inbox / "one", 1, night_1="good", night_2="x")
    put(inbox / "one", 0, night_2="bad")
    killed.undo()
    finish = Repository.finish_writing

    def die(self, writing, message, metadata):
        raise Killed

    killed.setattr(Repository, "finish_writing", die)
    with pytest.raises(Killed):
        cluster.receive(inbox)
    killed.setattr(Repository, "finish_writing", finish)
    put(inbox / "one", 0, night_2="x")
    cluster = open_cluster(cluster._site.cluster.path)
    assert cluster.resume().state.value == "COMPLETED"
    assert notes(cluster) == {"night-1/notes": "good", "night-2/notes": "x"}
    assert [one.files for one in cluster.deliveries] == [2]
    kept = cluster._site.cluster.quarantine
    assert not kept.exists() or list(kept.iterdir()) == []
