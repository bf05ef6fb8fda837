"""Tables fit, and colours are those that were asked for."""

import json
from datetime import UTC, datetime

import pytest
from click import unstyle

from ziggy_dask.interface import output
from ziggy_dask.interface.table import table
from ziggy_dask.records.lease import Lease

ROWS = [
    {"id": 12, "state": "ERROR - WAITING_TO_STORE", "message": "no such file " * 20},
    {"id": 3, "state": "COMPLETE", "message": "two\nlines"},
]


def drawn(rows, room):
    return unstyle(table(rows, room)).splitlines()


@pytest.mark.parametrize("room", [50, 80, 120])
def test_a_table_fits_the_terminal_and_states_stay_whole(room):
    lines = drawn(ROWS, room)
    assert len(lines) == 4
    assert max(map(len, lines)) <= room
    assert "ERROR - WAITING_TO_STORE" in lines[2]
    assert lines[2].endswith("…")
    assert "two lines" in lines[3]


def test_columns_that_have_no_room_stand_below_with_the_first_one_again():
    rows = [{"node": "flip", **{f"number_{n}": 1.5 for n in range(12)}}]
    lines = drawn(rows, 60)
    assert max(map(len, lines)) <= 60
    assert [lines[n].split()[0] for n in (0, 4, 8)] == ["node"] * 3
    assert [lines[n] for n in (3, 7)] == ["", ""]
    assert all(f"number {n}" in " ".join(lines) for n in range(12))
    assert sum(line.count("1.5") for line in lines) == 12


def test_signs_of_two_cells_are_counted_so_and_none_is_obeyed():
    rows = [{"name": "木星", "id": 1}, {"name": "\x1b[31mred\x07", "id": 2}]
    heading, _, wide, odd = drawn(rows, None)
    assert heading == "name       id"
    assert wide == "木星        1"
    assert odd == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}   2"


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


def test_json_has_no_secrets(capsys):
    now = datetime.now(UTC)
    lease = Lease(
        token="secret",
        host="here",
        pid=7,
        process_started="",
        since=now,
        heartbeat=now,
        takes_requests=True,
    )
    output.show_value({"supervisor": lease})
    shown = capsys.readouterr().out
    assert json.loads(shown)["supervisor"]["host"] == "here"
    assert "secret" not in shown + repr(lease)
