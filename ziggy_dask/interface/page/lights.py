"""Lights: how pipelines, workers, supervisor and alerts stand, in one colour each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ziggy_dask.records.alerts import Alert, Severity
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.records.lease import Lease
from ziggy_dask.records.states import InstanceState
from ziggy_dask.records.workers import WorkersNow

_SHAPES = {"grey": "○", "green": "●", "yellow": "▲", "red": "■"}
"""So that colours need not be told apart."""


def light_colours(
    records: Sequence[InstanceRecord],
    workers: WorkersNow,
    lease: Lease | None,
    listed: Sequence[Alert],
) -> dict[str, tuple[str, str]]:
    """Return colour and words of each light: grey idle, green normal, yellow, red."""
    newest = {one.pipeline: one for one in records}.values()
    states = {one.state for one in newest}
    bad = states & {InstanceState.ERRORS_STALLED, InstanceState.TRANSITION_FAILED}
    if bad:
        pipelines = ("red", "stalled")
    elif InstanceState.ERRORS_RUNNING in states:
        pipelines = ("yellow", "running with errors")
    elif InstanceState.PROCESSING in states:
        pipelines = ("green", "running")
    else:
        pipelines = ("grey", "idle")
    unfinished = any(not one.state.is_final for one in records)
    supervisor = ("red", "supervisor gone") if unfinished else ("grey", "no supervisor")
    if lease is not None:
        supervisor = ("green", f"supervisor {lease.pid} on {lease.host}")
    unseen = [one for one in listed if not one.is_acknowledged]
    if any(one.severity is not Severity.WARNING for one in unseen):
        alert = ("red", f"{len(unseen)} unseen")
    else:
        alert = (
            ("yellow", f"{len(unseen)} unseen") if unseen else ("green", "none unseen")
        )
    return {
        "pipelines": pipelines,
        "workers": _workers(workers, is_any_running=unfinished),
        "processes": supervisor,
        "alerts": alert,
    }


def lights(colours: Mapping[str, tuple[str, str]]) -> str:
    """Return lights by name, from their colours and words."""
    return "".join(
        f'<li class="{colour}" data-light="{name}"><b aria-hidden="true">'
        f"{_SHAPES[colour]}</b> {name}: {escape(words)}</li>"
        for name, (colour, words) in colours.items()
    )


def _workers(now: WorkersNow, *, is_any_running: bool) -> tuple[str, str]:
    if not is_any_running:
        return "grey", "none at work"
    if now.lost:
        return "yellow", f"{now.at_work} at work, {now.lost} subtasks lost"
    if not now.at_work and now.waiting_jobs:
        return "yellow", f"waiting for {now.waiting_jobs} jobs"
    return "green", f"{now.at_work} at work"
