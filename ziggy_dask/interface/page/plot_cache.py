"""What pictures are made of, looked up once for all browsers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ziggy_dask.interface.page.drawings import Material, material
from ziggy_dask.records import Database
from ziggy_dask.records.overview import NodeScore

_REST = 20
"""So many times as long as the last look took passes before the next one."""
_MOST = 4
"""So many instances are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What is known of one instance."""

    scores: tuple[NodeScore, ...]
    """Its scoreboard when it was looked up."""
    material: Material
    """What its pictures are made of."""
    rests_until: float
    """It is not looked up again before that, on the monotonic clock."""


class PlotCache:
    """What pictures of instances are made of; only its one thread may ask for it.

    Many subtasks take the database seconds. So one thread does it, after all others
    that want the processor, and then rests so long that it is a small part of the time.

    Parameters
    ----------
    database
        The records.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pages: dict[int, _Page] = {}
        # On Linux, threads have a niceness of their own.
        self.thread = ThreadPoolExecutor(1, initializer=os.nice, initargs=(10,))

    def material(self, number: int, scores: Sequence[NodeScore]) -> Material:
        """Return what pictures of an instance are made of, if need be as it was lately.

        Parameters
        ----------
        number
            Number of the instance.
        scores
            Its scoreboard as of now.
        """
        page = self._pages.get(number)
        now = time.monotonic()
        is_old = page is not None and page.scores != tuple(scores)
        if page is None or (is_old and now >= page.rests_until):
            made = material(self._database, number)
            took = time.monotonic() - now
            page = _Page(
                scores=tuple(scores), material=made, rests_until=now + _REST * took
            )
            others = [one for one in self._pages.items() if one[0] != number]
            self._pages = dict([*others, (number, page)][-_MOST:])
        return page.material
