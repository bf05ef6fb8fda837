"""The good part of a delivery is let in, the bad part is kept for operators."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, pipeline
from ziggy_dask.interface.main import ziggy
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.receipt.reading import read_acknowledgement


@pytest.fixture(params=["quarantine"])
def taker(cluster, request):
    """A cluster that lets the good part of deliveries in."""
    kinds = {"collection": z.ProductKind.COLLECTION, "file": z.ProductKind.FILE}
    cluster.register(
        pipeline(
            None,
            *(
                data_type(
                    name, name, files=files, reader=reader, subtask="", kind=kinds[k]
                )
                for name, files, reader, k in (
                    ("night", r"(.+)\.csv", "csv", "collection"),
                    ("note", r".+\.txt", "bytes", "file"),
                )
            ),
            z.Node(name="receive", step=z.DataReceiptStep(bad_files=request.param)),
        )
    )
    return cluster


def deliver(directory: Path, number: int) -> Path:
    """Fill a delivery with good files, and with bad ones of every kind; return its manifest."""
    files = {
        "set-1/night/a.csv": "time,flux\n0,1\n1,2\n",
        "set-1/night/b.csv": "time,flux\n0,1\n1,two\n",
        "set-1/night/c.csv": "time,flux\n0,1\n",
        "set-1/night/gone.csv": "time,flux\n0,1\n",
        "set-1/note/a.txt": "good",
        "set-1/nowhere/x.dat": "of no type",
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    path = directory / "x-manifest.xml"
    made = generate_manifest(directory, number, ChecksumType.SHA256)
    path.write_text(manifest_to_xml(made))
    (directory / "set-1/night/c.csv").write_text("time,flux\n0,9\n")
    (directory / "set-1/night/gone.csv").unlink()
    (directory / "set-1/night/unlisted.csv").write_text("time,flux\n0,1\n")
    return path


BAD = {
    "set-1/night/b.csv": "two",
    "set-1/night/c.csv": "another size or checksum",
    "set-1/night/unlisted.csv": "not listed",
    "set-1/nowhere/x.dat": "belongs to no data type",
}


def test_the_good_part_is_let_in_and_the_bad_part_is_kept(taker, tmp_path):
    inbox = tmp_path / "inbox" / "one"
    deliver(inbox, 7)
    sent = {p.name: p.read_bytes() for p in inbox.rglob("*") if p.is_file()}
    instance = taker.receive(tmp_path / "inbox")
    assert instance.state.value == "COMPLETED"
    assert list(taker.datastore["set-1/night"].children) == ["a"]
    assert taker.datastore["set-1/note"] == {"a.txt": b"good"}
    # nothing is lost: what is not stored is kept, byte for byte, with the reason
    assert not inbox.exists()
    (kept,) = taker.quarantined
    assert set(kept.kept) == BAD.keys()
    for name, why in BAD.items():
        assert (kept.directory / name).read_bytes() == sent[Path(name).name]
        assert why in kept.faults[name]
    assert "is missing" in kept.faults["set-1/night/gone.csv"]
    # the acknowledgement says what was taken, and what was not
    (acknowledged,) = taker.home.glob("log/manifests/*-ack.xml")
    valid = {f.name: f.is_valid for f in read_acknowledgement(acknowledged).files}
    assert {name for name, good in valid.items() if good} == {
        "set-1/night/a.csv",
        "set-1/note/a.txt",
    }
    # operators are told, and a list shows it
    (told,) = [a.message for a in taker.alerts if "bad files" in a.message]
    assert "without 5 bad files" in told
    options = ["--cluster", str(taker.home.parent / "cluster.yaml"), "deliveries"]
    rows = json.loads(CliRunner().invoke(ziggy, [*options, "--json"]).output)
    assert [(row["files"], row["quarantined"]) for row in rows] == [(2, 4)]
    listed = CliRunner().invoke(ziggy, [*options, "--quarantined", "--json"]).output
    assert {Path(row["file"]).name for row in json.loads(listed)} == {
        Path(name).name for name in BAD
    }


def test_what_was_mended_is_let_out(taker, tmp_path):
    deliver(tmp_path / "inbox" / "one", 7)
    taker.receive(tmp_path / "inbox")
    (kept,) = taker.quarantined
    (kept.directory / "set-1/night/b.csv").write_text("time,flux\n0,1\n1,2\n")
    taker.receive(kept.directory, needs_manifest=False)
    assert list(taker.datastore["set-1/night"].children) == ["a", "b", "c", "unlisted"]
    (left,) = taker.quarantined
    assert left.kept == ("set-1/nowhere/x.dat",)
    (left.directory / "set-1/nowhere").rename(left.directory / "set-1/note")
    (left.directory / "set-1/note/x.dat").rename(left.directory / "set-1/note/x.txt")
    taker.receive(kept.directory, needs_manifest=False)
    assert taker.datastore["set-1/note"] == {"a.txt": b"good", "x.txt": b"of no type"}
    assert not taker.quarantined
    assert not kept.directory.exists()


def test_a_delivery_without_a_good_file_is_refused_and_left_as_it_is(taker, tmp_path):
    inbox = tmp_path / "inbox" / "one"
    deliver(inbox, 7)
    for name in ("set-1/night/a.csv", "set-1/note/a.txt"):
        (inbox / name).write_text("changed")
    before = sorted(str(one) for one in inbox.rglob("*"))
    instance = taker.receive(tmp_path / "inbox")
    assert instance.state.value == "ERRORS_STALLED"
    ack = str(inbox / "x-manifest-ack.xml")
    assert sorted(str(one) for one in inbox.rglob("*") if str(one) != ack) == before
    assert not taker.quarantined


@pytest.mark.parametrize("taker", ["refuse"], indirect=True)
def test_all_or_nothing_remains_the_default(taker, tmp_path):
    assert z.DataReceiptStep().bad_files == "refuse"
    deliver(tmp_path / "inbox" / "one", 7)
    assert taker.receive(tmp_path / "inbox").state.value == "ERRORS_STALLED"
    assert "set-1/night" not in taker.datastore
    assert not taker.quarantined
