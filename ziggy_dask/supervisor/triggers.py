"""Ready files and schedules: what starts pipelines by itself.

A sender that has delivered puts ``LABEL.READY.NAME.COUNT`` into the watched
directory. When as many files of one name are there as they say, the event fires.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ziggy_dask.definitions import DataReceiptStep, EventHandler, Pipeline
from ziggy_dask.definitions.schedule import latest_due
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError, DefinitionError, DeliveryError
from ziggy_dask.planning import selected_nodes
from ziggy_dask.records import instances, library, triggers
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.triggers import HandlerState, NewEvent, ReadyFile

LOOK_S = 10.0
"""Time between two looks for ready files, in seconds."""
_READY = re.compile(r"(?:(?P<label>\S+)\.)?READY\.(?P<name>\S+)\.(?P<count>[0-9]+)")
_LOOKS_READY = re.compile(r"(?<![A-Za-z])READY(?![A-Za-z])")
"""What the name of a ready file has, be it right or wrong."""
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


def ready_events(
    names: Iterable[str], refused: Callable[[str], object] | None = None
) -> tuple[Ready, ...]:
    """Return the events that are complete among the files of a directory.

    Parameters
    ----------
    names
        Names of files.
    refused
        Is told of files that can fire nothing, which are left out: those of one event that
        contradict each other or are too many, and wrong names. None: that is an error.

    Raises
    ------
    DeliveryError
        If there are such files.

    Notes
    -----
    Hidden files are those that a sender is still writing.

    Examples
    --------
    >>> [one.labels for one in ready_events(["a.READY.x.2", "b.READY.x.2"])]
    [('a', 'b')]
    >>> ready_events(["a.READY.x.2"])
    ()
    """

    def refuse(error: DeliveryError) -> None:
        if refused is None:
            raise error
        refused(str(error))

    groups: dict[str, list[re.Match[str]]] = {}
    for name in sorted(names):
        found = _READY.fullmatch(name)
        if found is not None:
            groups.setdefault(found["name"], []).append(found)
        elif _LOOKS_READY.search(name) and not name.startswith("."):
            refuse(
                DeliveryError(
                    f"the file {name!r} fires nothing: the name of a ready file is "
                    "LABEL.READY.NAME.COUNT, without blanks; rename or remove it"
                )
            )
    complete = []
    for name, some in groups.items():
        try:
            is_complete = _is_complete(name, some)
        except DeliveryError as error:
            refuse(error)
            continue
        if is_complete:
            labels = tuple(one["label"] for one in some if one["label"])
            files = tuple(one.string for one in some)
            complete.append(Ready(name=name, labels=labels, files=files))
    return tuple(complete)


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
    if len(files) > count:
        listed = ", ".join(sorted(one.string for one in files))
        raise DeliveryError(
            f"event {name!r} has {len(files)} ready files, which say that there are "
            f"{count}; remove those that are too many: {listed}"
        )
    return len(files) == count


def look_for_events(site: OpenCluster, now: datetime | None = None) -> Iterator[int]:
    """Launch what ready files and schedules ask for; yield the instances.

    A handler whose directory can't be read is turned off, with an alert. Files that can fire
    nothing are told of by one, and left; other events go on.

    Parameters
    ----------
    site
        The open cluster.
    now
        The time for schedules; None: as the clock says.
    """
    states = triggers.handler_states(site.database)
    for stored in library.pipelines(site.database):
        pipeline = stored.pipeline
        for handler in pipeline.events:
            state = states.get((pipeline.name, handler.name), triggers.NOTHING_KEPT)
            if not state.is_on(handler.is_enabled):
                continue
            try:
                if handler.schedule:
                    time = now or datetime.now(UTC)
                    yield from look_at_clock(site, pipeline, handler, state, time)
                else:
                    yield from _look(site, pipeline, handler)
            except (OSError, DeliveryError, DefinitionError, DatastoreError) as error:
                _turn_off(site, pipeline, handler, error)


def _turn_off(
    site: OpenCluster, pipeline: Pipeline, handler: EventHandler, error: Exception
) -> None:
    triggers.note_fault(site.database, pipeline.name, handler.name, str(error))
    alert(
        site,
        Severity.WARNING,
        f"event handler {handler.name!r} of {pipeline.name!r} is off until the "
        f"supervisor starts again, or: ziggy event enable {handler.name}: {error}",
        source="events",
    )


def _look(
    site: OpenCluster, pipeline: Pipeline, handler: EventHandler
) -> Iterator[int]:
    """Fire the events of a directory.

    Each is on record with its instance before its files are removed, and they are removed
    when the instance has taken in what they announce. Until then they are known by their
    record, and fire nothing more.
    """
    directory = _directory(site, handler)

    def refused(reason: str) -> None:
        # It lasts until somebody takes them away: one line, however often it is seen.
        cause = f"ready files of {pipeline.name} {handler.name}: {reason}"[:500]
        alert(site, Severity.WARNING, reason, source="events", cause=cause)

    kept = _remove_taken(site, pipeline, handler, directory)
    there = {one.name: one for one in _files(directory) if one not in kept}
    for ready in ready_events(there, refused):
        yield fire(
            site,
            NewEvent(
                pipeline=pipeline.name,
                handler=handler.name,
                name=ready.name,
                labels=ready.labels,
                files=tuple(there[name] for name in ready.files),
            ),
        )
    _remove_taken(site, pipeline, handler, directory)


def watched_directories(site: OpenCluster) -> list[Path]:
    """Return the directories where ready files are looked for."""
    return [
        _directory(site, handler)
        for stored in library.pipelines(site.database)
        for handler in stored.pipeline.events
        if handler.directory
    ]


def _directory(site: OpenCluster, handler: EventHandler) -> Path:
    return site.cluster.path.parent / os.path.expandvars(handler.directory)


def _files(directory: Path) -> Iterator[ReadyFile]:
    for entry in os.scandir(directory):
        with suppress(FileNotFoundError):  # its sender may take it away meanwhile
            if entry.is_file():
                yield _identity(entry.name, entry.stat())


def _identity(name: str, status: os.stat_result) -> ReadyFile:
    return ReadyFile(name=name, inode=status.st_ino, changed_ns=status.st_mtime_ns)


def _remove_taken(
    site: OpenCluster, pipeline: Pipeline, handler: EventHandler, directory: Path
) -> set[ReadyFile]:
    """Remove the ready files of events whose instances took in what they announce.

    Returns those that stay for now. What came since under the same name is another file.
    """
    kept: set[ReadyFile] = set()
    for event in triggers.unsettled(site.database, pipeline.name, handler.name):
        there = {one for one in event.files if _is_there(directory / one.name, one)}
        if there and not _has_taken(site, event.instance):
            kept |= there
            continue
        for one in there:
            (directory / one.name).unlink(missing_ok=True)
        triggers.settle_event(site.database, event.key)
    return kept


def _is_there(path: Path, file: ReadyFile) -> bool:
    try:
        return _identity(path.name, path.stat()) == file
    except FileNotFoundError:
        return False


def _has_taken(site: OpenCluster, number: int) -> bool:
    """Tell whether an instance has taken in all that it was launched for, if anything."""
    record = instances.instance(site.database, number)
    if record.is_planned:
        return True
    pipeline, _ = instances.instance_pipeline(site.database, number)
    nodes = selected_nodes(pipeline, record.options["start"], record.options["stop"])
    receives = any(
        isinstance(pipeline.by_name[name].step, DataReceiptStep) for name in nodes
    )
    return not receives


def fire(site: OpenCluster, event: NewEvent) -> int:
    """Launch the instance of an event, on record together; return its number."""
    labels = event.labels if event.due is None else None
    number = launch(site, Request(pipeline=event.pipeline, labels=labels, event=event))
    logger.info(
        "event %s: instance %s of %s",
        event.name or event.handler,
        number,
        event.pipeline,
    )
    return number


def look_at_clock(
    site: OpenCluster,
    pipeline: Pipeline,
    handler: EventHandler,
    state: HandlerState,
    now: datetime,
) -> Iterator[int]:
    """Fire the latest due time of a schedule that is not dealt with.

    Earlier ones that were missed count as dealt with, and so does what a clock jumped
    over. While the instance of a due time before works, the next one waits.
    """
    schedule = f"{handler.schedule} {handler.timezone}"
    names = pipeline.name, handler.name
    if state.until is None or state.schedule != schedule or state.until > now:
        # It is new, or the clock was put back: what has passed by now is over.
        triggers.note_schedule(site.database, *names, schedule, now)
        return
    due = latest_due(handler.schedule, handler.timezone, now)
    if due is None or due <= state.until:
        return
    if triggers.last_event(site.database, *names, due) is not None:
        triggers.note_schedule(site.database, *names, schedule, due)
        return
    before = triggers.last_event(site.database, *names)
    if before is None or _has_ended(site, before.instance):
        yield fire(
            site, NewEvent(pipeline=pipeline.name, handler=handler.name, due=due)
        )


def _has_ended(site: OpenCluster, number: int) -> bool:
    return instances.instance(site.database, number).state.is_final
