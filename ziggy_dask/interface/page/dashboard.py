"""The page in Dask's dashboard, where a scheduler runs in this process."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from bokeh.server.tornado import BokehTornado

from ziggy_dask.interface.page.plot_cache import PlotCache
from ziggy_dask.interface.page.server import open_page, origins
from ziggy_dask.supervisor import OpenCluster

if TYPE_CHECKING:
    from distributed import Client


def add_to_dashboard(site: OpenCluster, client: Client) -> str:
    """Serve the page in the dashboard of a client's scheduler, to be read only.

    Returns the page's address. Nothing is done, and there is none, where the scheduler
    runs in another process, has no dashboard, or has one that other machines reach.
    """
    cluster: Any = client.cluster
    scheduler = getattr(cluster, "scheduler", None)
    server = getattr(scheduler, "http_server", None)
    if server is None or not ip_address(server.address).is_loopback:
        return ""
    cluster.sync(_add, site, scheduler)
    return urljoin(client.dashboard_link or "", "ziggy")


async def _add(site: OpenCluster, scheduler: Any) -> None:
    """Add the page where the scheduler's own are, and to their navigation."""
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    pages: Any = BokehTornado(
        {"/ziggy": partial(open_page, site, PlotCache(site.database), None)},
        use_index=False,
        extra_websocket_origins=origins(scheduler.http_server.port),
    )
    scheduler.http_application.add_application(pages)
    pages.initialize(IOLoop.current())
    pages.start()
    template_variables(scheduler)["pages"].append("ziggy")
