"""The view: what one browser looks at, and how it changes by what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ziggy_dask.records.overview import Doing, Order

PAGE = 25
"""Rows on a page."""
_LONGEST_S = 1e9
"""No instance takes so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one browser looks at."""

    instance: int | None = None
    """Number of the instance; None: the newest."""
    node: str = ""
    """Only tasks of this node."""
    doing: Doing | None = None
    """Only tasks that do this."""
    text: str = ""
    """Only tasks with this in their unit of work."""
    order: Order = Order.NUMBER
    """What tasks are sorted by."""
    is_descending: bool = False
    """Whether the largest comes first."""
    page: int = 0
    """Page of the tasks, from 0."""
    instances: int = 0
    """Page of the instances, from 0."""
    deliveries: int = 0
    """Page of the deliveries, from 0."""
    log: int | None = None
    """Task whose log is shown."""
    place: str = ""
    """Where in the datastore one looks."""
    at_s: float | None = None
    """So long after it was made the instance is shown, in seconds; None: as it is now."""


def changed(view: View, ask: Mapping[str, str]) -> View:
    """Return the view that a browser asks for.

    Raises
    ------
    ValueError
        If it asks for nothing that there is.
    """
    verb, value = str(ask.get("do")), str(ask.get("value", ""))
    if verb == "instance":
        chosen = int(value) if value else None
        return View(
            instance=chosen,
            instances=view.instances,
            deliveries=view.deliveries,
            place=view.place,
        )
    if verb == "sort":
        order = Order(value)
        again = order is view.order and not view.is_descending
        return replace(view, order=order, is_descending=again, page=0)
    if verb == "node":
        return replace(view, node=value, page=0)
    if verb == "doing":
        return replace(view, doing=Doing(value) if value else None, page=0)
    if verb == "text":
        return replace(view, text=value, page=0)
    if verb == "page":
        return replace(view, page=max(0, int(value)))
    if verb == "instances":
        return replace(view, instances=max(0, int(value)))
    if verb == "deliveries":
        return replace(view, deliveries=max(0, int(value)))
    if verb == "place":
        return replace(view, place=_place(value))
    if verb == "at":
        return replace(view, at_s=_seconds(value) if value else None)
    if verb == "log":
        return replace(view, log=int(value) if value else None)
    raise ValueError(f"{verb!r} is nothing that the page can do")


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 <= seconds < _LONGEST_S:
        raise ValueError(f"{value!r} is not a time in an instance, in seconds")
    return seconds


def _place(value: str) -> str:
    names = [name for name in value.split("/") if name]
    if {".", ".."} & set(names):
        raise ValueError(f"{value!r} is not a place in the datastore")
    return "/".join(names)
