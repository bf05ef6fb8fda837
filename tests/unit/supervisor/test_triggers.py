"""Ready files: when an event is complete, and what contradicts itself."""

import pytest

from ziggy_dask.errors import DeliveryError
from ziggy_dask.supervisor.triggers import Ready, ready_events


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["gazelle.READY.mammal.1"], [("mammal", ("gazelle",))]),
        (["READY.mammal.1"], [("mammal", ())]),
        (["a.READY.x.2"], []),
        (["a.READY.x.2", "b.READY.x.2"], [("x", ("a", "b"))]),
        (
            ["a.READY.x.1", "b.READY.y.2", "c.READY.y.2"],
            [("x", ("a",)), ("y", ("b", "c"))],
        ),
        (["a.b.READY.x.y.1"], [("x.y", ("a.b",))]),
        ([".a.READY.x.1.part", "ALREADY.x.1", "ready.x.1", "notes.txt"], []),
    ],
)
def test_an_event_fires_when_as_many_files_are_there_as_they_say(names, expected):
    found = ready_events(names)
    assert [(one.name, one.labels) for one in found] == expected


def test_an_event_knows_its_files():
    assert ready_events(["b.READY.x.2", "a.READY.x.2", "other"]) == (
        Ready(name="x", labels=("a", "b"), files=("a.READY.x.2", "b.READY.x.2")),
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["READY.x.2", "a.READY.x.2"], "'READY.x.2' has no label, so its count must"),
        (["a.READY.x.2", "b.READY.x.3"], "of event 'x' disagree: a.READY.x.2, b.READY"),
        (
            ["a.READY.x.2", "b.READY.x.2", "c.READY.x.2"],
            "event 'x' has 3 ready files, which say that there are 2; remove .*: a.READY",
        ),
        (["a.READY.x.0"], "event 'x' has 1 ready files, which say that there are 0"),
        (["a.READY.x"], "the file 'a.READY.x' fires nothing"),
        (["READY.x."], "the file 'READY.x.' fires nothing"),
        (["my set.READY.x.1"], "the file 'my set.READY.x.1' fires nothing"),
    ],
)
def test_files_that_make_no_sense_are_refused(names, words):
    with pytest.raises(DeliveryError, match=words):
        ready_events(names)


def test_files_that_fire_nothing_keep_no_other_event_back():
    refused = []
    names = ["a.READY.x.1", "b.READY.x.1", "c.READY.y.1", "d READY.y.1"]
    assert [one.name for one in ready_events(names, refused.append)] == ["y"]
    assert refused[0].startswith("the file 'd READY.y.1' fires nothing")
    assert refused[1].endswith(
        "remove those that are too many: a.READY.x.1, b.READY.x.1"
    )
