"""Subtasks whose worker died: which of them ran, how the process ended, what it printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ziggy_dask.workers import BatchResult, Cause, Outcome, last_words

if TYPE_CHECKING:
    from distributed import Client

    from ziggy_dask.planning import Key
    from ziggy_dask.workers.last_words import LastWords

_LOST = (Cause.WORKER_LOST, Cause.OUT_OF_MEMORY)


def with_last_words(
    client: Client,
    results: Mapping[Key, BatchResult],
    token_of: Callable[[int], str],
) -> dict[Key, BatchResult]:
    """Return results of which those that were lost with their workers say why.

    Parameters
    ----------
    client
        A client of the scheduler.
    results
        Results by key.
    token_of
        Returns the token of a task's work, by its index.
    """
    return {key: _explained(client, one, token_of) for key, one in results.items()}


def _explained(
    client: Client, result: BatchResult, token_of: Callable[[int], str]
) -> BatchResult:
    if not any(one.cause in _LOST for one in result.outcomes):
        return result
    token = token_of(result.index)
    words = last_words(client, [f"{token} {one.subtask}" for one in result.outcomes])
    if not words:
        return result
    known = {
        one.subtask: words[f"{token} {one.subtask}"]
        for one in result.outcomes
        if f"{token} {one.subtask}" in words
    }
    outcomes = tuple(_told(one, known) for one in result.outcomes)
    return replace(result, outcomes=outcomes)


def _told(one: Outcome, known: Mapping[int, LastWords]) -> Outcome:
    if one.subtask in known:
        words = known[one.subtask]
        return replace(one, message=f"{words}", log=words.output)
    ran = ", ".join(str(number) for number in known)
    return replace(
        one, message=f"its worker was lost while subtask {ran} of its batch ran"
    )
