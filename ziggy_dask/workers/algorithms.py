"""Code of algorithms where the directory that it is in can't be seen.

The supervisor gives scheduler and workers the Python files of a pipeline. Who finds the same
files in the pipeline's directory uses those; who does not keeps a copy. Dask unpickles
functions on the scheduler too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import SchedulerPlugin, WorkerPlugin

from ziggy_dask.definitions import python_files, use_code

if TYPE_CHECKING:
    from distributed import Client, Scheduler, Worker


@dataclass(frozen=True, kw_only=True)
class Code:
    """The Python files below a directory."""

    root: Path
    """The directory, as the supervisor sees it."""
    files: tuple[tuple[str, bytes], ...]
    """Contents by path below it, sorted."""

    @cached_property
    def digest(self) -> str:
        """Tells apart what has other names or contents."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()[:16]

    def use(self, directory: Path) -> None:
        """Let this process use it: where it is, or a copy below `directory`."""
        place = self.root
        if not self._is_here():
            place = directory / f"code-{self.digest}"
            for name, content in self.files:
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        use_code(self.root, place, self.digest)

    def _is_here(self) -> bool:
        try:
            return all((self.root / n).read_bytes() == data for n, data in self.files)
        except OSError:
            return False


def code_of(root: Path) -> Code:
    """Return the Python files below a directory."""
    return Code(
        root=root,
        files=tuple(
            (str(path.relative_to(root)), path.read_bytes())
            for path in python_files(root)
        ),
    )


def send_code(client: Client, code: Code) -> None:
    """Give code to the scheduler, and to all workers that are there or will come."""
    client.register_plugin(OnScheduler(code))
    client.register_plugin(OnWorkers(code))


class OnScheduler(SchedulerPlugin):
    """Code on its way to the scheduler, once."""

    idempotent = True

    def __init__(self, code: Code) -> None:
        self.name = f"ziggy-code-{code.root}-{code.digest}"
        self._code = code

    async def start(self, scheduler: Scheduler) -> None:
        """Let the scheduler use it."""
        self._code.use(Path(scheduler.local_directory))


class OnWorkers(WorkerPlugin):
    """Code on its way to workers; what is sent later takes the place of it."""

    def __init__(self, code: Code) -> None:
        self.name = f"ziggy-code-{code.root}"
        self._code = code

    def setup(self, worker: Worker) -> None:
        """Let this worker use it."""
        self._code.use(Path(worker.local_directory))
