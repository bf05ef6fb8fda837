"""Another user of this machine, and what it can reach."""

import subprocess
import sys

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
"""What makes a command that of another user, if this one is root."""

_BROWSE = """
import sys
from urllib.request import urlopen

try:
    with urlopen(sys.argv[1], timeout=60) as answer:
        print("answered:", answer.status)
except OSError as error:
    print("refused:", type(error).__name__, error)
"""

EARLY = """
import socket, sys

connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
try:
    print("hung up on" if connection.recv(1) == b"" else "answered")
except ConnectionResetError:
    print("hung up on")
"""
"""A program that connects, and waits for what comes of it."""


def browse(address: str, user: tuple[str, ...] = ()) -> str:
    """Return what a program is told at a web address: answered or refused."""
    command = [*user, sys.executable, "-c", _BROWSE, address]
    return subprocess.check_output(command, text=True)
