"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new name beside a file; what is written there takes its place at the end.

    If anything is raised, the new file is removed, and the old one stays as it is.

    Parameters
    ----------
    path
        The file; its directory is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(
        f".{path.name[:200]}.{os.getpid()}-{threading.get_ident()}.part"
    )
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
