"""Merging results of one task: a part of the graph's own keys, and of restarts."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from ziggy_dask.workers.work import LostMerged, Merged, Result, SubtaskState


def merge_results(*results: Result) -> Merged:
    """Merge results of one task into one that has all its data."""
    complete: set[int] = set()
    outputs: dict[str, set[int]] = {}
    forks: dict[str, list[bytes]] = {}
    failed = blocked = 0
    for result in results:
        if isinstance(result, Merged):
            complete |= result.complete
            failed += result.failed
            blocked += result.blocked
            given: dict[str, set[int]] = {k: set(v) for k, v in result.outputs.items()}
        else:
            states = [one.state for one in result.outcomes]
            failed += states.count(SubtaskState.FAILED)
            blocked += states.count(SubtaskState.BLOCKED)
            done = [o for o in result.outcomes if o.state is SubtaskState.COMPLETE]
            complete |= {one.subtask for one in done}
            given = {path: result.with_output(path) for path in result.change_sets}
        for path, change_set in result.change_sets.items():
            forks.setdefault(path, []).append(change_set)
            outputs.setdefault(path, set()).update(given.get(path, ()))
    kind = Merged if complete else LostMerged
    return kind(
        index=results[0].index,
        complete=frozenset(complete),
        outputs={path: frozenset(numbers) for path, numbers in outputs.items()},
        change_sets={path: merge_forks(many) for path, many in forks.items()},
        failed=failed,
        blocked=blocked,
    )


def merge_forks(pickled: Sequence[bytes]) -> bytes:
    """Merge pickled forks of one product into one."""
    if len(pickled) == 1:
        return pickled[0]
    first, *others = (pickle.loads(one) for one in pickled)
    first.merge(*others)
    return pickle.dumps(first)
