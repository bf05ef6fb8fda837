"""Refusing environments whose batch system takes no jobs, or whose jobs do nothing."""

from __future__ import annotations

from collections.abc import Collection

from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import HERE, OpenCluster
from ziggy_dask.records.alerts import Severity

_FUTILE = 3
"""So many jobs in a row that do nothing close an environment."""


class Refusals:
    """Counts jobs that did nothing; tasks of an environment that is refused fail."""

    def __init__(self, site: OpenCluster) -> None:
        self._site = site
        self._futile: dict[str, int] = {}

    def note_useful(self, environment: str) -> None:
        """Note that a job did something before it ended."""
        self._futile.pop(environment, None)

    def note_futile(self, environment: str, reason: str, instance: int) -> None:
        """Note that a job ended before it did anything."""
        self._futile[environment] = self._futile.get(environment, 0) + 1
        if self._futile[environment] >= _FUTILE:
            self.refuse(environment, reason, instance)

    def refuse(
        self, environment: str, reason: str, instance: int | None = None
    ) -> None:
        """Send no more jobs to an environment, and tell operators why."""
        message = (
            f"environment {environment!r} takes no jobs: {reason}; fix it in the "
            "cluster file, see logs/jobs, then: ziggy restart"
        )
        self._futile.pop(environment, None)
        self._site.refusals[environment] = message
        alert(
            self._site,
            Severity.INFRASTRUCTURE,
            message,
            source="pools",
            instance=instance,
        )

    def reopen(self, working: Collection[str]) -> None:
        """Try refused environments again once nothing waits there any more."""
        for name in set(self._site.refusals) - {HERE, *working}:
            del self._site.refusals[name]

    def __contains__(self, environment: str) -> bool:
        return environment in self._site.refusals
