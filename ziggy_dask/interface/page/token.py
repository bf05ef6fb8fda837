"""The token: who opens the page with it may act, others only look."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path


def page_token(home: Path) -> str:
    """Return the token of a cluster's page; it is made when there is none.

    A file that others can read is replaced: what was in it is no longer secret.
    """
    path = home / "page.token"
    if path.is_file():
        status = path.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return path.read_text(encoding="ascii").strip()
        path.unlink()
    token = secrets.token_urlsafe(24)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    return token


def is_token(given: bytes, token: str) -> bool:
    """Tell whether a token is the right one, in a time that says nothing of it."""
    return hmac.compare_digest(given, token.encode())
