"""The ``supervisor`` section of a cluster file: how much it takes on, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ziggy_dask.definitions.section import Section

_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """How much a supervisor works on at once, and what it waits for."""

    max_instances: int = 10
    """Instances at work at once; more wait for their turn, which costs nothing."""
    no_worker_s: float = 3600.0
    """Time that subtasks may wait without a worker that could take them, in seconds."""
    log_bytes: int = 10 * 1024 * 1024
    """Size at which the service's log is put aside, in bytes."""
    log_files: int = 5
    """So many logs that were put aside are kept."""
    metrics: str = ""
    """Address at which Prometheus is answered, such as ``127.0.0.1:9469``; empty: none."""


def read_supervision(section: Section) -> Supervision:
    """Read the section; faults are left with its document."""
    usual = Supervision()
    supervision = Supervision(
        max_instances=section.integer("max_instances", usual.max_instances),
        no_worker_s=section.duration("no_worker", usual.no_worker_s),
        log_bytes=section.size("log_size", f"{usual.log_bytes}"),
        log_files=section.integer("log_files", usual.log_files),
        metrics=section.text("metrics", ""),
    )
    if supervision.max_instances < 1:
        section.fault("max_instances", "'max_instances' must be at least 1")
    if supervision.no_worker_s < 60:
        section.fault("no_worker", "'no_worker' must be at least 1min")
    if supervision.log_bytes < 1024:
        section.fault("log_size", "'log_size' must be at least 1 KiB")
    if supervision.log_files < 1:
        section.fault("log_files", "'log_files' must be at least 1")
    if supervision.metrics and not _ADDRESS.fullmatch(supervision.metrics):
        section.fault(
            "metrics",
            f"{supervision.metrics!r} is not an address; write e.g. '127.0.0.1:9469'",
        )
    section.done()
    return supervision
