"""The datastore as a tree to walk through, with a first look at products."""

from __future__ import annotations

import io
from base64 import b64encode
from html import escape

import xarray as xr

from ziggy_dask.datastore import Datastore
from ziggy_dask.datastore.items import Files
from ziggy_dask.datastore.product import StoredProduct
from ziggy_dask.definitions import ProductKind
from ziggy_dask.errors import DatastoreError
from ziggy_dask.interface.page import parts

_MOST = 200
"""So many directories, products or files are shown of one place."""
_MOST_BYTES = 100_000_000
"""What is larger is not loaded for a look."""


def store_panel(datastore: Datastore, place: str) -> str:
    """Return what lies at a place, with buttons to those above and below."""
    below = datastore.below(place)
    rows = [
        [
            parts.button("place", f"{place}/{name}".strip("/"), name),
            "directory" if kind is None else _KINDS[kind],
        ]
        for name, kind in list(below.items())[:_MOST]
    ]
    above = _way(place)
    try:
        found = _product(datastore.product(place)) if place else ""
    except DatastoreError as error:  # a directory, or gone since it was listed
        found = "" if below else f"<p>{escape(str(error))}</p>"
    listed = (
        "" if found and not below else parts.table(["name", ""], rows, "It is empty.")
    )
    more = f"<p>{len(below) - _MOST} more</p>" if len(below) > _MOST else ""
    return f"{above}{listed}{more}{found}"


_KINDS = {
    ProductKind.ARRAY: "arrays",
    ProductKind.COLLECTION: "collection of arrays",
    ProductKind.FILE: "files",
}


def _way(place: str) -> str:
    """Return buttons to all places above one."""
    names = place.split("/") if place else []
    buttons = [parts.button("place", "", "datastore")]
    for depth, name in enumerate(names, 1):
        buttons.append(parts.button("place", "/".join(names[:depth]), name))
    return f"<p>{' / '.join(buttons)}</p>"


def _product(product: StoredProduct) -> str:
    origin = ", ".join(f"{key} {value}" for key, value in product.origin.items())
    items = product.items
    some = f"{len(items)} items: {', '.join(items[:5])}{' …' if len(items) > 5 else ''}"
    facts = [_KINDS[product.kind], origin, some if items else ""]
    lines = "".join(f"<p>{escape(one)}</p>" for one in facts if one)
    return lines + _content(product) + _look(product)


def _content(product: StoredProduct) -> str:
    content = product.open()
    if isinstance(content, Files):
        rows = [
            [escape(name), parts.number(content.item(name).size)]
            for name in list(content)[:_MOST]
        ]
        return parts.table(["file", "bytes"], rows, "It has no files.")
    dataset = content
    if isinstance(dataset, xr.DataTree):
        dataset = next(iter(dataset.children.values())).to_dataset()
    rows = [
        [
            escape(str(name)),
            escape(" × ".join(f"{dim} {size}" for dim, size in one.sizes.items())),
            escape(str(one.dtype)),
            escape(str(one.attrs.get("units", ""))),
        ]
        for name, one in dataset.variables.items()
    ]
    return parts.table(["variable", "shape", "type", "units"], rows, "It is empty.")


def _look(product: StoredProduct) -> str:
    """Return a picture of the first item, or why there is none."""
    from matplotlib.figure import Figure

    try:
        values = product.chosen()
        if values.nbytes > _MOST_BYTES:
            return f"<p>{values.nbytes / 1e6:.0f} MB are too much for a quick look.</p>"
        figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
        product.plot(ax=figure.subplots())
    except DatastoreError as error:
        return f"<p>{escape(str(error))}</p>"
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    data = b64encode(drawn.getvalue()).decode("ascii")
    told = f"{product.path}: {values.name}"
    return f'<img alt="{escape(told)}" src="data:image/png;base64,{data}">'
