"""What a process lacks is not damage of what it could not read."""

from __future__ import annotations

import re

_LACKS = (
    (r"can't start new thread|os error 11\b|Errno 11\b", "threads", "ulimit -u"),
    (r"Too many open files|os error 2[34]\b|Errno 2[34]\b", "open files", "ulimit -n"),
    (r"[Cc]annot allocate memory|os error 12\b|Errno 12\b", "memory", "ulimit -v"),
)
"""What errors say, what there is too little of, and what limits it."""


def shortage(error: BaseException) -> str:
    """Return what this process has too little of, if an error is due to that; else "".

    Examples
    --------
    >>> shortage(RuntimeError("can't start new thread"))
    'this process may have no more threads (see: ulimit -u)'
    >>> shortage(ValueError("wrong checksum"))
    ''
    """
    said = str(error)
    found = [(lack, limit) for sought, lack, limit in _LACKS if re.search(sought, said)]
    if isinstance(error, MemoryError):
        found.append(("memory", "ulimit -v"))
    for lack, limit in found:
        return f"this process may have no more {lack} (see: {limit})"
    return ""
