"""Terminals that don't have all letters."""

import io
import sys

import pytest

from ziggy_dask.interface.streams import write_any_character


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "── Ångström … Ж"),
        ("latin-1", "-- Ångström ... \\u0416"),
        ("ascii", "-- \\xc5ngstr\\xf6m ... \\u0416"),
    ],
)
def test_what_a_terminal_does_not_have_is_written_otherwise(
    monkeypatch, encoding, written
):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    write_any_character()
    terminal.write("── Ångström … Ж")
    terminal.flush()
    assert terminal.buffer.getvalue() == written.encode(encoding)
