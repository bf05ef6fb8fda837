"""Subtasks whose worker died: which of them ran, how the process ended, what it printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState, last_words_of

if TYPE_CHECKING:
    from distributed import Client

    from ziggy_dask.engine.in_flight import Ended
    from ziggy_dask.planning import Key
    from ziggy_dask.workers.last_words import LastWords

_LOST = (Cause.WORKER_LOST, Cause.OUT_OF_MEMORY)
_NEWS_S = 2.0
"""Longest time that the news of a worker's end takes, in seconds."""


def with_last_words(
    client: Client,
    ended: Mapping[Key, Ended],
    token_of: Callable[[int], str],
    spared: set[tuple[int, int]],
) -> dict[Key, Ended]:
    """Return how batches ended, of which those that were lost with their workers say why.

    Dask blames whatever a dying worker was about to run. What did not run then, by the
    last words of the worker, is let run once more.

    Parameters
    ----------
    client
        A client of the scheduler.
    ended
        How batches ended, by key.
    token_of
        Returns the token of a task's work, by its index.
    spared
        Task and number of subtasks that were let run once more; is added to.
    """
    explained = dict(ended)
    until = time.monotonic() + _NEWS_S  # for all together: many may be lost at once
    for key, one in ended.items():
        if one.result and one.is_lost:
            result = _explained(client, one.result, token_of, spared, until)
            ran = any(o.state is SubtaskState.FAILED for o in result.outcomes)
            explained[key] = replace(one, result=result, is_lost=ran)
    return explained


def _explained(
    client: Client,
    result: BatchResult,
    token_of: Callable[[int], str],
    spared: set[tuple[int, int]],
    until: float,
) -> BatchResult:
    if not any(one.cause in _LOST for one in result.outcomes):
        return result
    token = token_of(result.index)
    about = {f"{token} {one.subtask}": one.subtask for one in result.outcomes}
    words = last_words_of(client, list(about), token, until)
    known = {about[text]: said for text, said in words.items() if text in about}
    if known:
        outcomes = [_told(one, known) for one in result.outcomes]
        return replace(result, outcomes=tuple(outcomes))
    pairs = {(result.index, one.subtask) for one in result.outcomes}
    if not words or pairs <= spared:
        return result
    spared |= pairs
    blocked = SubtaskState.BLOCKED
    outcomes = [replace(one, state=blocked) for one in result.outcomes]
    return replace(result, outcomes=tuple(outcomes))


def _told(one: Outcome, known: Mapping[int, LastWords]) -> Outcome:
    if one.subtask in known:
        words = known[one.subtask]
        return replace(one, message=f"{words}", log=words.output)
    ran = ", ".join(str(number) for number in known)
    return replace(
        one, message=f"its worker was lost while subtask {ran} of its batch ran"
    )
