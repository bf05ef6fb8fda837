"""One product as users hold it: what it is, where it comes from, a first look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.index import Product
from ziggy_dask.datastore.items import Files
from ziggy_dask.datastore.origin import Origin, origin_in
from ziggy_dask.datastore.per_item import settled
from ziggy_dask.datastore.spelling import true_names
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import ProductKind
from ziggy_dask.display import Html, card, markup, section, table
from ziggy_dask.errors import DatastoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Content = xr.Dataset | xr.DataTree | Files
_MOST_SHOWN = 50
"""So many items are shown in a notebook."""
_COLOURS = ("channel", "band", "rgb", "rgba", "colour", "color")
"""Names of dimensions along which the colours of pixels lie."""


class StoredProduct:
    """A product of the datastore.

    Parameters
    ----------
    product
        What is known of it.
    content
        Its content, lazy if it is an array or a collection.
    made
        Its content without the items that were never made; None: all were.
    """

    def __init__(
        self, product: Product, content: Content, made: xr.Dataset | None = None
    ) -> None:
        self._product = product
        self._content = content
        self._made = made

    @property
    def path(self) -> str:
        """Where it is in the datastore."""
        return self._product.path

    @property
    def kind(self) -> ProductKind:
        """How it is stored."""
        return self._product.kind

    @property
    def origin(self) -> dict[str, Any]:
        """Where it comes from: instance, task, node, unit of work."""
        hidden = ("kind", "dimension", "earlier")
        return {k: v for k, v in self._product.attributes.items() if k not in hidden}

    @property
    def items(self) -> list[str]:
        """Labels of its items, or names of its files."""
        labels = self._product.labels
        return [] if labels is None else labels.texts()

    def why(self, **where: object) -> Origin:
        """Return who made it, from what, with which code, as the datastore tells.

        Parameters
        ----------
        **where
            Dimension and label of an item, as in ``image=3``; by default all of it.

        Raises
        ------
        DatastoreError
            If there is no such item.
        """
        content = self._content
        of_file = content.origin if isinstance(content, Files) else None
        return origin_in(self._product, where, of_file)

    def open_made(self) -> Content:
        """Return its content as it was made, without the items that never were."""
        return self._content if self._made is None else self._made

    def open(self) -> Content:
        """Return its content: a Dataset, a DataTree, or bytes by file name."""
        return self._content

    def item_attrs(
        self, item: int | str, variable: str | None = None
    ) -> dict[str, Any]:
        """Return the attributes of one item: its own header, units, times.

        Parameters
        ----------
        item
            Its label, or its number, from 0.
        variable
            Of which variable; None: of the item itself.

        Raises
        ------
        DatastoreError
            If there is no such item or variable.
        """
        dataset = self._item(item)
        if variable is None:
            return {str(name): value for name, value in dataset.attrs.items()}
        self._require_variable(dataset, variable)
        attrs = dataset[variable].attrs
        return {str(name): value for name, value in attrs.items()}

    def plot(
        self,
        variable: str | None = None,
        item: int | str = 0,
        ax: Axes | None = None,
        **options: Any,
    ) -> Axes:
        """Draw a first look at it with xarray: an image, a line, or a histogram.

        Parameters
        ----------
        variable
            Which variable; by default the first that is made of numbers.
        item
            Which item along the subtask dimension, or of a collection: its label, e.g.
            ``"EPIC201367065"``, or its number, from 0.
        ax
            Where to draw; by default in a new figure.
        **options
            What `xarray.DataArray.plot` takes, e.g. ``robust=True``.

        Raises
        ------
        DatastoreError
            If there is nothing to draw.
        """
        import matplotlib.pyplot as plt

        values = self.chosen(variable, item)
        axes = plt.subplots()[1] if ax is None else ax
        _draw(values, axes, options)
        axes.set_title(self._title(values, item))
        return axes

    def chosen(self, variable: str | None = None, item: int | str = 0) -> xr.DataArray:
        """Return what `plot` draws, not loaded yet."""
        dataset = self.open_made()  # with its own types, not those of what is missing
        if isinstance(dataset, xr.DataTree):
            dataset = self._item(item)
        if not isinstance(dataset, xr.Dataset):
            raise DatastoreError(f"{self.path}: files can't be drawn; see open()")
        names = [str(k) for k, v in dataset.data_vars.items() if v.dtype.kind in "iufb"]
        if variable is None and not names:
            raise DatastoreError(
                f"{self.path}: has no variable that is made of numbers"
            )
        if variable is not None:
            self._require_variable(dataset, variable)
        values = dataset[names[0] if variable is None else variable]
        dimension = self._product.dimension
        if dimension not in values.dims:
            return values
        place = self._place_made(item)
        return values if values.ndim < 2 else values.isel({dimension: place})

    def _item(self, item: int | str) -> xr.Dataset:
        """Return one item, as a Dataset of its own."""
        content = self._content
        if isinstance(content, xr.DataTree):
            part = list(content.children.values())[self._position(item)].to_dataset()
            return part.rename(true_names(part.variables))
        dimension = self._product.dimension
        if not isinstance(content, xr.Dataset) or dimension not in content.dims:
            raise DatastoreError(f"{self.path}: has no items with attributes")
        self._place_made(item)
        return settled(content.isel({dimension: [self._position(item)]}))

    def _position(self, item: int | str) -> int:
        """Return the place of an item in the content, where some may be missing."""
        names = self._names()
        if isinstance(item, str):
            if item not in names:
                raise DatastoreError(
                    f"{self.path}: has no item {item!r}{suggestion(item, names)}"
                )
            return names.index(item)
        if not -len(names) <= item < len(names):
            raise DatastoreError(
                f"{self.path}: has no item {item}; it has {len(names)}, numbered from 0"
            )
        return item

    def _place_made(self, item: int | str) -> int:
        """Return the place of an item among those that were made."""
        place = self._position(item)
        if self._made is None:
            return place
        name = self._names()[place]
        if name not in self.items:
            raise DatastoreError(
                f"{self.path}: item {name!r} was never made; 'items' lists those that were"
            )
        return self.items.index(name)

    def _names(self) -> list[str]:
        content, dimension = self._content, self._product.dimension
        if isinstance(content, xr.Dataset) and dimension in content.variables:
            return [str(label) for label in content[dimension].values]
        if isinstance(content, xr.Dataset):
            return [str(place) for place in range(content.sizes.get(dimension, 0))]
        return self.items

    def _require_variable(self, dataset: xr.Dataset, variable: str) -> None:
        if variable not in dataset:
            names = [str(name) for name in dataset.variables]
            raise DatastoreError(
                f"{self.path}: has no variable {variable!r}{suggestion(variable, names)}"
            )

    def _title(self, values: xr.DataArray, item: int | str) -> str:
        has_items = isinstance(self._content, xr.DataTree) or (
            self._product.dimension in values.coords
            and not values[self._product.dimension].ndim
        )
        if not has_items:
            return f"{self.path} {values.name}"
        return f"{self.path} {values.name}, {self._names()[self._position(item)]}"

    def __repr__(self) -> str:
        """Say what it is."""
        return f"<ziggy_dask.StoredProduct {self.path}: {self.kind.value}>"

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        origin = [
            {"from": key, "value": str(value)} for key, value in self.origin.items()
        ]
        items = [{"item": name} for name in self.items[:_MOST_SHOWN]]
        content = self._content
        if isinstance(content, Files):
            body = table([{"file": k, "bytes": content.item(k).size} for k in content])
        else:
            body = Html(content._repr_html_())
        return card(
            "Product",
            self.path,
            Html(f'<span class="zg-soft">{markup(self.kind)}</span>'),
            [
                section("Content", body, is_open=True),
                section("Where it comes from", table(origin)),
                section("Items", table(items), f"({len(self.items)})"),
            ],
        )


def _draw(values: xr.DataArray, axes: Axes, options: Mapping[str, Any]) -> None:
    """Draw values: colours and planes as images, lines, or how often each value is."""
    is_colour = (
        values.ndim == 3 and values.dims[-1] in _COLOURS and values.shape[-1] in (3, 4)
    )
    if is_colour or values.ndim == 2:
        kind = values.plot.imshow if is_colour or _is_even(values) else values.plot
        colours = {"rgb": values.dims[-1]} if is_colour else {}
        kind(ax=axes, **{**colours, **options})
        if not {*values.dims[:2]} & {*values.coords} and not options.get("yincrease"):
            axes.set_ylim(values.shape[0] - 0.5, -0.5)  # An image without coordinates.
    elif values.ndim == 1:
        values.plot.line(ax=axes, **options)
    else:
        values.plot.hist(ax=axes, **({"bins": 50} | dict(options)))


def _is_even(values: xr.DataArray) -> bool:
    """Tell whether coordinates are numbers in even steps, as pixels of an image are."""
    return all(_is_even_along(values, str(name)) for name in values.dims)


def _is_even_along(values: xr.DataArray, name: str) -> bool:
    if name not in values.coords:
        return True
    places = values[name].values
    if places.dtype.kind not in "iuf" or places.size < 2:
        return False
    steps = np.diff(places)
    return bool(np.allclose(steps, steps[0], rtol=1e-3) and steps[0])
