"""Tables fit, and colours are those that were asked for."""

import io
import json

import pytest
from rich.console import Console

from ziggy_dask.interface import output

ROWS = [
    {"id": 12, "state": "ERROR - WAITING_TO_STORE", "message": "no such file " * 20},
    {"id": 3, "state": "COMPLETE", "message": "two\nlines"},
]


def drawn(rows, room, width=500):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(output.table(rows, room))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("room", [50, 80, 120])
def test_a_table_fits_the_terminal_and_states_stay_whole(room):
    lines = drawn(ROWS, room)
    assert len(lines) == 4
    assert max(map(len, lines)) <= room
    assert "ERROR - WAITING_TO_STORE" in lines[2]
    assert lines[2].endswith("…")
    assert "two lines" in lines[3]


def test_a_table_is_whole_where_there_is_no_terminal():
    assert ROWS[0]["message"].strip() in drawn(ROWS, None)[2]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_environment(variables, wanted, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert output.colours() is wanted


def test_json_has_plain_values(capsys):
    output.show([{"a": 1, "b": None}], as_json=True, empty="none")
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "b": None}]
