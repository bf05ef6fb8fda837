import pytest

from ziggy_dask.definitions import Location
from ziggy_dask.errors import DefinitionError

PATTERNS = {"sector": "sector-[0-9]{4}", "kind": "target|ffi"}


def test_a_location_matches_whole_paths_only():
    place = Location("{sector}/raw/{kind}")
    assert place.match("sector-0001/raw/ffi", PATTERNS) == {
        "sector": "sector-0001",
        "kind": "ffi",
    }
    assert place.match("sector-0001/raw/ffi/more", PATTERNS) is None
    assert place.match("sector-1/raw/ffi", PATTERNS) is None
    assert place.match("sector-0001/raw/ffix", PATTERNS) is None


def test_alternatives_in_a_pattern_stay_within_their_segment():
    assert Location("a/{kind}/b").match("a/target", PATTERNS) is None


def test_a_pinned_placeholder_takes_one_value():
    place = Location("{sector}/{kind=ffi}")
    assert place.fill({"sector": "sector-0001"}) == "sector-0001/ffi"
    assert place.match("sector-0001/target", PATTERNS) is None
    assert place.free == ("sector",)
    assert place.placeholders == ("sector", "kind")


def test_a_placeholder_that_stands_twice_has_one_value():
    place = Location("{sector}/x/{sector}")
    assert place.match("sector-0001/x/sector-0001", PATTERNS)
    assert place.match("sector-0001/x/sector-0002", PATTERNS) is None


def test_literal_text_is_not_an_expression():
    assert Location("a.b/{kind}").match("axb/ffi", PATTERNS) is None


def test_groups_in_a_pattern_do_not_disturb():
    place = Location("{one}/{two}")
    found = place.match("a1/b2", {"one": "(a)([0-9])", "two": "(?:b)([0-9])"})
    assert found == {"one": "a1", "two": "b2"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "can't be empty"),
        ("a//b", "empty segment"),
        ("/a", "empty segment"),
        ("a/../b", "'..'"),
        ("{a", "unpaired"),
        ("a}", "unpaired"),
        ("{a b}/c", "unpaired"),
    ],
)
def test_a_location_that_is_not_well_formed_is_refused(template, words):
    with pytest.raises(DefinitionError, match=words):
        Location(template)


def test_filling_needs_a_value_for_each_free_placeholder():
    with pytest.raises(DefinitionError, match="needs a value for '{kind}'"):
        Location("{kind}/x").fill({})
