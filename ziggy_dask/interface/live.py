"""An instance that shows its progress by itself while a notebook goes on."""

from __future__ import annotations

import threading
import time
from typing import Any

from ziggy_dask.interface.cards import instance_card
from ziggy_dask.records import Database, InstanceState, instances
from ziggy_dask.records.statistics import statistics

_LOOK_S = 0.5
"""Least time between two looks at the records, in seconds."""
_PATIENCE = 5.0
"""A look that takes long is followed by so many times that time without one."""


class Live:
    """The card of an instance, kept up to date until the instance ends.

    With ipywidgets it changes by itself where it is shown; without, and at a plain
    prompt, it shows how things stand each time that it is shown.

    Parameters
    ----------
    database
        Has all that is shown.
    instance
        Number of the instance.
    """

    def __init__(self, database: Database, instance: int) -> None:
        self._database = database
        self._instance = instance
        self._asked_to_stop = threading.Event()
        self._widget = _new_widget()
        self._update()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the instance; tell whether it has come."""
        self._thread.join(timeout_s)
        return self._state().is_final

    def stop(self) -> None:
        """Look no more."""
        self._asked_to_stop.set()
        self._thread.join()

    def _follow(self) -> None:
        is_over = False
        pause_s = _LOOK_S
        while not is_over and not self._asked_to_stop.wait(pause_s):
            began = time.monotonic()
            is_over = self._state().is_final  # before the last look
            self._update()
            pause_s = max(_LOOK_S, _PATIENCE * (time.monotonic() - began))

    def _state(self) -> InstanceState:
        return instances.instance(self._database, self._instance).state

    def _update(self) -> None:
        if self._widget is not None:
            self._widget.value = self._repr_html_()

    def _repr_html_(self) -> str:
        return instance_card(self._database, self._instance)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, if there can be one."""
        if self._widget is None:
            return {"text/plain": repr(self), "text/html": self._repr_html_()}
        return self._widget._repr_mimebundle_(**kwargs)

    def __repr__(self) -> str:
        """Say how far every node is."""
        counts = ", ".join(
            f"{one.node} {one.complete}/{one.subtasks}"
            + (f" ({one.failed} failed)" if one.failed else "")
            for one in statistics(self._database, self._instance)
        )
        return f"<{self._state().value}: {counts or 'nothing yet'}>"


def _new_widget() -> Any:
    """Return a widget for HTML; None: ipywidgets is not there."""
    try:
        from ipywidgets import HTML
    except ImportError:
        return None
    return HTML()
