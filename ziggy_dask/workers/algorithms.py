"""Code of algorithms where the directory that it is in can't be seen.

The supervisor gives scheduler and workers the code of an instance. Who finds the same files in
the directory where the supervisor has them uses those; who does not keeps a copy. Dask unpickles
functions on the scheduler too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import SchedulerPlugin, WorkerPlugin

from ziggy_dask.definitions import CodeTree, check_out, read_code, use_code

if TYPE_CHECKING:
    from distributed import Client, Scheduler, Worker


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code of a pipeline, on its way to where it runs."""

    root: Path
    """The directory, as the supervisor sees it."""
    tree: CodeTree
    """What is in it."""
    origin: Path | None = None
    """Directory from which it was copied; None: it was not."""

    @property
    def digest(self) -> str:
        """Tells apart what has other names or contents."""
        return self.tree.digest[:16]

    def use(self, directory: Path) -> None:
        """Let this process use it: where it is, or a copy below `directory`."""
        place = self.root
        if not self._is_here():
            place = check_out(self.tree, directory / f"code-{self.digest}")
        use_code(self.root, place, self.digest, self.origin)

    def _is_here(self) -> bool:
        try:
            return all(
                (self.root / file.path).read_bytes() == file.content
                for file in self.tree.files
            )
        except OSError:
            return False


def code_of(root: Path) -> Code:
    """Return the code below a directory, as it is now."""
    return Code(root=root, tree=read_code(root))


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
