"""The table of what was tried: each cell names tests that exist, or says "untested"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (
    (ROOT / "docs" / "batch_systems.md").read_text().partition("## What was tried")[2]
)
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
]
TESTS = {
    int(number): (file, name)
    for number, file, name in re.findall(
        r"^(\d+)\. (?:real|stand-in|real and stand-in|decision|texts): `(\S+)::(\w+)`$",
        PAGE,
        re.MULTILINE,
    )
}
EVENTS = (
    *("submit limit", "time-out", "garbage", "node down", "requeue", "preemption"),
    *("out of memory", "wall time", "cancelled", "controller away", "full queue"),
    *("wrong account", "prologue", "other Python", "no shared disk"),
)


def test_every_system_has_a_cell_for_every_event():
    head, *rows = ROWS
    assert head[1:6] == ["SLURM", "PBS", "Grid Engine", "LSF", "HTCondor"]
    assert all(len(row) == len(head) for row in rows)
    for event in EVENTS:
        assert [row for row in rows if event in row[0]], event


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[0])
def test_a_cell_names_tests_or_says_that_it_is_untested(row):
    for cell in row[1:6]:
        numbers = [] if cell == "untested" else [int(n) for n in cell.split(", ")]
        assert set(numbers) <= TESTS.keys(), cell


def test_numbers_are_those_of_tests_that_cells_name():
    named = {
        int(n)
        for row in ROWS[1:]
        for cell in row[1:6]
        for n in re.findall(r"\d+", cell)
    }
    assert named == TESTS.keys()
    assert len(re.findall(r"^\d+\. ", PAGE, re.MULTILINE)) == len(TESTS)


@pytest.mark.parametrize(("file", "name"), TESTS.values())
def test_each_test_is_there(file, name):
    tree = ast.parse((ROOT / file).read_text())
    found = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)]
    assert name in found
