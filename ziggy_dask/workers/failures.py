"""Kinds of failures: which of them have the same cause."""

from __future__ import annotations

import hashlib
import re

from ziggy_dask.workers.work import Cause

_FRAME = re.compile(
    r'^ *(?:[|] )?  File "(.*)", line \d+, in (.*)$(?:\n *(?:[|] )?    (\S.*)$)?',
    re.MULTILINE,
)
_VARIES = re.compile(
    r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|/\S+"
)


def fingerprint(cause: Cause, message: str, traceback: str, node: str = "") -> str:
    """Return a short text that failures of one kind have in common.

    Parameters
    ----------
    cause
        Why it failed.
    message
        One line on that.
    traceback
        Traceback of the algorithm's exception, or nothing.
    node
        Name of the node whose subtask failed.

    Returns
    -------
    str
        Eight hexadecimal digits; empty if it did not fail.

    Notes
    -----
    Failures of different nodes are of different kinds. An exception is known by its type
    and by the functions and the line of code that it came through, wherever the code is
    installed and whatever the data were; another failure by its message without numbers,
    names and paths.

    Examples
    --------
    >>> one = fingerprint(Cause.EXIT_CODE, "fit ended with exit code 3", "")
    >>> one == fingerprint(Cause.SIGNAL, "fit ended with exit code 3", "")
    False
    """
    if cause is Cause.NONE:
        return ""
    if cause is Cause.EXCEPTION:
        frames = [
            (f"{path.rsplit('/', 1)[-1]}:{function}", line.strip())
            for path, function, line in _FRAME.findall(traceback)
            if "/ziggy_dask/workers/" not in path
        ]
        places = [place for place, _ in frames]
        parts = [message.partition(":")[0], *places, *(line for _, line in frames[-1:])]
    elif cause is Cause.EXIT_CODE:
        parts = [message]
    else:
        parts = [_VARIES.sub("…", message)]
    text = "\n".join([node, cause.value, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
