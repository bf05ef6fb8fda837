"""The server of the page: a Bokeh application for each browser that opens it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

from bokeh.document import Document, without_document_lock
from bokeh.events import DocumentReady
from bokeh.models import ColumnDataSource, CustomJS
from bokeh.server.server import Server
from jinja2 import Template

from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.page.panels import panels
from ziggy_dask.interface.page.token import is_token, page_token
from ziggy_dask.interface.page.view import View, changed
from ziggy_dask.records import alerts
from ziggy_dask.supervisor import Site

_UPDATE_MS = 1000
_TEMPLATE = Path(__file__).with_name("page.html")


def page_server(site: Site, port: int = 0) -> tuple[Server, str]:
    """Return a server of the page that has not begun, and the address with the token.

    Only this machine reaches it, and only pages of its own may open connections.
    """
    token = page_token(site.cluster.home)
    server = Server(
        {"/ziggy": partial(_open, site, token)},
        port=port,
        address="127.0.0.1",
        use_xheaders=False,
    )
    tornado: Any = server._tornado  # its port, and so its origin, is known only now
    tornado._websocket_origins = {
        f"{host}:{server.port}" for host in ("127.0.0.1", "localhost")
    }
    return server, f"http://127.0.0.1:{server.port}/ziggy?token={token}"


def _open(site: Site, token: str, document: Document) -> None:
    """Make the document of one browser."""
    context: Any = document.session_context  # a server's documents have one
    arguments = context.request.arguments
    may_act = is_token((arguments.get("token") or [b""])[0], token)
    Visit(site, document, may_act=may_act)


class Visit:
    """One browser that looks at the page.

    Parameters
    ----------
    site
        The open cluster.
    document
        What Bokeh keeps in step with the browser.
    may_act
        Whether it was opened with the token.
    """

    def __init__(self, site: Site, document: Document, *, may_act: bool) -> None:
        self._site = site
        self._document = document
        self._may_act = may_act
        self._view = View()
        self._shown: dict[str, str] = {}
        self._is_looking = False
        self._messages = ColumnDataSource(data={"panel": [], "html": []})
        self._asks = ColumnDataSource(data={"ask": [], "number": []})
        self._asks.on_change("data", self._heed)
        self._messages.js_on_change(
            "data", CustomJS(code="window.ziggy.show(cb_obj.data)")
        )
        models = {"messages": self._messages, "asks": self._asks}
        begin = CustomJS(args=models, code="window.ziggy.begin(messages, asks)")
        document.js_on_event(DocumentReady, begin)
        for model in models.values():
            document.add_root(model)
        document.template = Template(_TEMPLATE.read_text(encoding="utf-8"))
        document.template_variables["cluster"] = site.cluster.name
        document.template_variables["mode"] = "operator" if may_act else "read only"
        self._show(self._look())
        update: Any = self._update
        document.add_periodic_callback(update, _UPDATE_MS)

    def _look(self) -> dict[str, str]:
        return panels(self._site.database, self._view, may_act=self._may_act)

    def _show(self, found: dict[str, str]) -> None:
        """Send the panels that are other than before."""
        new = {
            name: html for name, html in found.items() if self._shown.get(name) != html
        }
        self._shown.update(new)
        if new:
            self._messages.data = {"panel": list(new), "html": list(new.values())}

    @without_document_lock
    async def _update(self) -> None:
        """Look in a thread, so that neither browser nor scheduler waits for it."""
        if self._is_looking:
            return
        self._is_looking = True
        view = self._view
        try:
            found = await asyncio.to_thread(self._look)
        finally:
            self._is_looking = False
        if view is self._view:
            self._document.add_next_tick_callback(partial(self._show, found))

    def _heed(self, attribute: str, old: object, new: dict[str, list[Any]]) -> None:
        """Do what the browser asks for; say why, if not."""
        try:
            ask = json.loads(new["ask"][0])
            if ask["do"] == "acknowledge":
                self._acknowledge(int(ask["value"]))
            else:
                self._view = changed(self._view, ask)
            found = self._look()
        except (ZiggyError, ValueError, KeyError, TypeError, IndexError) as error:
            self._view = View()
            found = {"answer": str(error).replace("&", "&amp;").replace("<", "&lt;")}
        self._show(found)

    def _acknowledge(self, number: int) -> None:
        if not self._may_act:
            raise ValueError(
                "read only: open the page with the token of: ziggy console"
            )
        alerts.acknowledge(self._site.database, [number])
