"""Clearing away what was taken in: manifests are kept, files removed."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

from ziggy_dask.engine.accepting import Accepted
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.quarantining import quarantine_of
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    Delivery,
    acknowledgement_name,
    clean_up,
    manifest_path,
    read_manifest,
)
from ziggy_dask.receipt.delivery import read_delivered
from ziggy_dask.receipt.quarantine import move_in, read_quarantine
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.instances import TaskRecord


def clear_away(site: OpenCluster, task: TaskRecord, accepted: Accepted) -> None:
    """Keep manifest and acknowledgement, and remove what was taken in.

    It is stored, whatever becomes of this; what can't be removed is for operators.
    """
    delivery = accepted.delivery
    try:
        quarantine = read_quarantine(quarantine_of(site, task, accepted.digest))
        if quarantine is not None:
            move_in(delivery.directory, quarantine)
        _keep_and_remove(site.cluster.home / "log" / "manifests", delivery)
    except (OSError, DeliveryError) as error:
        alert(
            site,
            Severity.WARNING,
            f"the delivery {task.unit} is stored, but could not be cleared away; take "
            f"away {delivery.directory}: {error}",
            instance=task.instance,
            task=task.id,
        )


def remove_empty(directory: Path) -> None:
    """Remove what clearing away leaves when it is interrupted at its last step."""
    with suppress(OSError):  # it is not there, or has something else in it
        directory.rmdir()


def _keep_and_remove(kept: Path, delivery: Delivery) -> None:
    path = manifest_path(delivery.directory)
    if path is None:
        return
    names = [one.name for one in read_manifest(path).files]
    kept.mkdir(parents=True, exist_ok=True)
    acknowledgement = path.with_name(acknowledgement_name(path.name))
    place = _own_place(kept, path)
    for one in (acknowledgement, path):
        if one.exists():
            content = read_delivered(delivery.directory, one.name)
            (place / one.name).write_bytes(content)
    clean_up(delivery, [*names, acknowledgement.name, path.name])


def _own_place(kept: Path, path: Path) -> Path:
    """Return where a manifest is kept: below, if others of its name are kept already.

    Senders may give all manifests one name.
    """
    content = read_delivered(path.parent, path.name)
    place = kept
    for number in count(2):
        there = place / path.name
        if not there.exists() or there.read_bytes() == content:
            break
        place = kept / f"{path.stem}-{number}"
        place.mkdir(exist_ok=True)
    return place
