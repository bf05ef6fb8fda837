"""Figures of a supervisor for Prometheus, at the address that the cluster file names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ziggy_dask.engine.alerts import alert, cleared
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ClusterError
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.counts import cluster_counts
from ziggy_dask.records.states import InstanceState

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger(__name__)
_CAUSE = "metrics"


@contextmanager
def published(site: OpenCluster) -> Iterator[Callable[[], None]]:
    """Answer Prometheus while a supervisor is at work.

    Parameters
    ----------
    site
        The open cluster; without an address in its file, nothing is answered.

    Yields
    ------
    Callable
        To be called each time the supervisor has looked at everything.

    Raises
    ------
    ClusterError
        If the package ``prometheus-client`` is missing.
    """
    address = site.cluster.supervision.metrics
    if not address:
        yield lambda: None
        return
    try:
        import prometheus_client as prometheus
    except ImportError:
        raise ClusterError(
            "'supervisor: metrics' needs prometheus-client: pip install "
            "'ziggy-dask[metrics]'"
        ) from None
    registry = prometheus.CollectorRegistry()
    registry.register(_Figures(site))
    prometheus.ProcessCollector(registry=registry)
    looked = prometheus.Gauge(
        "ziggy_supervisor_last_look_timestamp_seconds",
        "When the supervisor last looked at everything, in seconds since 1970",
        registry=registry,
    )
    host, _, port = address.rpartition(":")
    try:
        server, _thread = prometheus.start_http_server(
            int(port), host.strip("[]"), registry
        )
    except OSError as error:  # taken, perhaps by one that hangs: work goes on
        message = f"no metrics at {address}: {error.strerror or error}"
        logger.warning("%s", message)
        alert(site, Severity.WARNING, message, cause=_CAUSE)
        yield looked.set_to_current_time
        return
    logger.info("metrics: http://%s/metrics", address)
    cleared(site, _CAUSE)
    try:
        yield looked.set_to_current_time
    finally:
        server.shutdown()
        server.server_close()


class _Figures:
    """Counts in the database, each time Prometheus asks."""

    def __init__(self, site: OpenCluster) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        """Yield what is counted."""
        from prometheus_client.core import GaugeMetricFamily

        def gauge(
            name: str, text: str, values: dict[str, float], label: str
        ) -> GaugeMetricFamily:
            family = GaugeMetricFamily(f"ziggy_{name}", text, labels=[label])
            for key, value in values.items():
                family.add_metric([key], value)
            return family

        counts = cluster_counts(self._site.database)
        none = dict.fromkeys((state.value for state in InstanceState), 0)
        unseen = dict.fromkeys((severity.value for severity in Severity), 0)
        yield gauge("instances", "Instances", {**none, **counts.instances}, "state")
        yield gauge(
            "subtasks",
            "Subtasks of instances that have not ended",
            dict(counts.subtasks),
            "state",
        )
        yield gauge(
            "unseen_alerts",
            "Alerts that nobody has seen",
            {**unseen, **counts.unseen_alerts},
            "severity",
        )
        yield GaugeMetricFamily(
            "ziggy_deliveries", "Deliveries taken in", counts.deliveries
        )
        oldest = counts.oldest_waiting
        yield GaugeMetricFamily(
            "ziggy_oldest_waiting_seconds",
            "Age of the oldest instance that waits for its turn",
            (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0,
        )
