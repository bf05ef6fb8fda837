"""A queue in order, whose members can be taken out from anywhere."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Member = TypeVar("Member", bound=tuple[Any, ...])


class Ordered(Generic[Member]):
    """Members in ascending order; each is in it once.

    Notes
    -----
    A member that is taken out keeps its place in the list, unseen. Places are swept
    when a quarter of them are empty, so that it costs next to nothing to take one out.

    Examples
    --------
    >>> queue = Ordered()
    >>> for number in (3, 1, 2):
    ...     queue.add((number,))
    >>> queue.discard((1,))
    >>> list(queue)
    [(2,), (3,)]
    """

    def __init__(self) -> None:
        self._list: list[Member] = []
        self._members: set[Member] = set()
        self._gone: set[Member] = set()

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in order."""
        return (one for one in self._list if one in self._members)

    def __len__(self) -> int:
        """Return their number."""
        return len(self._members)

    def add(self, member: Member) -> None:
        """Put a member in its place; one that is there stays."""
        if member in self._members:
            return
        self._members.add(member)
        if member in self._gone:
            self._gone.remove(member)
        else:
            insort(self._list, member)

    def discard(self, member: Member) -> None:
        """Take a member out, if it is there."""
        if member not in self._members:
            return
        self._members.remove(member)
        self._gone.add(member)
        if len(self._gone) > 64 + len(self._list) // 4:
            self._list = list(self)
            self._gone.clear()
