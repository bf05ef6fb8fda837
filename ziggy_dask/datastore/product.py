"""One product as users hold it: what it is, where it comes from, a first look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.index import Product
from ziggy_dask.datastore.items import Files
from ziggy_dask.datastore.origin import Origin, origin_in
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import ProductKind
from ziggy_dask.display import Html, card, markup, section, table
from ziggy_dask.errors import DatastoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Content = xr.Dataset | xr.DataTree | Files
_MOST_SHOWN = 50
"""So many items are shown in a notebook."""


class StoredProduct:
    """A product of the datastore.

    Parameters
    ----------
    product
        What is known of it.
    content
        Its content, lazy if it is an array or a collection.
    """

    def __init__(self, product: Product, content: Content) -> None:
        self._product = product
        self._content = content

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
        hidden = ("kind", "dimension")
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
        return origin_in(self._product, where)

    def open(self) -> Content:
        """Return its content: a Dataset, a DataTree, or bytes by file name."""
        return self._content

    def plot(
        self, variable: str | None = None, item: int = 0, ax: Axes | None = None
    ) -> Axes:
        """Draw a first look at it: an image, a line, or a histogram.

        Parameters
        ----------
        variable
            Which variable; by default the first that is made of numbers.
        item
            Which item along the subtask dimension, or of a collection.
        ax
            Where to draw; by default in a new figure.

        Raises
        ------
        DatastoreError
            If there is nothing to draw.
        """
        import matplotlib.pyplot as plt

        values = self.chosen(variable, item)
        axes = plt.subplots()[1] if ax is None else ax
        _draw(values, axes)
        axes.set_title(f"{self.path} {values.name}")
        return axes

    def chosen(self, variable: str | None = None, item: int = 0) -> xr.DataArray:
        """Return what `plot` draws, not loaded yet."""
        dataset = self._content
        if isinstance(dataset, xr.DataTree):
            held = list(dataset.children.values())
            self._require(item, len(held))
            dataset = held[item].to_dataset()
        if not isinstance(dataset, xr.Dataset):
            raise DatastoreError(f"{self.path}: files can't be drawn; see open()")
        names = [str(k) for k, v in dataset.data_vars.items() if v.dtype.kind in "iufb"]
        if variable is None and not names:
            raise DatastoreError(
                f"{self.path}: has no variable that is made of numbers"
            )
        if variable is not None and variable not in dataset:
            raise DatastoreError(
                f"{self.path}: has no variable {variable!r}{suggestion(variable, names)}"
            )
        values = dataset[variable or names[0]]
        dimension = self._product.dimension
        if values.ndim < 2 or dimension not in values.dims:
            return values
        self._require(item, values.sizes[dimension])
        return values.isel({dimension: item})

    def _require(self, item: int, count: int) -> None:
        if not -count <= item < count:
            raise DatastoreError(
                f"{self.path}: has no item {item}; it has {count}, numbered from 0"
            )

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


def _draw(values: xr.DataArray, axes: Axes) -> None:
    is_colour = values.ndim == 3 and values.shape[-1] in (3, 4)
    if is_colour or values.ndim == 2:
        axes.imshow(np.asarray(values), interpolation="nearest", cmap="viridis")
        axes.set_ylabel(str(values.dims[0]))
        axes.set_xlabel(str(values.dims[1]))
    elif values.ndim == 1:
        axes.plot(np.asarray(values))
        axes.set_xlabel(str(values.dims[0]))
        axes.set_ylabel(str(values.name))
    else:
        axes.hist(np.asarray(values).ravel(), bins=50)
        axes.set_xlabel(str(values.name))
