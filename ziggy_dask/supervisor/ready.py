"""Ready files: senders say that data are there, and a pipeline starts.

A sender that has delivered puts ``LABEL.READY.NAME.COUNT`` into the watched
directory. When as many files of one name are there as they say, the event fires.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.definitions import EventHandler, Pipeline
from ziggy_dask.errors import DeliveryError
from ziggy_dask.records import events, library
from ziggy_dask.records.alerts import Severity
from ziggy_dask.supervisor.alerting import alert
from ziggy_dask.supervisor.launch import Request, launch
from ziggy_dask.supervisor.site import Site

LOOK_S = 10.0
"""Time between two looks for ready files, in seconds."""
_READY = re.compile(r"(?:(?P<label>\S+)\.)?READY\.(?P<name>\S+)\.(?P<count>[0-9]+)")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An event whose ready files are all there."""

    name: str
    """Its name."""
    labels: tuple[str, ...]
    """Labels of its files, sorted; none if it has no label."""
    files: tuple[str, ...]
    """Names of its files."""


def ready_events(names: Iterable[str]) -> tuple[Ready, ...]:
    """Return the events that are complete among the files of a directory.

    Parameters
    ----------
    names
        Names of files.

    Raises
    ------
    DeliveryError
        If files of one event contradict each other.

    Examples
    --------
    >>> [one.labels for one in ready_events(["a.READY.x.2", "b.READY.x.2"])]
    [('a', 'b')]
    >>> ready_events(["a.READY.x.2"])
    ()
    """
    groups: dict[str, list[re.Match[str]]] = {}
    for name in sorted(names):
        found = _READY.fullmatch(name)
        if found is not None:
            groups.setdefault(found["name"], []).append(found)
    return tuple(
        Ready(
            name=name,
            labels=tuple(one["label"] for one in some if one["label"]),
            files=tuple(one.string for one in some),
        )
        for name, some in groups.items()
        if _is_complete(name, some)
    )


def _is_complete(name: str, files: list[re.Match[str]]) -> bool:
    counts = {int(one["count"]) for one in files}
    if len(counts) > 1:
        listed = ", ".join(sorted(one.string for one in files))
        raise DeliveryError(f"ready files of event {name!r} disagree: {listed}")
    (count,) = counts
    if count != 1 and any(one["label"] is None for one in files):
        raise DeliveryError(
            f"the ready file {files[0].string!r} has no label, so its count must be 1"
        )
    return len(files) == count


def look_for_events(site: Site, disabled: set[tuple[str, str]]) -> Iterator[int]:
    """Launch what ready files ask for; yield the instances.

    Parameters
    ----------
    site
        The open cluster.
    disabled
        Pipelines and names of handlers that are left out; one whose directory can't be
        read, or holds files that make no sense, is added.
    """
    for stored in library.pipelines(site.database):
        for handler in stored.pipeline.events:
            key = stored.pipeline.name, handler.name
            if not handler.is_enabled or key in disabled:
                continue
            try:
                yield from _look(site, stored.pipeline, handler)
            except (OSError, DeliveryError) as error:
                disabled.add(key)
                alert(
                    site,
                    Severity.WARNING,
                    f"event handler {handler.name!r} of {stored.pipeline.name!r} is off "
                    f"until the supervisor starts again: {error}",
                    source="events",
                )


def _look(site: Site, pipeline: Pipeline, handler: EventHandler) -> Iterator[int]:
    directory = site.cluster.path.parent / os.path.expandvars(handler.directory)
    names = [entry.name for entry in os.scandir(directory) if entry.is_file()]
    for ready in ready_events(names):
        number = fire(site, pipeline, handler, ready)
        for name in ready.files:
            Path(directory, name).unlink(missing_ok=True)
        yield number


def fire(site: Site, pipeline: Pipeline, handler: EventHandler, ready: Ready) -> int:
    """Launch the instance of an event and record it; return its number."""
    request = Request(pipeline=pipeline.name, labels=ready.labels)
    number = launch(site, request)
    events.record_event(
        site.database,
        handler.name,
        ready.name,
        pipeline=pipeline.name,
        labels=ready.labels,
        instance=number,
    )
    logger.info("event %s: instance %s of %s", ready.name, number, pipeline.name)
    return number
