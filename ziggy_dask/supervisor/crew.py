"""The instances that a service works on: some at once, the others wait for their turn."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from ziggy_dask.engine.events import unheard
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ComputeLostError, ZiggyError
from ziggy_dask.records import instances
from ziggy_dask.supervisor.supervise import work_on
from ziggy_dask.supervisor.turns import Turn, next_turns

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)


class Crew:
    """Works on instances, each in a thread of its own, so many at once.

    Parameters
    ----------
    site
        The open cluster.
    client
        Where subtasks run; all instances share it.
    """

    def __init__(self, site: OpenCluster, client: Client) -> None:
        self._site = site
        self._client = client
        self._waiting: dict[int, Turn] = {}
        self._noted: set[int] = set()
        self._active: dict[int, tuple[Turn, _InstanceThread]] = {}

    @property
    def active(self) -> set[int]:
        """Numbers of the instances that are worked on."""
        return set(self._active)

    @property
    def waiting(self) -> int:
        """Number of instances that wait for their turn."""
        return len(self._waiting)

    def take(self, number: int) -> None:
        """Let an instance be worked on, when it is its turn."""
        if number in self._active:
            return
        record = instances.instance(self._site.database, number)
        pipeline, _ = instances.instance_pipeline(self._site.database, number)
        self._waiting[number] = Turn(
            instance=number,
            pipeline=record.pipeline,
            rank=pipeline.priority.rank,
            has_begun=record.is_planned,
        )

    def go_on(self, *, begins: bool = True) -> None:
        """Forget instances that have ended, and begin those whose turn it is.

        Parameters
        ----------
        begins
            Whether new ones are begun.

        Raises
        ------
        ComputeLostError
            If one has lost the compute environment, which all of them need.
        """
        for number, (_, thread) in list(self._active.items()):
            if not thread.is_alive():
                del self._active[number]
                if thread.lost is not None:
                    raise thread.lost
        limit = self._site.cluster.supervision.max_instances
        working = [turn for turn, _ in self._active.values()]
        waiting = self._waiting.values() if begins else ()
        for number in next_turns(waiting, working, limit):
            thread = _InstanceThread(self._site, number, self._client)
            self._active[number] = (self._waiting.pop(number), thread)
            thread.start()
        self._note_waiting()

    def end(self, limit_s: float) -> bool:
        """Wait until nobody works any more, for so many seconds; return whether so."""
        until = time.monotonic() + limit_s
        for _, thread in self._active.values():
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for _, thread in self._active.values())

    def _note_waiting(self) -> None:
        """Let the records say which instances wait for their turn."""
        new = self._waiting.keys() - self._noted
        if new:
            instances.await_turns(self._site.database, new)
        self._noted = (self._noted | new) & self._waiting.keys()


class _InstanceThread(threading.Thread):
    """Works on an instance."""

    def __init__(self, site: OpenCluster, number: int, client: Client) -> None:
        # The process can end whatever hangs here: what is recorded is kept.
        super().__init__(name=f"ziggy-instance-{number}", daemon=True)
        self._site = site
        self._number = number
        self._client = client
        self.lost: ComputeLostError | None = None
        """Set when the compute environment went away meanwhile."""

    def run(self) -> None:
        """Bring the instance as far as it gets, and say so if that is not its end."""
        try:
            record = work_on(
                self._site, self._number, self._client, unheard, is_served=True
            )
        except ComputeLostError as error:
            logger.error("instance %s: %s", self._number, error)
            self.lost = error
        except ZiggyError as error:
            logger.error("instance %s: %s", self._number, error)
        except Exception:
            logger.exception("instance %s", self._number)
        else:
            logger.info("instance %s: %s", self._number, record.state.value)
