"""Which subtask may begin on which worker."""

from __future__ import annotations

import heapq
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import node
from ziggy_dask.compute.placing import (
    LOST,
    SEAT,
    Room,
    fits,
    is_hopeless,
    place_of,
    wants,
)
from ziggy_dask.definitions import Remote
from ziggy_dask.workers.merging import merge_results
from ziggy_dask.workers.work import (
    BatchResult,
    LostBatchResult,
    LostMerged,
    Merged,
    Outcome,
    SubtaskState,
)

PLACE = place_of("lab")


def remote_node(**options):
    remote = Remote(environment="lab", **options)
    return node("a", "f", "x", "y", cores=2, remote=remote)


def room(ends=100.0, **amounts) -> Room:
    whole = {PLACE: 1.0, "memory": 4e9, "cores": 4.0, "gpu": 0.0}
    return Room(resources=whole | amounts, ends=ends)


def test_a_subtask_asks_for_its_place_memory_and_cores():
    wanted = wants(remote_node(), 1e9, "lab")
    assert wanted == {PLACE: SEAT, "memory": 1e9, "cores": 2.0}


def test_a_subtask_that_wants_a_node_for_itself_takes_the_whole_place():
    alone = wants(remote_node(one_subtask_per_node=True), 1e9, "lab")
    assert fits(alone, 1, room(), now=0)
    assert not fits(alone, 1, room(**{PLACE: 1.0 - SEAT}), now=0)


@pytest.mark.parametrize("short", [{"memory": 9e8}, {"cores": 1.0}, {PLACE: 0.0}])
def test_nothing_begins_where_something_is_short(short):
    wanted = wants(remote_node(), 1e9, "lab")
    assert fits(wanted, 1, room(), now=0)
    assert not fits(wanted, 1, room(**short), now=0)


def test_nothing_begins_that_cannot_end_before_its_job():
    assert fits({}, 20.0, room(ends=100.0), now=80.0)
    assert not fits({}, 20.0, room(ends=100.0), now=80.1)


def test_jobs_of_sixty_seconds_lose_under_one_percent_of_their_work():
    """Subtasks of 1 to 20 s on four places, with a virtual clock; 95 % are foreseen."""
    lengths = np.random.default_rng(1).uniform(1.0, 20.0, 5000)
    foreseen = float(np.percentile(lengths, 95))
    waiting = list(lengths[::-1])
    places = [(0.0, 60.0, number) for number in range(4)]
    worked = lost = 0.0
    while waiting:
        now, ends, number = heapq.heappop(places)
        if not fits({}, foreseen, room(ends=ends), now):
            heapq.heappush(places, (ends, ends + 60.0, number))
            continue
        length = waiting.pop()
        if now + length > ends:
            lost += ends - now
            waiting.append(length)
        worked += min(length, ends - now)
        heapq.heappush(places, (min(now + length, ends), ends, number))
    assert lost < 0.01 * worked


class Hashable(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("kinds", "is_lost"),
    [
        ([], False),
        (["ziggy_dask.workers.work.BatchResult"], False),
        (["ziggy_dask.workers.work.LostBatchResult"], True),
        (["ziggy_dask.workers.work.LostMerged"], True),
        (["ziggy_dask.workers.work.Merged", "ziggy_dask.workers.work.Work"], False),
        (["ziggy_dask.workers.work.LostBatchResult", "x.BatchResult"], True),
    ],
)
def test_a_key_is_hopeless_if_what_it_needs_was_lost(kinds, is_lost):
    before = {
        Hashable(key=("a-token", 0, n), type=kind) for n, kind in enumerate(kinds)
    }
    after = Hashable(key=("b-token", 1, 0), type=None, dependencies=before)
    assert is_hopeless(after) == is_lost


def test_results_without_anything_are_known_by_the_names_of_their_types():
    for kind in (LostBatchResult, LostMerged):
        assert kind.__name__.startswith(LOST)
    failed = Outcome(subtask=0, state=SubtaskState.FAILED)
    lost = LostBatchResult(index=0, outcomes=(failed,))
    assert isinstance(merge_results(lost, lost), LostMerged)
    assert pickle.loads(pickle.dumps(lost)) == lost
    good = replace(failed, state=SubtaskState.COMPLETE)
    assert type(merge_results(lost, BatchResult(index=0, outcomes=(good,)))) is Merged
