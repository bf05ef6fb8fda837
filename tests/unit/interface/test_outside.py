"""What goes wrong outside is one line; what is printed moves no cursor."""

import sqlite3

import click
import icechunk
import pytest
from sqlalchemy.exc import OperationalError

from ziggy_dask.interface import main
from ziggy_dask.interface.outside import harmless, told


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PermissionError(13, "Permission denied", "/home/x"), 4, "/home/x: Permission"),
        (OSError(30, "Read-only file system", "/data/y"), 4, "/data/y: Read-only"),
        (
            icechunk.IcechunkError("  x object store error\n | context"),
            4,
            "object store",
        ),
        (OperationalError("SELECT", {}, sqlite3.OperationalError("gone")), 4, "gone"),
        (MemoryError(), 4, "not enough memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 3, "invalid"),
    ],
)
def test_what_goes_wrong_outside_is_one_line(error, code, words, monkeypatch, capsys):
    @click.command()
    def fail():
        raise error

    monkeypatch.setattr(main, "ziggy", fail)
    monkeypatch.setattr("sys.argv", ["ziggy"])
    assert main.exit_code() == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ziggy: ")
    assert words in line


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), OSError("no number")]
)
def test_a_defect_keeps_its_traceback(error):
    assert told(error) is None


def test_no_control_character_reaches_a_terminal():
    text = (
        "".join(map(chr, range(0x250))) + "\u2028\u202e\x1b]0;title\x07 20 %\r30 %\r\n"
    )
    shown = harmless(text)
    assert all(one.isprintable() or one in "\n\t" for one in shown if ord(one) < 0xA0)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.endswith(" 20 %\n30 %\n")
