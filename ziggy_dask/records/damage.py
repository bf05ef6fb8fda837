"""What is in a database and can't be: told with what helps, whoever comes upon it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ziggy_dask.errors import RecordsError

_HELP = "see what is damaged with: ziggy doctor; a backup helps: ziggy restore FILE"


@contextmanager
def readable() -> Iterator[None]:
    """Tell of what can't be read in this block.

    Raises
    ------
    RecordsError
        In place of what is raised of wrong values.
    """
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordsError(
            f"the database has what no record is: {error}; {_HELP}"
        ) from error
