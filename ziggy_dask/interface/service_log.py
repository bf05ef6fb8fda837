"""The log of the service: put aside when it is large, with all that is printed beside it."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path


class ServiceLog(RotatingFileHandler):
    """Writes a log file, which standard output and errors of this process share.

    What libraries and the interpreter print thus stands in the log, in its place, and
    goes to the new file when an old one is put aside.

    Parameters
    ----------
    path
        The file; those put aside are called ``supervisor.log.1`` and so on.
    max_bytes
        Size at which it is put aside.
    kept
        So many files are kept.
    """

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=kept, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._share()

    def doRollover(self) -> None:
        """Put the file aside, and begin a new one."""
        super().doRollover()
        self._share()

    def _share(self) -> None:
        if self.stream is not None:
            for number in (1, 2):
                os.dup2(self.stream.fileno(), number)
