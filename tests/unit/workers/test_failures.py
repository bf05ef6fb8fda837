"""Failures of one cause have one fingerprint, and others another one."""

import traceback

import pytest

from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.commands.running import parse_changes
from ziggy_dask.workers.failures import fingerprint
from ziggy_dask.workers.programs import _why
from ziggy_dask.workers.work import Cause


def first_way(value):
    if value < 0:
        raise ValueError(f"{value} is negative")
    raise ValueError(f"{value} is too large")


def second_way(value):
    raise ValueError(f"{value} is negative")


def failed(function, value, node="fit"):
    try:
        function(value)
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
        return fingerprint(Cause.EXCEPTION, f"ValueError: {error}", text, node)
    raise AssertionError


def test_data_do_not_matter_but_place_and_node_do():
    assert failed(first_way, -1) == failed(first_way, -20)
    kinds = {
        failed(first_way, -1),
        failed(first_way, 1),
        failed(second_way, -1),
        failed(first_way, -1, node="calibrate"),
    }
    assert len(kinds) == 4


def test_what_keeps_programs_from_starting_is_told_apart(tmp_path):
    error = FileNotFoundError(2, "No such file or directory")
    words = set()
    for name, first in (
        ("crlf", b"#!/bin/sh\r\n"),
        ("lost", b"#!/opt/no/python\n"),
        ("plain", b"\x7fELF"),
    ):
        (tmp_path / name).write_bytes(first + b"echo")
        words.add(_why(str(tmp_path / name), error))
    assert any("CRLF" in one for one in words)
    assert any("no interpreter '/opt/no/python'" in one for one in words)
    assert "No such file or directory" in words
    prints = {fingerprint(Cause.NO_PROGRAM, one, "", "fit") for one in words}
    assert len(prints) == 3


@pytest.mark.parametrize("text", ["Fit.gain=", "Fit.gain=  "])
def test_a_blank_value_is_refused(text):
    with pytest.raises(DefinitionError, match="gives no value"):
        parse_changes((text,))
    assert parse_changes(('Fit.gain=""',)) == {"Fit": {"gain": ""}}
