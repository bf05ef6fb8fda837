"""A data type changes its kind, or two pipelines mean different things by one place."""

import dataclasses

import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store

ALGORITHMS = """
    def double(raw):
        return raw * 2

    def text(raw):
        return {"a.txt": b"two"}

    def count(made):
        return {"b.txt": b"many"}
"""
FILES = {"kind": z.ProductKind.FILE, "subtask": ""}


@pytest.fixture
def made(cluster, code, client):
    """The cluster, with a product that a node has made as an array."""
    root = code(ALGORITHMS)
    cluster.root = root
    store(cluster, {"set-1/L0": images(2)})
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("made", "L1"),
            node("make", "double", "raw", "made"),
        )
    )
    assert cluster.run("test", client=client).state.value == "COMPLETED"
    return cluster


def test_a_node_can_make_a_product_anew_as_another_kind(made, client):
    made.register(
        pipeline(
            made.root,
            data_type("raw", "L0"),
            data_type("made", "L1", files=r".*\.txt", **FILES),
            data_type("counted", "L2", **FILES),
            node("make", "text", "raw", "made", single_subtask=True),
            node("count", "count", "made", "counted", single_subtask=True),
        )
    )
    instance = made.run("test", client=client)
    assert set(states(instance).values()) == {"COMPLETE"}
    assert made.datastore["set-1/L1"] == {"a.txt": b"two"}
    assert made.datastore.at(1)["set-1/L1"].sizes["item"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            FILES,
            "is stored as kind 'array', but the data type 'made' is of kind 'file'",
        ),
        ({"subtask": "star"}, "'item', but the data type 'made' has 'star'"),
    ],
)
def test_what_is_stored_as_another_kind_is_not_read(made, options, words):
    made.register(
        pipeline(
            made.root,
            data_type("made", "L1", **options),
            data_type("counted", "L2", **FILES),
            node("count", "count", "made", "counted", single_subtask=True),
        )
    )
    with pytest.raises(z.DefinitionError) as caught:
        made.plan("test")
    assert words in str(caught.value)
    assert "make it anew, or give the data type another location" in str(caught.value)


def test_a_delivery_to_a_product_of_another_kind_is_refused(made, tmp_path):
    note = z.DataType(
        name="note",
        location=z.Location("{dataset}/L1"),
        files=r".*\.txt",
        reader="bytes",
        kind=z.ProductKind.FILE,
    )
    taker = z.Node(name="receive", step=z.DataReceiptStep())
    made.register(dataclasses.replace(pipeline(None, note, taker), name="notes"))
    (tmp_path / "sent" / "set-1" / "L1").mkdir(parents=True)
    (tmp_path / "sent" / "set-1" / "L1" / "a.txt").write_text("a")
    before = made.datastore.snapshot
    instance = made.receive(tmp_path / "sent", needs_manifest=False, pipeline="notes")
    assert instance.state.value == "ERRORS_STALLED"
    [task] = instance.tasks
    assert "'set-1/L1' is stored as kind 'array'" in task.record.message
    assert "give the data type another location" in task.record.message
    assert made.datastore.snapshot == before
