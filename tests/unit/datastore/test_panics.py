"""Panics of Icechunk, as a damaged file makes them, are errors of ours."""

import pytest

from ziggy_dask.datastore.panics import is_panic, panics_as_errors
from ziggy_dask.errors import DatastoreError

PanicException = type("PanicException", (BaseException,), {})
"""As pyo3 makes it in each compiled package anew; nobody can import it."""


def test_a_panic_is_the_error_that_damage_is():
    with pytest.raises(DatastoreError, match="damaged: Invalid node.*ziggy doctor"):  # noqa: SIM117
        with panics_as_errors():
            raise PanicException("Invalid node data type")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, SystemExit])
def test_everything_else_stays_what_it_is(kind):
    assert not is_panic(kind())
    with pytest.raises(kind), panics_as_errors():
        raise kind
