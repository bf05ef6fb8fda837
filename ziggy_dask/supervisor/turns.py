"""Whose turn it is: which of the instances that wait are worked on next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An instance that waits for its turn, or is worked on."""

    instance: int
    """Its number."""
    pipeline: str
    """Name of its pipeline."""
    rank: int = 0
    """How urgent the pipeline is; higher comes first."""
    has_begun: bool = False
    """Whether a supervisor has worked on it before."""


def next_turns(
    waiting: Iterable[Turn], active: Iterable[Turn], limit: int
) -> tuple[int, ...]:
    """Return the instances to begin now, in order.

    The more urgent come first; of equally urgent pipelines the one of which the fewest
    instances are at work, so that a burst of one leaves room for the others; then what
    was begun before, and then the oldest.

    Parameters
    ----------
    waiting
        Instances that wait.
    active
        Instances that are worked on.
    limit
        So many are worked on at once.

    Examples
    --------
    >>> burst = [Turn(instance=n, pipeline="burst") for n in range(1, 5)]
    >>> next_turns([*burst, Turn(instance=5, pipeline="other")], [], 3)
    (1, 5, 2)
    >>> next_turns(burst[2:], burst[:2], 2)
    ()
    """
    left = {one.instance: one for one in waiting}
    at_work = Counter(one.pipeline for one in active)
    begun: list[int] = []
    while left and at_work.total() < limit:
        chosen = min(
            left.values(),
            key=lambda one: (
                -one.rank,
                at_work[one.pipeline],
                not one.has_begun,
                one.instance,
            ),
        )
        del left[chosen.instance]
        at_work[chosen.pipeline] += 1
        begun.append(chosen.instance)
    return tuple(begun)
