"""The doctor: what is left over or does not fit, and how to fix it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ziggy_dask.datastore import Commit
from ziggy_dask.datastore.soundness import CheckedFiles, check_files
from ziggy_dask.definitions import Keep
from ziggy_dask.definitions.access import Access, too_open
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.publish import reconcile
from ziggy_dask.errors import DatastoreError, RecordsError
from ziggy_dask.pools.autoscaler import cancel_left_over
from ziggy_dask.records import catalogue, instances, outcomes, requests
from ziggy_dask.records.backup import require_empty
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.jobs import jobs
from ziggy_dask.records.lease import current_lease
from ziggy_dask.records.restore import checked_backup, take_over, unreadable_rows
from ziggy_dask.records.tables import ChangeSetRow
from ziggy_dask.supervisor.supervise import in_charge, left_scaffolds
from ziggy_dask.workers import task_directories


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    what: str
    """What it is, and where."""
    fix: str
    """What helps: what `examine` can do itself, or what to type."""
    do: Callable[[], object] | None = None
    """Does it; None: only an operator can."""


def examine(site: OpenCluster) -> list[Finding]:
    """Compare records, datastore and directories; return what does not fit.

    Nothing is changed. While a supervisor is in charge, what it is busy with is left
    out: commits come before their records, so those that were there before the records
    were read must be on record, and those that are on record must be there afterwards.
    """
    directories = _directories(site)
    damaged = list(_damaged_records(site)) or list(_damaged(site))
    if damaged:
        return [*_too_open(site), *damaged]
    _, commits = catalogue.position(site.database, site.repository)
    was_supervised = current_lease(site.database) is not None
    records = instances.open_instances(site.database)
    left = instances.unstored_tasks(site.database)
    lost = list(_lost_products(site))
    is_supervised = was_supervised or current_lease(site.database) is not None
    return [
        *_too_open(site),
        *lost,
        *_of_unknown_instances(site, commits),
        *([] if is_supervised else _unrecorded_commits(site, left)),
        *([] if is_supervised else _abandoned(site, records)),
        *([] if is_supervised else _left_scaffolds(site, records)),
        *_left_directories(site, directories),
        *_left_data(site),
        *([] if is_supervised else _left_jobs(site)),
    ]


def fix_findings(site: OpenCluster, findings: list[Finding]) -> int:
    """Do what can be done about findings; return how many that were.

    Raises
    ------
    LeaseError
        If a supervisor is in charge.
    """
    able = [one for one in findings if one.do is not None]
    if able:
        with in_charge(site):
            for one in able:
                assert one.do is not None
                one.do()
    return len(able)


def checked_history(site: OpenCluster) -> CheckedFiles:
    """Compare the files that say what the datastore holds with their digests on record."""
    known = catalogue.stored_digests(site.database)
    found = check_files(site.repository, known)
    unlike = [
        f"datastore {site.repository.url}: the files of publication {number} (snapshot "
        f"{snapshot}) are not those of which publication {number + 1} has the root digest"
        for number, snapshot in catalogue.unlike_successor(site.database)
    ]
    return replace(found, faults=(*found.faults, *unlike))


def _damaged_records(site: OpenCluster) -> Iterator[Finding]:
    """Find rows that can't be read; the large ones of results that wait are not looked at."""
    for fault in unreadable_rows(site.database, but={ChangeSetRow.__tablename__}):
        yield Finding(
            what=f"database {site.database.url}: {fault}",
            fix="put the database away, make another with: ziggy cluster init FILE, and "
            "fill that from a backup: ziggy restore FILE",
        )


def _damaged(site: OpenCluster) -> Iterator[Finding]:
    """Find files of the datastore that can't be read, or are not there."""
    for fault in checked_history(site).faults:
        yield Finding(
            what=fault,
            fix="put the file back from a copy of the datastore; or go back with a backup "
            "of before: ziggy restore FILE",
        )


def _too_open(site: OpenCluster) -> Iterator[Finding]:
    """Find files that others may use more than they should."""
    cluster = site.cluster
    found = too_open(cluster.access, cluster.directories())
    for text in (*too_open(Access.UMASK, [cluster.path]), *found):
        what, _, advice = text.partition("; fix it with: ")
        yield Finding(what=what, fix=advice)


def _lost_products(site: OpenCluster) -> Iterator[Finding]:
    """Find tasks whose products the datastore knows nothing of.

    What counts is the datastore's own history: the catalogue only says how it goes on from
    the newest publication of that.
    """
    newest = catalogue.newest_number(site.database)
    stored = catalogue.stored_by_unknown(site.database, newest)
    number, commits = catalogue.position(site.database, site.repository)
    if number < newest:  # the datastore went back
        stored = catalogue.stored_by_unknown(site.database, number)
    known = {one.snapshot for one in commits}
    for task in stored:
        if task.snapshot not in known and not site.repository.has(task.snapshot):
            yield Finding(
                what=f"task {task.number} was stored by snapshot {task.snapshot!r}, "
                "which is not in the datastore's history",
                fix=f"ziggy run {task.pipeline}, or restore the datastore",
            )


def _of_unknown_instances(
    site: OpenCluster, commits: Sequence[Commit]
) -> Iterator[Finding]:
    """Find publications of instances that are not on record.

    Parameters
    ----------
    site
        The open cluster.
    commits
        What the datastore published and the catalogue did not have, before the records
        were read.
    """
    found = catalogue.of_unknown_instances(site.database)
    numbers = {one.snapshot: one.metadata.get("instance") for one in commits}
    new = {number for number in numbers.values() if number is not None}
    unknown = new - instances.states_of(site.database, sorted(new)).keys()
    late = [(key, number) for key, number in numbers.items() if number in unknown]
    for snapshot, number in [*late, *found]:
        yield Finding(
            what=f"snapshot {snapshot} is of instance {number}, which is not on record",
            fix="restore the backup that belongs to this datastore",
        )


def _unrecorded_commits(
    site: OpenCluster, tasks: Sequence[TaskRecord]
) -> Iterator[Finding]:
    """Find stored tasks of which the records do not know yet."""
    by_instance: dict[int, dict[int, int]] = {}
    for task in tasks:
        by_instance.setdefault(task.instance, {})[task.id] = task.attempt
    for number, attempts in sorted(by_instance.items()):
        for commit in site.repository.history(instance=number):
            made = commit.metadata.get("attempts", {})
            open_ = [
                key
                for key in map(int, commit.metadata.get("inputs", {}))
                if key in attempts and attempts[key] == made.get(str(key), 0)
            ]
            if open_:
                record = instances.instance(site.database, number)
                yield Finding(
                    what=f"tasks {', '.join(map(str, open_))} are stored, and not on "
                    "record as complete",
                    fix="complete the records",
                    do=lambda record=record: reconcile(  # type: ignore[misc]
                        site.repository, site.database, record
                    ),
                )


def _abandoned(site: OpenCluster, records: list[InstanceRecord]) -> Iterator[Finding]:
    """Find what waits for a supervisor that is not there."""
    for record in records:
        if not record.state.is_final:
            yield Finding(
                what=f"instance {record.id} is {record.state.value}, and nobody works on "
                "it",
                fix=f"ziggy run --continue --instance {record.id}, or: ziggy cluster "
                "start",
            )
    for request in requests.waiting(site.database):
        yield Finding(
            what=f"request {request.id} of {request.asker} ({request.kind.value}) waits "
            "for a supervisor",
            fix="ziggy cluster start",
        )


def _left_scaffolds(
    site: OpenCluster, records: list[InstanceRecord]
) -> Iterator[Finding]:
    for name in left_scaffolds(site, records):
        yield Finding(
            what=f"branch {name!r} of the datastore serves no instance any more",
            fix="remove it",
            do=lambda name=name: site.repository.drop_scaffold(name),  # type: ignore[misc]
        )


def _directories(site: OpenCluster) -> list[tuple[Path, int]]:
    """Return the working directories of tasks, with the instances that they belong to."""
    work = site.cluster.programs.work
    if not work.is_dir():
        return []
    return [(path, instance) for path, instance, _ in task_directories(work)]


def _left_directories(
    site: OpenCluster, directories: Sequence[tuple[Path, int]]
) -> Iterator[Finding]:
    """Find working directories of instances that have ended, but those to keep."""
    programs = site.cluster.programs
    if programs.keep is Keep.ALL:
        return
    numbers = sorted({instance for _, instance in directories})
    states = instances.states_of(site.database, numbers)
    for path, instance in directories:
        state = states.get(instance)
        is_kept = programs.keep is Keep.FAILED and state and state.value != "COMPLETED"
        if not is_kept and (state is None or state.is_final):
            yield Finding(
                what=f"{path}: is a working directory of instance {instance}, which has "
                "ended",
                fix="remove it",
                do=lambda path=path: shutil.rmtree(path),  # type: ignore[misc]
            )


def _left_jobs(site: OpenCluster) -> Iterator[Finding]:
    """Find jobs of batch systems that a supervisor left when it died."""
    for one in jobs(site.database, only_open=True):
        yield Finding(
            what=f"job {one.number or one.name} in {one.environment!r} is "
            f"{one.state.value}, and nobody looks after it",
            fix="cancel it",
            do=lambda: cancel_left_over(site),
        )


def _left_data(site: OpenCluster) -> Iterator[Finding]:
    count = outcomes.superfluous_change_sets(site.database)
    if count:
        yield Finding(
            what=f"{count} change sets in the database belong to tasks that are stored",
            fix="remove them",
            do=lambda: outcomes.drop_superfluous_change_sets(site.database),
        )


def restore(site: OpenCluster, file: Path) -> str:
    """Take all records from a backup, and take the datastore back to its snapshot.

    Returns
    -------
    str
        Name of the tag that keeps what the datastore had; empty: nothing changed.

    Raises
    ------
    RecordsError
        If the database has instances, or the backup is of another cluster.
    DatastoreError
        If the datastore has no such snapshot.
    """
    with checked_backup(file) as (backup, records):
        if backup.cluster != site.cluster.name:
            raise RecordsError(
                f"{file}: is a backup of cluster {backup.cluster!r}, not of "
                f"{site.cluster.name!r}"
            )
        if not site.repository.has(backup.snapshot):
            raise DatastoreError(
                f"{file}: datastore {site.repository.url} does not fit to it: snapshot "
                f"{backup.snapshot!r} is not in its history"
            )
        tag = ""
        if site.repository.tip() != backup.snapshot:
            tag = f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S}"

        def switch() -> Callable[[], None]:
            tip = site.repository.tip()
            site.repository.go_back(backup.snapshot, tag)
            return lambda: site.repository.go_forward(tip)

        with in_charge(site), site.writing:
            require_empty(site.database)
            if tag and site.repository.is_in_pieces:
                # What is put aside is to say what there was, whatever expires.
                site.repository.keep_whole("Say where all products are")
            take_over(records, site.database, switch)
            catalogue.catch_up(site.database, site.repository)
        return tag
