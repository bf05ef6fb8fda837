"""Code of algorithms on workers that do not see the directory where it is.

The supervisor gives every worker the Python files of a pipeline. A worker that finds
the same files in the pipeline's directory uses those. Another one keeps a copy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from ziggy_dask.definitions import python_files

if TYPE_CHECKING:
    from distributed import Worker

_copies: dict[Path, Path] = {}
"""Where this process has a copy, by the directory that is copied."""


@dataclass(frozen=True, kw_only=True)
class Algorithms(WorkerPlugin):
    """The Python files of a pipeline, on their way to workers."""

    name: str
    """One per directory: what is sent later takes the place of it."""
    root: Path
    """Directory of the code, as the supervisor sees it."""
    files: tuple[tuple[str, bytes], ...]
    """Contents by path below it, sorted."""

    def setup(self, worker: Worker) -> None:
        """Let this worker use them: where they are, or in a copy of its own."""
        if self._are_here():
            _copies.pop(self.root, None)
            return
        place = Path(worker.local_directory) / f"code-{self._digest()}"
        for name, content in self.files:
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _copies[self.root] = place

    def _are_here(self) -> bool:
        try:
            return all((self.root / n).read_bytes() == data for n, data in self.files)
        except OSError:
            return False

    def _digest(self) -> str:
        return hashlib.sha256(repr(self.files).encode()).hexdigest()[:16]


def algorithms_of(root: Path) -> Algorithms:
    """Return the Python files below a directory, to be sent to workers."""
    return Algorithms(
        name=f"ziggy-algorithms-{root}",
        root=root,
        files=tuple(
            (str(path.relative_to(root)), path.read_bytes())
            for path in python_files(root)
        ),
    )


def code_place(root: Path | None) -> Path | None:
    """Return where the code of a directory is for this process."""
    return root and _copies.get(root, root)
