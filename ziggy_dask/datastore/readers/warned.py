"""Hearing what a library warns of, in this thread alone."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_one_at_a_time = threading.RLock()


@contextmanager
def hear_warnings(heard: list[str]) -> Iterator[None]:
    """Add the text of each warning of this thread to a list, in place of showing it.

    The filters of warnings belong to the whole process: those of other threads are
    shown as ever, and only one thread at a time can listen.
    """
    thread = threading.get_ident()
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("always")
        show = warnings.showwarning

        def hear(message: Any, *more: Any, **others: Any) -> None:
            if threading.get_ident() == thread:
                heard.append(str(message).strip())
            else:
                show(message, *more, **others)

        warnings.showwarning = hear
        yield
