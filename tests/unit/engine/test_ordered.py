"""A queue in order holds what was put in and not taken out, whatever the order of both."""

import random

import pytest

from ziggy_dask.engine.ordered import Ordered


@pytest.mark.parametrize("seed", range(3))
def test_members_are_in_order_and_each_is_there_once(seed):
    chance = random.Random(seed)
    queue: Ordered[tuple[int]] = Ordered()
    expected: set[tuple[int]] = set()
    for _ in range(3000):
        member = (chance.randrange(300),)
        if chance.random() < 0.55:
            queue.add(member)
            expected.add(member)
        else:
            queue.discard(member)
            expected.discard(member)
        assert len(queue) == len(expected)
    assert list(queue) == sorted(expected)


def test_places_of_what_was_taken_out_are_swept():
    queue: Ordered[tuple[int]] = Ordered()
    for number in range(1000):
        queue.add((number,))
    for number in range(990):
        queue.discard((number,))
    assert list(queue) == [(number,) for number in range(990, 1000)]
    assert len(queue._list) < 200
