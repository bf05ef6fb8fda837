"""What goes wrong outside of this package, in one line: disks, rights, files of others."""

from __future__ import annotations

import re

from ziggy_dask.errors import (
    NO_HOME,
    ClusterError,
    DatastoreError,
    DefinitionError,
    RecordsError,
    ZiggyError,
)

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
"""Control characters but tab and newline, and those that turn the direction of text."""


_NO_HOME = "Could not determine home directory."
"""What Python's own library says of that."""


def told(error: Exception) -> ZiggyError | None:
    """Return an error of the outside as one of ours; None: it is a defect of this package.

    Packages are told by the module of the error's class, since most commands need none.
    """
    package = type(error).__module__.partition(".")[0]
    reason = _ESCAPES.sub("", str(error)).strip().split("\n")[0].strip(" x")
    if package == "icechunk":
        return DatastoreError(
            f"the datastore can't be used: {reason}; see what is wrong with: ziggy doctor"
        )
    if package in ("sqlalchemy", "sqlite3", "psycopg"):
        return RecordsError(f"the database can't be used: {reason}")
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return ClusterError(f"{place}{error.strerror}")
    if isinstance(error, RuntimeError) and reason == _NO_HOME:
        return ClusterError(NO_HOME)
    if isinstance(error, MemoryError):
        return ClusterError("there is not enough memory for this")
    if isinstance(error, UnicodeError) and package == "builtins":
        return DefinitionError(f"a text can't be read or written: {error}")
    return None


def harmless(text: str) -> str:
    r"""Return a text that a terminal shows, and does nothing else with.

    What programs print may move the cursor, set titles or answer for the user. A line that
    was written over becomes lines.

    Examples
    --------
    >>> print(harmless("10 %\r20 %\n\x1b[2Jgone"))
    10 %
    20 %
    \x1b[2Jgone
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], lines)
