"""Keeping the files of a delivery that are not taken in, and telling operators of them."""

from __future__ import annotations

from pathlib import Path

from ziggy_dask.engine.accepting import Accepted
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.receipt import (
    acknowledge_refusal,
    acknowledgement_name,
    read_acknowledgement,
    write_acknowledgement,
)
from ziggy_dask.receipt.quarantine import (
    forget_note,
    let_out,
    place_of,
    read_quarantine,
    write_note,
)
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.instances import TaskRecord

_MOST_TOLD = 20


def note(site: OpenCluster, task: TaskRecord, accepted: Accepted) -> None:
    """Write down what is not taken in, if anything is not, before the rest is published."""
    if accepted.path is None:
        return
    place = quarantine_of(site, task, accepted.digest)
    if not accepted.faults:
        forget_note(place)
        return
    write_note(place, task.unit, accepted.faults, accepted.digest)
    name = accepted.path.with_name(acknowledgement_name(accepted.path.name))
    found = read_acknowledgement(name)
    write_acknowledgement(acknowledge_refusal(found, accepted.faults), name)


def quarantine_of(site: OpenCluster, task: TaskRecord, delivery: str) -> Path:
    """Return where files of a delivery are kept that a task did not take in."""
    return place_of(site.cluster.quarantine, task.id, task.unit, delivery)


def warn_of_bad(site: OpenCluster, task: TaskRecord, accepted: Accepted) -> None:
    """Tell operators which files of a delivery were not taken in, and where they are."""
    faults = accepted.faults
    if not faults:
        return
    place = accepted.delivery.directory
    if accepted.path is not None:
        place = quarantine_of(site, task, accepted.digest)
    shown = "\n".join(
        f"  {name!r}: {faults[name]}" for name in list(faults)[:_MOST_TOLD]
    )
    more = (
        f"\n  and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
    )
    alert(
        site,
        Severity.ERROR,
        f"the delivery {task.unit} is stored without {len(faults)} bad files, which are "
        f"in {place}:\n{shown}{more}\nfix what is wrong, then: "
        f"ziggy receive {place} --no-manifest",
        source="receipt",
        instance=task.instance,
        task=task.id,
    )


def let_out_taken(site: OpenCluster, taken: Accepted) -> None:
    """Remove what was taken in from a quarantine; other directories stay as they are."""
    place = taken.delivery.directory.resolve()
    if place.parent != site.cluster.quarantine.resolve():
        return
    quarantine = read_quarantine(place)
    if quarantine is not None:
        if taken.faults:
            write_note(place, quarantine.unit, taken.faults, quarantine.delivery)
        let_out(quarantine, [one.name for one in taken.manifest.files])
