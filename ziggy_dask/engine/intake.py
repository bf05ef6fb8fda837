"""Data receipt: taking deliveries in, each as one task and one commit."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ziggy_dask.definitions import DataReceiptStep, Pipeline
from ziggy_dask.engine.accepting import (
    Accepted,
    accept,
    listed,
    named,
    quarantines,
    sorted_out,
)
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.clearing import clear_away, remove_empty
from ziggy_dask.engine.delivery_record import delivered_files, delivery_record
from ziggy_dask.engine.disk_space import patient
from ziggy_dask.engine.events import (
    Listener,
    NodeTotals,
    Planned,
    Progressed,
    TaskEnded,
)
from ziggy_dask.engine.launch import Request
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.publish import commit_of
from ziggy_dask.engine.quarantining import (
    let_out_taken,
    note,
    quarantine_of,
    warn_of_bad,
)
from ziggy_dask.errors import (
    ClusterError,
    DatastoreError,
    DeliveryError,
    RecordsError,
    ZiggyError,
)
from ziggy_dask.planning import Holding, selected_nodes
from ziggy_dask.receipt import (
    ChecksumType,
    Delivery,
    acknowledge_refusal,
    acknowledgement_name,
    delivery_called,
    expected_labels,
    find_deliveries,
    generate_manifest,
    manifest_path,
    read_acknowledgement,
    read_manifest,
    sort_files,
    store_delivery,
    write_acknowledgement,
)
from ziggy_dask.receipt.quarantine import read_quarantine
from ziggy_dask.records import TaskStep, deliveries, instances, outcomes
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.catalogue import catch_up
from ziggy_dask.records.instances import NewTask, TaskRecord
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState

logger = logging.getLogger(__name__)

_MOST_TOLD = 20
_TAKEN = "taken"
"""Key under which a commit says which deliveries it has: digests of manifests by task."""


def receive_deliveries(
    site: OpenCluster,
    instance: int,
    pipeline: Pipeline,
    listen: Listener,
    *,
    directory: Path | None,
    needs_manifest: bool,
    labels: tuple[str, ...] | None = None,
) -> bool:
    """Take in what waits; return whether all of it was good.

    Parameters
    ----------
    site
        The open cluster.
    instance
        Number of the instance that this belongs to.
    pipeline
        Its pipeline; gives the data types.
    listen
        Is told what happens.
    directory
        Where to look; None: the cluster's receipt directory.
    needs_manifest
        Whether a delivery must have a manifest; without one the directory is
        taken as it is, and left as it is.
    labels
        Names of the deliveries to take; None: all.

    Raises
    ------
    DeliveryError
        If one of these names is missing; nothing is taken in then.
    """
    place = directory or site.cluster.receipt
    known = {
        task.unit: task
        for task in instances.tasks(site.database, instance)
        if task.position < 0
    }
    if labels:
        waiting = _labelled(place, labels, known)
    else:
        waiting = _all_waiting(site, place, needs_manifest, instance)
        if labels is not None and not known and any(one.is_inside for one in waiting):
            raise DeliveryError(f"{place}: has no delivery called (none)")
    node = next(n.name for n in pipeline.nodes if isinstance(n.step, DataReceiptStep))
    names = dict.fromkeys((*known, *(f"[{one.name}]" for one in waiting)))
    totals = {node: NodeTotals(tasks=len(names), subtasks=len(names))}
    if names:
        listen(Planned(instance=instance, nodes=totals))
    by_name = {f"[{one.name}]": one for one in waiting}
    good = True
    for position, name in enumerate(names):
        task = known.get(name) or _new_task(site, instance, node, name, position)
        delivery = by_name.get(name)
        good &= _receive(site, pipeline, task, delivery, place, listen, needs_manifest)
    return good


def _labelled(
    place: Path, labels: Sequence[str], known: Mapping[str, TaskRecord]
) -> Sequence[Delivery]:
    """Return the deliveries that an event is about; nothing else is looked at.

    Those that an interrupted run of the instance took in may be gone already.
    """
    found = {label: delivery_called(place, label) for label in labels}
    missing = [
        label
        for label, delivery in found.items()
        if delivery is None and f"[{label}]" not in known
    ]
    if missing:
        names = ", ".join(map(repr, missing))
        raise DeliveryError(
            f"{place}: has no delivery called {names}; nothing was taken in"
        )
    return [delivery for delivery in found.values() if delivery is not None]


def _all_waiting(
    site: OpenCluster, place: Path, needs_manifest: bool, instance: int
) -> Sequence[Delivery]:
    """Return all deliveries that wait; tell of what only looks like one."""

    def refused(reason: str) -> None:
        alert(site, Severity.WARNING, reason, source="receipt", instance=instance)

    if needs_manifest:
        return find_deliveries(place, refused)
    return deliveries_in(place, needs_manifest)


def deliveries_in(directory: Path, needs_manifest: bool) -> Sequence[Delivery]:
    """Return the deliveries in a directory."""
    if needs_manifest:
        return find_deliveries(directory)
    if not directory.is_dir():
        raise DeliveryError(f"{directory}: is not a directory")
    return (Delivery(name=directory.name, directory=directory, is_inside=False),)


def _new_task(
    site: OpenCluster, instance: int, node: str, unit: str, place: int
) -> TaskRecord:
    number = instances.create_task(
        site.database,
        instance,
        NewTask(position=-1 - place, node=node, unit=unit, plan={}, total=1),
    )
    return instances.task(site.database, number)


def _receive(
    site: OpenCluster,
    pipeline: Pipeline,
    task: TaskRecord,
    delivery: Delivery | None,
    place: Path,
    listen: Listener,
    needs_manifest: bool,
) -> bool:
    """Take in one delivery; what an interrupted run did of it already is not repeated."""
    if task.is_error:
        return False
    if task.step is TaskStep.COMPLETE:
        _complete(site, pipeline, task, delivery, needs_manifest)
        if delivery is None and needs_manifest:
            remove_empty(place / task.unit.strip("[]"))
        listen(Progressed(node=task.node, complete=1, failed=0))
        return True
    began = time.time()
    instances.move_tasks(
        site.database, [task.id], TaskStep.EXECUTING, [TaskStep.WAITING_TO_RUN]
    )
    try:
        if delivery is None:
            raise DeliveryError(f"the delivery {task.unit} is no longer there")
        accepted = accept(
            site, delivery, needs_manifest, lets_good_in=quarantines(pipeline)
        )
        taken = _stored(site, pipeline, task, accepted, began)
    except (RecordsError, ClusterError):
        raise
    except ZiggyError as error:
        return _refuse(site, task, delivery, listen, str(error), error)
    except Exception as error:
        logger.exception("the delivery %s can't be taken in", task.unit)
        message = f"the delivery can't be taken in: {type(error).__name__}: {error}"
        return _refuse(site, task, delivery, listen, message, error)
    _clear(site, task, taken)
    listen(Progressed(node=task.node, complete=1, failed=0))
    _tell(listen, task, "")
    return True


def _refuse(
    site: OpenCluster,
    task: TaskRecord,
    delivery: Delivery | None,
    listen: Listener,
    message: str,
    error: Exception,
) -> bool:
    """Leave a delivery as it is, with a task and an acknowledgement that say so."""
    _acknowledge_refusal(task, delivery, error)
    instances.fail_task(site.database, task.id, None, message)
    logger.error("delivery %s is refused: %s", task.unit, message)
    alert(
        site,
        Severity.ERROR,
        f"delivery {task.unit} is refused: {message}",
        source="receipt",
        instance=task.instance,
        task=task.id,
    )
    _tell(listen, task, message)
    return False


def _acknowledge_refusal(
    task: TaskRecord, delivery: Delivery | None, error: Exception
) -> None:
    """Let no acknowledgement say that files are valid that could not be stored."""
    if delivery is None:
        return
    try:
        path = manifest_path(delivery.directory)
        name = path.with_name(acknowledgement_name(path.name)) if path else None
        if name is None or not name.is_file():
            return
        faults = error.faults if isinstance(error, DeliveryError) else {}
        refused = acknowledge_refusal(read_acknowledgement(name), faults)
        write_acknowledgement(refused, name)
    except DeliveryError as other:
        logger.warning(
            "the acknowledgement of %s is not up to date: %s", task.unit, other
        )


def _stored(
    site: OpenCluster,
    pipeline: Pipeline,
    task: TaskRecord,
    accepted: Accepted,
    began: float,
) -> Accepted:
    """Store a delivery once, whatever fails on the way; return what was taken in."""

    def again() -> Accepted:
        """Complete the records if the try before came as far as the commit."""
        instance = instances.instance(site.database, task.instance)
        snapshot = commit_of(site.repository, instance, {task.id: task.attempt})
        if snapshot is None:
            return _store(site, pipeline, task, accepted, began)
        site.repository.to_disk()
        catch_up(site.database, site.repository)
        outcomes.publish(site.database, snapshot, {task.id: {}})
        return _record_late(site, pipeline, task, accepted)

    try:
        return patient(
            lambda: _store(site, pipeline, task, accepted, began),
            f"the delivery {task.unit}",
            again=again,
            stops=site.stop.is_set,
        )
    except (DatastoreError, OSError) as error:
        instance = instances.instance(site.database, task.instance)
        if commit_of(site.repository, instance, {task.id: task.attempt}) is None:
            raise
        alert(
            site,
            Severity.ERROR,
            f"the delivery {task.unit} is stored, but then: {error}",
            source="receipt",
            instance=task.instance,
            task=task.id,
        )
        return again()


def _clear(site: OpenCluster, task: TaskRecord, taken: Accepted) -> None:
    """Take away what was taken in."""
    if taken.path is not None:
        clear_away(site, task, taken)
    else:
        let_out_taken(site, taken)


def _store(
    site: OpenCluster,
    pipeline: Pipeline,
    task: TaskRecord,
    accepted: Accepted,
    began: float,
) -> Accepted:
    """Put a delivery into the datastore: one commit, then the records; return what it was."""
    if quarantines(pipeline):
        accepted = sorted_out(pipeline, accepted)
    delivery = sort_files(pipeline, [one.name for one in accepted.manifest.files])
    instances.move_tasks(
        site.database,
        [task.id],
        TaskStep.STORING,
        [TaskStep.EXECUTING, TaskStep.STORING],
    )
    writing = site.repository.writing()
    now = datetime.now(UTC)
    try:
        told = store_delivery(
            writing.session,
            pipeline,
            accepted.delivery.directory,
            delivery,
            origin=_origin(pipeline, task, now),
            today=now.astimezone().date(),
            identities=accepted.identities,
        )
    except DeliveryError as error:
        bad = named(accepted, error)
        if not bad or not quarantines(pipeline):
            raise
        return _store(site, pipeline, task, accepted.without(bad), began)
    note(site, task, accepted)
    contents = delivered_files(pipeline, accepted, delivery, writing.session)
    record = delivery_record(task, accepted, contents)
    snapshot = site.repository.finish_writing(
        writing,
        f"{pipeline.name} {task.instance}: {task.node} {task.unit} (task {task.id})",
        {
            "instance": task.instance,
            "inputs": {str(task.id): {}},
            "attempts": {str(task.id): task.attempt},
            _TAKEN: {str(task.id): accepted.digest},
        },
    )
    catch_up(site.database, site.repository)
    _record_outcome(site, task, began)
    outcomes.publish(site.database, snapshot, {task.id: {}}, record)
    _warn(site, task, told)
    warn_of_bad(site, task, accepted)
    return accepted


def _origin(pipeline: Pipeline, task: TaskRecord, now: datetime) -> dict[str, Any]:
    """Return what products say of where they come from."""
    return {
        "pipeline": pipeline.name,
        "instance": task.instance,
        "task": task.id,
        "node": task.node,
        "unit": task.unit,
        "published": now.isoformat(timespec="seconds"),
    }


def _warn(site: OpenCluster, task: TaskRecord, told: Sequence[str]) -> None:
    """Tell operators what there is to say about files that were stored."""
    if not told:
        return
    shown = "\n".join(f"  {text}" for text in told[:_MOST_TOLD])
    more = f"\n  and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    alert(
        site,
        Severity.WARNING,
        f"the delivery {task.unit} is stored, but:\n{shown}{more}",
        instance=task.instance,
        task=task.id,
    )


def _complete(
    site: OpenCluster,
    pipeline: Pipeline,
    task: TaskRecord,
    delivery: Delivery | None,
    needs_manifest: bool,
) -> None:
    """Do what an interrupted run left undone of a delivery that is stored.

    Another delivery may have come into its place since: that stays, for the next receipt.
    """
    is_recorded = deliveries.is_task_recorded(site.database, task.id)
    if is_recorded and not (delivery is not None and needs_manifest):
        return
    accepted = None if delivery is None else _unchecked(delivery, needs_manifest)
    if accepted is not None and accepted.digest == _digest_taken(
        site, task, accepted.digest
    ):
        _clear(site, task, _record_late(site, pipeline, task, accepted))
        return
    what = []
    if delivery is not None:
        what.append(f"{delivery.directory} has another one by now, which waits")
    if not is_recorded:
        what.append("its files could not be put on record any more")
    alert(
        site,
        Severity.WARNING,
        f"the delivery {task.unit} was stored by task {task.id}; {', and '.join(what)}",
        source="receipt",
        instance=task.instance,
        task=task.id,
    )


def _unchecked(delivery: Delivery, needs_manifest: bool) -> Accepted | None:
    """Return a delivery as its manifest says; None: that can't be read."""
    try:
        if not needs_manifest:
            manifest = generate_manifest(delivery.directory, 0, ChecksumType.SHA256)
            return listed(delivery, manifest, None)
        path = manifest_path(delivery.directory)
        return None if path is None else listed(delivery, read_manifest(path), path)
    except DeliveryError:
        return None


def _digest_taken(site: OpenCluster, task: TaskRecord, default: str) -> str:
    """Return the digest of the delivery that a task took in; of old ones, a default."""
    instance = instances.instance(site.database, task.instance)
    for commit in site.repository.history(instance.base_snapshot, instance.id):
        if found := commit.metadata.get(_TAKEN, {}).get(str(task.id)):
            return str(found)
    return default


def _record_late(
    site: OpenCluster, pipeline: Pipeline, task: TaskRecord, accepted: Accepted
) -> Accepted:
    """Record a delivery whose commit was made just before something failed.

    Returns
    -------
    Accepted
        What was taken in of it.
    """
    quarantine = read_quarantine(quarantine_of(site, task, accepted.digest))
    if quarantine is not None and accepted.path is not None:
        accepted = accepted.without(quarantine.faults)
    if deliveries.is_task_recorded(site.database, task.id):
        return accepted
    if accepted.path is None and quarantines(pipeline):
        alert(
            site,
            Severity.WARNING,
            f"the delivery {task.unit} is stored, but which of its files are good is not "
            "known any more; they are not on record",
            source="receipt",
            instance=task.instance,
            task=task.id,
        )
        return accepted
    if not outcomes.subtasks(site.database, task.id):
        _record_outcome(site, task, time.time())
    files = sort_files(pipeline, [one.name for one in accepted.manifest.files])
    contents = delivered_files(pipeline, accepted, files, site.repository.session_of)
    deliveries.record_delivery(site.database, delivery_record(task, accepted, contents))
    warn_of_bad(site, task, accepted)
    return accepted


def _record_outcome(site: OpenCluster, task: TaskRecord, began: float) -> None:
    outcome = Outcome(
        subtask=0,
        state=SubtaskState.COMPLETE,
        started_s=began,
        wall_s=time.time() - began,
    )
    result = BatchResult(index=0, outcomes=(outcome,), host=os.uname().nodename)
    outcomes.record(site.database, [(task.id, result)])


def _tell(listen: Listener, task: TaskRecord, message: str) -> None:
    listen(
        TaskEnded(
            task=task.id,
            node=task.node,
            unit=task.unit,
            is_error=bool(message),
            message=message,
        )
    )


def expected_products(
    site: OpenCluster, pipeline: Pipeline, request: Request
) -> dict[str, list[Holding]]:
    """Return the products that the waiting deliveries will bring, by data type.

    Nothing is read but manifests, and the labels of series of files.

    Raises
    ------
    DeliveryError
        If a manifest is not sound, or lists files of no data type.
    """
    expected: dict[str, dict[str, Holding]] = {}
    names = selected_nodes(pipeline, request.start, request.stop)
    if not any(isinstance(pipeline.by_name[n].step, DataReceiptStep) for n in names):
        return {}
    for delivery in deliveries_in(request.receipt or site.cluster.receipt, True):
        path = manifest_path(delivery.directory)
        if path is None:
            continue
        accepted = listed(delivery, read_manifest(path), path)
        if quarantines(pipeline):
            accepted = sorted_out(pipeline, accepted)
        there = [one.name for one in accepted.manifest.files]
        for (name, place), files in sort_files(pipeline, there).products.items():
            data_type = pipeline.types[name]
            holding = Holding(
                path=place,
                values=data_type.location.match(place, pipeline.patterns) or {},
                labels=expected_labels(data_type, delivery.directory, files),
            )
            expected.setdefault(name, {})[place] = holding
    return {name: list(held.values()) for name, held in expected.items()}
