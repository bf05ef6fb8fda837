"""The connection to the compute environment, and what to say when it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import CancelledError
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from ziggy_dask.errors import ComputeLostError


def lost(how: str = "was lost while subtasks were running") -> ComputeLostError:
    """Return the error that tells of a lost compute environment."""
    return ComputeLostError(
        f"the compute environment {how}; what is recorded is kept, go on with: "
        "ziggy run --continue"
    )


@contextmanager
def connected() -> Iterator[None]:
    """Talk to the compute environment; if it goes away meanwhile, say that.

    Raises
    ------
    ComputeLostError
        If it does.
    """
    try:
        yield
    except (CommClosedError, ClosedClientError, CancelledError) as error:
        raise lost() from error
