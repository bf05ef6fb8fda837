"""Ends programs whose worker has died.

A process of its own, started by a worker before its first program. The worker
tells it on standard input of each program that begins (``+ group token``) and ends
(``- group token``). When the input ends, the worker is gone, however it went: then
every program that is still noted is ended, with all that it started.

Nothing but the standard library is imported, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
import time
from collections.abc import Collection

VARIABLE = "ZIGGY_PROGRAM"
"""Environment variable by which the processes of a program are known."""


def with_token(tokens: Collection[str]) -> list[int]:
    """Return the ids of all processes whose environment has one of some tokens."""
    marks = [f"{VARIABLE}={token}".encode() for token in tokens]
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(place.name) != os.getpid() and any(mark in variables for mark in marks):
            found.append(int(place.name))
    return found


def send(number: int, groups: Collection[int], tokens: Collection[str]) -> list[int]:
    """Send a signal to process groups and to processes with tokens."""
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    found = with_token(tokens)
    for process in found:
        with contextlib.suppress(OSError):
            os.kill(process, number)
    return found


def main(grace_s: float) -> None:
    """Wait until the worker is gone, then end what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    noted: dict[str, int] = {}
    for line in sys.stdin:
        sign, group, token = line.split()
        if sign == "+":
            noted[token] = int(group)
        else:
            noted.pop(token, None)
    if not noted:
        return
    send(signal.SIGTERM, noted.values(), noted)
    until = time.monotonic() + grace_s
    while with_token(noted) and time.monotonic() < until:
        time.sleep(0.05)
    until = time.monotonic() + 10
    while send(signal.SIGKILL, noted.values(), noted) and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    main(float(sys.argv[1]))
