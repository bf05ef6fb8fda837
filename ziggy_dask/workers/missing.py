"""What the datastore should have and has not: told apart from what can't be read."""

from __future__ import annotations

import re

import icechunk

from ziggy_dask.errors import MissingError

_NOT_FOUND = re.compile(
    r"Object at location (?P<place>\S+) not found"  # Icechunk 1, on disk
    r'|object not found(?:.*?path="(?P<path>[^"]+)")?'  # Icechunk 2
    r"|NoSuchKey|NotFound\b",
    re.DOTALL,
)


class MissingModel(Exception):
    """A model of a task can't be read."""


def missing_object(error: BaseException) -> str:
    """Return in words what the datastore lacks; empty: the error is another one.

    Parameters
    ----------
    error
        What reading raised.
    """
    if isinstance(error, MissingError):
        return str(error)
    if not isinstance(error, icechunk.IcechunkError):
        return ""
    found = _NOT_FOUND.search(str(error))
    if found is None:
        return ""
    place = found["place"] or found["path"]
    return "an object is not in the datastore any more" + (
        f": {place}" if place else ""
    )
