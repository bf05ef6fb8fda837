"""The trees and expected units of work are those of the original Ziggy 0.11."""

from itertools import product

import pytest

from ziggy_dask.definitions import Location
from ziggy_dask.errors import DefinitionError
from ziggy_dask.planning import Holding, Where
from ziggy_dask.planning.units import join_holdings, name_units

PATTERNS = {
    "sector": "sector-[0-9]{4}",
    "cadence": "target|ffi|fast-target",
    "pixels": "science|collateral",
    "channel": "[1-4]:[1-4]:[A-D]",
}
TREE = [
    f"{sector}/mda/dr/pixels/{cadence}/{pixels}/{channel}"
    for sector, cadence, pixels, channel in product(
        ("sector-0002", "sector-0003"),
        ("target", "ffi"),
        ("science", "collateral"),
        ("1:1:A", "1:1:B"),
    )
]


def holdings(location: Location, tree=TREE) -> list[Holding]:
    matched = [(path, location.match(path, PATTERNS)) for path in tree]
    return [Holding(path=p, values=v, labels=None) for p, v in matched if v is not None]


def units(*templates: str, where: Where = Where(), tree=TREE):  # noqa: B008
    locations = [Location(template) for template in templates]
    rows = join_holdings(locations, [holdings(one, tree) for one in locations], where)
    return name_units(locations, rows)


def names(*templates: str, **options) -> list[str]:
    return [unit.name for unit, _ in units(*templates, **options)]


SCIENCE = "{sector}/mda/dr/pixels/{cadence}/{pixels=science}/{channel}"
TARGET_SCIENCE = "{sector}/mda/dr/pixels/{cadence=target}/{pixels=science}/{channel}"
TARGET_COLLATERAL = (
    "{sector}/mda/dr/pixels/{cadence=target}/{pixels=collateral}/{channel}"
)


def test_every_directory_of_a_location_is_found():
    assert (
        len(holdings(Location("{sector}/mda/dr/pixels/{cadence}/{pixels}/{channel}")))
        == 16
    )


def test_one_type_gives_a_unit_for_each_combination_that_differs():
    expected = [
        f"[{s};{c};{ch}]"
        for s, c, ch in product(
            ("sector-0002", "sector-0003"), ("ffi", "target"), ("1:1:A", "1:1:B")
        )
    ]
    assert names(SCIENCE) == expected


def test_two_types_are_joined_where_their_free_placeholders_agree():
    found = units(TARGET_SCIENCE, TARGET_COLLATERAL)
    assert [unit.name for unit, _ in found] == [
        "[sector-0002;1:1:A]",
        "[sector-0002;1:1:B]",
        "[sector-0003;1:1:A]",
        "[sector-0003;1:1:B]",
    ]
    assert all(len(row.holdings) == 2 for _, row in found)


def test_a_value_on_which_inputs_disagree_is_left_out_of_the_unit():
    unit, _ = units(TARGET_SCIENCE, TARGET_COLLATERAL)[0]
    assert dict(unit.values) == {
        "sector": "sector-0002",
        "cadence": "target",
        "channel": "1:1:A",
    }


def test_parts_that_do_not_differ_are_not_in_the_name():
    tree = ["sector-0001/raw/target", "sector-0001/raw/ffi"]
    assert names("{sector}/raw/{cadence}", tree=tree) == ["[ffi]", "[target]"]
    tree.append("sector-0002/raw/target")
    assert names("{sector}/raw/{cadence}", tree=tree) == [
        "[sector-0001;ffi]",
        "[sector-0001;target]",
        "[sector-0002;target]",
    ]


def test_a_single_unit_is_named_by_all_its_free_values():
    assert names("{sector}/raw/{cadence}", tree=["sector-0001/raw/ffi"]) == [
        "[sector-0001;ffi]"
    ]


def test_a_unit_without_free_placeholders_is_called_single():
    assert names("{sector=sector-0001}/raw", tree=["sector-0001/raw"]) == ["[Single]"]


def test_a_type_with_fewer_placeholders_serves_all_units_that_agree():
    tree = ["sector-0001/raw/ffi", "sector-0001/raw/target", "sector-0001/flat"]
    found = units("{sector}/raw/{cadence}", "{sector}/flat", tree=tree)
    assert [unit.name for unit, _ in found] == ["[ffi]", "[target]"]
    assert {row.holdings[1].path for _, row in found} == {"sector-0001/flat"}


def test_only_chosen_units_are_planned():
    where = Where.parse(["sector=sector-0002"], ["cadence=ff."], PATTERNS)
    assert names(SCIENCE, where=where) == ["[1:1:A]", "[1:1:B]"]


def test_a_condition_must_match_the_whole_value():
    where = Where.parse(["sector=0002"], [], PATTERNS)
    assert names(SCIENCE, where=where) == []


@pytest.mark.parametrize("text", ["sector", "sectr=x", "sector=["])
def test_a_condition_that_makes_no_sense_is_refused(text):
    with pytest.raises(DefinitionError):
        Where.parse([text], [], PATTERNS)
