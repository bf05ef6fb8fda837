"""The server of the page: a Bokeh application for each browser that opens it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from bokeh.document import Document, without_document_lock
from bokeh.events import DocumentReady
from bokeh.models import ColumnDataSource, CustomJS
from bokeh.server.server import Server
from jinja2 import Template

from ziggy_dask.compute.dashboard_access import guard
from ziggy_dask.datastore import Datastore
from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.page.actions import ACTIONS
from ziggy_dask.interface.page.drawings import Material, drawings
from ziggy_dask.interface.page.panels import chosen_instance, chosen_moment, panels
from ziggy_dask.interface.page.plot_cache import PlotCache
from ziggy_dask.interface.page.store import store_panel
from ziggy_dask.interface.page.token import is_token, page_token
from ziggy_dask.interface.page.view import View, changed
from ziggy_dask.records.overview import scoreboard
from ziggy_dask.supervisor import OpenCluster

_UPDATE_MS = 1000
_TEMPLATE = Path(__file__).with_name("page.html")


def page_server(site: OpenCluster, port: int = 0) -> tuple[Server, str]:
    """Return a server of the page that has not begun, and the address with the token.

    Only this user of this machine reaches it, and only pages of its own may open
    connections.
    """
    token = page_token(site.cluster.home)
    server = Server(
        {"/ziggy": partial(open_page, site, PlotCache(site.database), token)},
        port=port,
        address="127.0.0.1",
        use_xheaders=False,
    )
    guard(server._http)
    tornado: Any = server._tornado  # its port, and so its origin, is known only now
    tornado._websocket_origins = set(origins(server.port))
    return server, f"http://127.0.0.1:{server.port}/ziggy?token={token}"


def origins(port: int | None) -> list[str]:
    """Return whose pages may open connections to a port of this machine."""
    return [f"{host}:{port}" for host in ("127.0.0.1", "localhost")]


def open_page(
    site: OpenCluster, book: PlotCache, token: str | None, document: Document
) -> None:
    """Make the document of one browser.

    Parameters
    ----------
    site
        The open cluster.
    book
        What pictures are made of, for all browsers.
    token
        With which the page must be opened to act; None: it stands in Dask's dashboard,
        and nobody may act there.
    document
        The document.
    """
    context: Any = document.session_context  # a server's documents have one
    given = (context.request.arguments.get("token") or [b""])[0]
    document.template_variables["has_dashboard"] = token is None
    Visit(site, book, document, may_act=token is not None and is_token(given, token))


def _drawn_of(view: View) -> tuple[object, ...]:
    """Return what pictures depend on."""
    return view.instance, view.at_s, view.place


class Visit:
    """One browser that looks at the page.

    Parameters
    ----------
    site
        The open cluster.
    book
        What pictures are made of.
    document
        What Bokeh keeps in step with the browser.
    may_act
        Whether it was opened with the token.
    """

    def __init__(
        self, site: OpenCluster, book: PlotCache, document: Document, *, may_act: bool
    ) -> None:
        self._site = site
        self._book = book
        self._document = document
        self._may_act = may_act
        self._view = View()
        self._shown: dict[str, str] = {}
        self._is_gone = False
        self._is_looking = False
        self._material: Material | None = None
        self._drawn: object = None
        self._walked: object = None
        self._busy: set[str] = set()
        self._messages = ColumnDataSource(data={"panel": [], "html": []})
        self._asks = ColumnDataSource(data={"ask": [], "number": []})
        self._asks.on_change("data", self._heed)
        self._messages.js_on_change(
            "data", CustomJS(code="window.ziggy.show(cb_obj.data)")
        )
        begin = CustomJS(args={"asks": self._asks}, code="window.ziggy.begin(asks)")
        document.js_on_event(DocumentReady, begin)
        for model in (self._messages, self._asks):
            document.add_root(model)
        document.template = Template(_TEMPLATE.read_text(encoding="utf-8"))
        document.template_variables["cluster"] = site.cluster.name
        document.template_variables["mode"] = "operator" if may_act else "read only"
        document.on_session_destroyed(self._end)
        for look in (self._update, self._draw, self._stroll):
            call: Any = look
            document.add_periodic_callback(call, _UPDATE_MS)

    def _look(self, view: View) -> dict[str, str]:
        return panels(self._site.database, view, may_act=self._may_act)

    def _walk(self, view: View) -> dict[str, str]:
        """Return the place in the datastore, if it is other than before."""
        snapshot = self._site.repository.tip()
        if (snapshot, view.place) == self._walked:
            return {}
        datastore = Datastore(self._site.repository, snapshot)
        found = {"datastore": store_panel(datastore, view.place)}
        self._walked = snapshot, view.place
        return found

    def _picture(self, view: View) -> dict[str, str]:
        """Return pictures of the instance, if they are others than before."""
        if self._is_gone:
            return {}
        database = self._site.database
        number = chosen_instance(database, view)
        scores = scoreboard(database, number)
        made_of = self._book.material(number, scores) if number else None
        key = number, scores, view.at_s
        if key == self._drawn and made_of is self._material:
            return {}
        at = chosen_moment(database, view)
        at_s = None
        if at is not None:
            scores, at_s = scoreboard(database, number, at=at), at.timestamp()
        found = drawings(made_of, scores, at_s)
        self._drawn, self._material = key, made_of
        return found

    def _show(self, found: dict[str, str]) -> None:
        """Send the panels that are other than before."""
        new = {
            name: html for name, html in found.items() if self._shown.get(name) != html
        }
        self._shown.update(new)
        if new:
            self._messages.data = {"panel": list(new), "html": list(new.values())}

    def _end(self, session: object) -> None:
        """Note that the browser is gone; what is looked up right now comes to nothing."""
        self._is_gone = True

    def _soon(self, callback: Any) -> None:
        """Have the server call something as soon as it can, for a browser that is there."""
        if not self._is_gone:
            self._document.add_next_tick_callback(callback)

    @without_document_lock
    async def _update(self) -> None:
        """Look in a thread, so that neither browser nor scheduler waits for it."""
        if self._is_looking:
            return
        self._is_looking = True
        view = self._view
        try:
            found = await asyncio.to_thread(self._look, view)
        finally:
            self._is_looking = False
        if view is self._view:
            self._soon(partial(self._show, found))

    @without_document_lock
    async def _draw(self) -> None:
        """Draw in a thread of its own, so that a slow drawing delays no update."""
        await self._look_apart(self._book.thread, self._picture)

    @without_document_lock
    async def _stroll(self) -> None:
        """Look at the datastore, which may be far away, beside all else."""
        await self._look_apart(None, self._walk)

    async def _look_apart(
        self, thread: Executor | None, look: Callable[[View], dict[str, str]]
    ) -> None:
        """Have a thread look, unless it does, and show what it saw."""
        if look.__name__ in self._busy:
            return
        self._busy.add(look.__name__)
        view, loop = self._view, asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(thread, look, view)
        finally:
            self._busy.remove(look.__name__)
        if _drawn_of(view) == _drawn_of(self._view):
            self._soon(partial(self._show, found))
        else:  # it is not shown, and may be asked for again
            self._drawn = self._walked = None

    def _heed(self, attribute: str, old: object, new: dict[str, list[Any]]) -> None:
        """Have done what the browser asks for."""

        @without_document_lock
        async def answer() -> None:
            await self._answer(new)

        self._soon(answer)

    async def _answer(self, new: dict[str, list[Any]]) -> None:
        """Do what the browser asks for; say why, if not."""
        try:
            ask = json.loads(new["ask"][0])
            if ask["do"] == "begin":  # what was sent before is lost
                self._shown, self._drawn, self._walked = {}, None, None
            elif ask["do"] in ACTIONS:
                await asyncio.to_thread(self._act, ask["do"], int(ask["value"]))
            else:
                self._view = changed(self._view, ask)
            view = self._view
            found = {"answer": "", **await asyncio.to_thread(self._look, view)}
        except (ZiggyError, ValueError, KeyError, TypeError, IndexError) as error:
            view = self._view = View()
            self._shown.pop("answer", None)
            found = {"answer": str(error).replace("&", "&amp;").replace("<", "&lt;")}
        if view is self._view:
            self._soon(partial(self._show, found))
        for look in (self._draw, self._stroll):
            self._soon(look)

    def _act(self, action: str, number: int) -> None:
        if not self._may_act:
            raise ValueError(
                "read only: open the page with the token of: ziggy console"
            )
        ACTIONS[action](self._site, number)
