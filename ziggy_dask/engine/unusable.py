"""Results on record that can't be published: their data are not in this datastore.

That happens to a copy of a cluster that was made while it ran, to one that was restored from
a backup, and where files of the datastore were lost. A commit that refers to data which are not
there would be accepted, and nobody could read the product. So what is on record is looked at
before work goes on, and subtasks whose data are missing run again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ziggy_dask.datastore import Repository
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.loading import LoadedTasks
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.records import outcomes
from ziggy_dask.records.alerts import Severity
from ziggy_dask.workers import BatchResult


def drop_unusable(site: OpenCluster, instance: int, tasks: LoadedTasks) -> None:
    """Forget recorded results of unpublished tasks whose data are not here, and say so."""
    for index, task in tasks.with_results().items():
        parts = outcomes.recorded_parts(site.database, task.id)
        reasons = unusable_parts(site.repository, parts)
        if not reasons:
            continue
        count = outcomes.drop_parts(site.database, task.id, reasons.keys())
        reason = next(iter(reasons.values()))
        alert(
            site,
            Severity.WARNING,
            f"{task.node} {tasks.plans[index].unit.name}: {count} subtasks run again, as "
            f"their results can't be used: {reason}",
            instance=instance,
            task=task.id,
        )


def unusable_parts(
    repository: Repository, parts: Mapping[int, BatchResult]
) -> dict[int, str]:
    """Return the parts of a task whose data can't be published here, with the reason."""
    paths = {path for one in parts.values() for path in one.change_sets}
    reasons: dict[int, str] = {}
    for path in sorted(paths):
        own = {
            n: one.change_sets[path]
            for n, one in parts.items()
            if path in one.change_sets
        }
        if repository.why_unusable(list(own.values())):
            found = {n: repository.why_unusable([data]) for n, data in own.items()}
            reasons |= {number: reason for number, reason in found.items() if reason}
    return reasons
