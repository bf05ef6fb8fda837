"""Names of strangers against expressions that would never end."""

import pytest

from ziggy_dask.definitions import matching
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.errors import DeliveryError

HOSTILE = {
    r"(a+)+b": "a" * 60,
    r"(a|a)*b": "a" * 60,
    r"(a|aa)+b": "a" * 80,
    r"(.*a){25}": "a" * 24 + "!" * 40,
    r"([a-z]+)*\.fits": "x" * 60 + ".fit",
    r".*.*.*.*.*.*.*.*=": "=" * 0 + "x" * 250,
    r"(\w+\s?)*$z": "word " * 20,
}


@pytest.mark.parametrize("pattern", HOSTILE)
def test_an_expression_that_would_never_end_is_refused_by_name(pattern, monkeypatch):
    monkeypatch.setattr(matching, "LIMIT_S", 0.3)
    name = HOSTILE[pattern]
    expression = FilePattern(deeper="", name=pattern, patterns=())
    with pytest.raises(DeliveryError) as caught:
        expression.match(name)
    assert repr(name) in str(caught.value)
    assert repr(pattern) in str(caught.value)


def test_what_ends_is_matched_as_ever():
    for pattern, name, groups in (
        (r"(a+)+b", "aaab", ("aaa",)),
        (r"((\w+)-)+v([0-9]{2})\.fits", "a-b-v01.fits", ("b-", "b", "01")),
        (r"(a+)+b", "aaac", None),
    ):
        found = matching.fullmatch(pattern, name)
        assert (found and found.groups()) == groups


def test_usual_expressions_cost_no_process(monkeypatch):
    monkeypatch.setattr(matching, "_ends", None)
    for pattern in (
        r"(frame-[0-9]+)\.png",
        r"(\w+)-(\d{4})\.nc",
        r"tess[0-9]{13}-s([0-9]{4})-([0-9]{16})-[0-9]{4}-s_lc\.fits",
    ):
        assert matching.fullmatch(pattern, "x") is None
