"""Live progress of an instance: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ziggy_dask.supervisor import (
    Event,
    InstanceEnded,
    Listener,
    NodeTotals,
    Opened,
    Planned,
    Progressed,
    TaskEnded,
)

_LINE_S = 5.0
"""Least time between two plain lines on one node, in seconds."""


@contextmanager
def shown_progress(console: Console) -> Iterator[Listener]:
    """Show events as they come, in the way that suits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(complete_style="green", finished_style="green"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]}", style="red"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield Bars(progress)


class Bars:
    """One bar per node.

    Parameters
    ----------
    progress
        Where they are drawn.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._failed: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Opened) and event.dashboard:
            self._write(_addresses(event), "dim")
        elif isinstance(event, Planned):
            self._plan(event)
        elif isinstance(event, Progressed):
            self._advance(event)
        elif isinstance(event, TaskEnded) and event.is_error:
            self._write(_failure(event), "red")

    def _plan(self, event: Planned) -> None:
        for warning in event.warnings:
            self._write(f"warning: {warning}", "yellow")
        for node, totals in event.nodes.items():
            if node not in self._bars:
                self._bars[node] = self._progress.add_task(node, failures="")
            self._failed[node] = totals.failed
            self._progress.update(
                self._bars[node],
                total=totals.subtasks,
                completed=totals.complete + totals.failed,
                failures=_failures(totals.failed),
            )

    def _write(self, text: str, style: str) -> None:
        self._progress.console.print(text, style=style, highlight=False, markup=False)

    def _advance(self, event: Progressed) -> None:
        if event.node not in self._bars:
            return
        self._failed[event.node] += event.failed
        self._progress.update(
            self._bars[event.node],
            advance=event.complete + event.failed,
            failures=_failures(self._failed[event.node]),
        )


class Lines:
    """A line now and then, for logs and pipes.

    Parameters
    ----------
    console
        Where they are written.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._totals: dict[str, NodeTotals] = {}
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Opened) and event.dashboard:
            self._write(_addresses(event))
        elif isinstance(event, Planned):
            for warning in event.warnings:
                self._write(f"warning: {warning}")
            self._totals.update(event.nodes)
        elif isinstance(event, Progressed):
            self._advance(event)
        elif isinstance(event, TaskEnded):
            self._write(_failure(event) if event.is_error else _completion(event))
        elif isinstance(event, InstanceEnded):
            self._write(f"instance {event.instance}: {event.state.value}")

    def _advance(self, event: Progressed) -> None:
        old = self._totals.get(event.node, NodeTotals(tasks=0, subtasks=0))
        new = NodeTotals(
            tasks=old.tasks,
            subtasks=old.subtasks,
            complete=old.complete + event.complete,
            failed=old.failed + event.failed,
        )
        self._totals[event.node] = new
        now = time.monotonic()
        if now - self._told.get(event.node, -_LINE_S) >= _LINE_S:
            self._told[event.node] = now
            failures = f", {_failures(new.failed)}" if new.failed else ""
            self._write(
                f"{event.node}: {new.complete}/{new.subtasks} subtasks{failures}"
            )

    def _write(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _addresses(event: Opened) -> str:
    """Return where to watch the workers, and the instance."""
    page = f", the page: {event.page}" if event.page else ""
    return f"dashboard: {event.dashboard}{page}"


def _failures(number: int) -> str:
    return f"{number} failed" if number else ""


def _completion(event: TaskEnded) -> str:
    return f"task {event.task} {event.node} {event.unit}: COMPLETE"


def _failure(event: TaskEnded) -> str:
    return f"task {event.task} {event.node} {event.unit} failed: {event.message}"
