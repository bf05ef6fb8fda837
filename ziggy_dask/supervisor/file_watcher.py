"""Watching directories, so that the next look for ready files comes at once.

Looks come by the clock in any case: file systems of a network tell nothing of what
others write, and a machine watches only so many directories. What can't be watched
is found a little later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from watchfiles import watch

_CHECK_MS = 500
"""Time between two looks whether to stop, in milliseconds."""
logger = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)


class Watch:
    """Watches directories in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self.news = threading.Event()
        """Set when something has changed; whoever looks clears it."""
        self._directories: frozenset[Path] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, directories: Iterable[Path]) -> None:
        """Watch these directories from now on, those that are there."""
        there = frozenset(one for one in directories if one.is_dir())
        if there == self._directories:
            return
        self.close()
        self._directories = there
        if there:
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._watch, args=(there, self._stop), name="ziggy-watch"
            )
            self._thread.start()

    def close(self) -> None:
        """Watch nothing any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        self._directories = frozenset()

    def _watch(self, directories: frozenset[Path], stop: threading.Event) -> None:
        try:
            changes = watch(
                *directories,
                stop_event=stop,
                watch_filter=None,
                rust_timeout=_CHECK_MS,
                recursive=False,
                raise_interrupt=False,
            )
            for _ in changes:
                self.news.set()
        except (OSError, RuntimeError) as error:
            logger.warning("ready files are only looked for by the clock: %s", error)
