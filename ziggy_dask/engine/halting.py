"""Ending what runs on workers for tasks that are halted."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ziggy_dask.engine.connection import LIMIT_S, on_workers, workers_of
from ziggy_dask.workers import end_works

if TYPE_CHECKING:
    from distributed import Client


def stop_running(
    client: Client, tokens: Collection[str], keys: Collection[Any]
) -> None:
    """End the programs of works, and the workers that run Python subtasks of theirs.

    Parameters
    ----------
    client
        Where they run.
    tokens
        Tokens of the works.
    keys
        Their Dask keys that have not ended.

    Notes
    -----
    A thread can't be ended from outside, its process can: Dask's nannies start the
    workers again, and what others had on them runs once more. Workers without a
    nanny are left to end what they have begun; nobody takes its result. So are workers
    that do not answer.
    """
    busy = {
        worker
        for worker, some in on_workers(
            client, end_works, set(tokens), set(keys)
        ).items()
        if some
    }
    known = workers_of(client)
    watched = [one for one in busy if one in known and known[one]["nanny"]]
    if watched:
        client.restart_workers(watched, timeout=LIMIT_S, raise_for_error=False)
