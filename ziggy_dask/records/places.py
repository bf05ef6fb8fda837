"""Where the code of pipelines lies, also after a cluster was moved or copied.

A place is kept twice: as it was, and relative to the cluster file. Of a copy of a cluster with
its pipelines, what lies beside the copy counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def place_of_code(root: Path | None, base: Path | None) -> str:
    """Return the place of code relative to the directory of the cluster file, or ""."""
    return os.path.relpath(root, base) if root is not None and base is not None else ""


def find_code(root: str, place: str, base: Path | None) -> Path | None:
    """Return the directory of a pipeline's code; None: it has none.

    Parameters
    ----------
    root
        Where it was when the pipeline was registered.
    place
        The same, relative to the cluster file; empty if that is not known.
    base
        Directory of the cluster file.

    Returns
    -------
    Path or None
        The first of these that is there: the place relative to the cluster file, where it
        was, and a directory of its name near the cluster file. If none is, where it was.
    """
    if not root:
        return None
    candidates = [Path(root)]
    if base is not None:
        near = [Path(os.path.normpath(base / place))] if place else []
        candidates = [*near, *candidates, *_near(Path(root), base)]
    return next((one for one in candidates if one.is_dir()), Path(root))


def _near(root: Path, base: Path) -> Iterator[Path]:
    """Yield the ends of a path, the longest first, below the directory of a cluster file."""
    for start in range(1, len(root.parts)):
        yield base.joinpath(*root.parts[start:])
