"""Matching names that strangers chose with expressions that users wrote, in bounded time.

Expressions of Python go back and try again; one with repeats inside a repeat can take for
ever on a name of fifty letters. Nothing ends such a match but the end of its process. So a
match that might take long is tried out in a small process of its own first.
"""

from __future__ import annotations

import atexit
import json
import re
import select
import subprocess
import sys
import threading
from functools import lru_cache

from ziggy_dask.errors import DeliveryError

LIMIT_S = 2.0
"""So long may a match take, in seconds."""
_REPEATED_GROUP = re.compile(r"(?<!\\)\)(?:[*+]|\{)")
_REPEAT = re.compile(r"(?<!\\)(?:[*+]|\{\d*,\d*\})")
_FEW = 3
"""So many repeats, one after another, do no harm in a name."""
_TRIES = """
import json, re, sys
for line in sys.stdin:
    pattern, text, flags = json.loads(line)
    re.fullmatch(pattern, text, flags)
    print(flush=True)
"""
_lock = threading.Lock()
_tried: subprocess.Popen[str] | None = None


def fullmatch(
    pattern: str, text: str, flags: re.RegexFlag = re.NOFLAG
) -> re.Match[str] | None:
    """Match a whole name with an expression, as `re.fullmatch` does.

    Raises
    ------
    DeliveryError
        If it takes too long.

    Examples
    --------
    >>> fullmatch("(a+)+b", "aaab").group()
    'aaab'
    """
    if may_take_long(pattern) and not _ends(pattern, text, int(flags)):
        raise DeliveryError(
            f"{text!r}: matching this name with {pattern!r} takes longer than "
            f"{LIMIT_S:g} s; write the expression without repeats inside a repeat, or give "
            "the file another name"
        )
    return re.fullmatch(pattern, text, flags)


@lru_cache(maxsize=4096)
def may_take_long(pattern: str) -> bool:
    r"""Tell whether an expression has repeats enough to take long on a short text.

    Examples
    --------
    >>> may_take_long("(a+)+b"), may_take_long("(frame-[0-9]+)\\.png")
    (True, False)
    """
    return (
        _REPEATED_GROUP.search(pattern) is not None
        or len(_REPEAT.findall(pattern)) > _FEW
    )


@lru_cache(maxsize=65536)
def _ends(pattern: str, text: str, flags: int) -> bool:
    """Try a match in another process; tell whether it ended in time."""
    global _tried
    with _lock:
        if _tried is None or _tried.poll() is not None:
            _tried = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TRIES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            _warm(_tried)
        assert _tried.stdin is not None
        assert _tried.stdout is not None
        print(json.dumps([pattern, text, flags]), file=_tried.stdin, flush=True)
        ready, _, _ = select.select([_tried.stdout], [], [], LIMIT_S)
        if ready and _tried.stdout.readline():
            return True
        _stop()
        return False


def _warm(process: subprocess.Popen[str]) -> None:
    """Wait until the process takes questions; how long it starts does not count."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps(["", "", 0]), file=process.stdin, flush=True)
    process.stdout.readline()


@atexit.register
def _stop() -> None:
    global _tried
    if _tried is not None:
        _tried.kill()
        _tried.wait()
        _tried = None
