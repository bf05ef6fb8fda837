"""Panics of Icechunk: what its compiled code holds for impossible, such as a damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ziggy_dask.errors import DatastoreError


def is_panic(error: BaseException) -> bool:
    """Tell whether an error is a panic, whose class can't be imported."""
    return type(error).__name__ == "PanicException"


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise a panic as the error that damage is.

    A panic is not an `Exception`, so it would end whatever is at work.

    Raises
    ------
    DatastoreError
        Instead of a panic.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise DatastoreError(
            f"the datastore is damaged: {error}; ziggy doctor says where"
        ) from error
