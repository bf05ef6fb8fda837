"""The datastore as users see it: products by path, at a point of its history."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import xarray as xr

from ziggy_dask.datastore.export import export
from ziggy_dask.datastore.index import directory, read_product
from ziggy_dask.datastore.items import (
    FileItem,
    Files,
    open_dataset_item,
    read_file_item,
)
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.masking import masked
from ziggy_dask.datastore.origin import Origin, origin_in
from ziggy_dask.datastore.product import StoredProduct
from ziggy_dask.datastore.repository import Repository
from ziggy_dask.datastore.spelling import spelled, tree_names
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import ProductKind
from ziggy_dask.display import Html, card, markup, section, table
from ziggy_dask.errors import DatastoreError

_MOST_SHOWN = 100
"""So many products are shown in a notebook."""


class Datastore:
    """Products by path, as of one snapshot.

    ``datastore["set-1/L3"]`` is a lazy `xarray.Dataset` for an array product, an
    `xarray.DataTree` for a collection, a mapping of file name to bytes for files, of
    which each is read when it is asked for.

    Parameters
    ----------
    repository
        Where they are.
    snapshot
        As of when; None: always the newest.
    """

    def __init__(self, repository: Repository, snapshot: str | None = None) -> None:
        self._repository = repository
        self._snapshot = snapshot

    @property
    def url(self) -> str:
        """Where the datastore is."""
        return self._repository.url

    @property
    def snapshot(self) -> str:
        """The snapshot that this view shows."""
        return self._snapshot or self._repository.tip()

    def __getitem__(self, path: str) -> xr.Dataset | xr.DataTree | Files:
        """Open the product at `path`; array products are not loaded."""
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        try:
            product = read_product(session, path.strip("/"))
        except DatastoreError as error:
            raise DatastoreError(f"{error}{suggestion(path, self)}") from None
        if product.kind is ProductKind.ARRAY:
            dataset = open_dataset(session, product.path)
            missing = product.attributes.get("missing")
            if missing is None or product.dimension not in dataset.variables:
                return dataset
            return masked(dataset, product.dimension, Labels.from_json(missing))
        names = product.labels.texts() if product.labels is not None else []
        if product.kind is ProductKind.COLLECTION:
            items = {
                spelled(name): _for_tree(open_dataset_item(session, product.path, name))
                for name in names
            }
            return xr.DataTree.from_dict(items, name=product.path.rpartition("/")[-1])
        return Files(session, product.path, names)

    def product(self, path: str) -> StoredProduct:
        """Return the product at `path` with where it comes from, to look at."""
        content = self[path]
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        product = read_product(session, path.strip("/"))
        if product.labels is None or "missing" not in product.attributes:
            return StoredProduct(product, content)
        if not isinstance(content, xr.Dataset):
            return StoredProduct(product, content)
        whole = open_dataset(session, product.path)
        places = Labels(whole[product.dimension].values).positions(product.labels)
        made = whole.isel({product.dimension: places})
        return StoredProduct(product, content, made)

    def why(self, path: str, where: Mapping[str, object]) -> Origin:
        """Return who made a product, or an item of it, as it tells itself.

        The same as by `product`, but nothing of its content is opened.

        Parameters
        ----------
        path
            The product.
        where
            Dimension and label of an item; empty: all of it.

        Raises
        ------
        DatastoreError
            If there is no such product or item.
        """
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        try:
            product = read_product(session, path.strip("/"))
        except DatastoreError as error:
            raise DatastoreError(f"{error}{suggestion(path, self)}") from None
        if product.kind is not ProductKind.FILE:
            return origin_in(product, where)
        return origin_in(product, where, Files(session, product.path, ()).origin)

    def _ipython_key_completions_(self) -> list[str]:
        """List the paths of all products, for completion."""
        return list(self)

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        paths = list(self)
        shown = [{"product": path} for path in paths[:_MOST_SHOWN]]
        where = Html(f'<span class="zg-soft">at {markup(self.snapshot)}</span>')
        part = section("Products", table(shown), f"({len(paths)})", is_open=True)
        return card("Datastore", self.url, where, [part])

    def __contains__(self, path: str) -> bool:
        """Tell whether there is a product at `path`."""
        name = path.strip("/")
        return name in self._repository.paths(name, self._snapshot)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths of all products."""
        return iter(self._repository.paths(at=self._snapshot))

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self._repository.paths(at=self._snapshot))

    def __repr__(self) -> str:
        """List the products."""
        lines = [f"<ziggy_dask.Datastore {self.url} at {self.snapshot}>"]
        return "\n".join([*lines, *(f"    {path}" for path in self)])

    def file(self, path: str, name: str) -> FileItem:
        """Return one file of a file product."""
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        return read_file_item(session, path, name)

    def items(self, path: str) -> list[str]:
        """Return the names of a product's files, or the labels of its items."""
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        labels = read_product(session, path.strip("/")).labels
        return [] if labels is None else labels.texts()

    def export(
        self, directory: str | os.PathLike[str], paths: Iterable[str] | None = None
    ) -> list[Path]:
        """Write products into directories of their names.

        Files come out byte for byte; arrays and collections as NetCDF, which say where
        they come from in the global attribute ``ziggy``, as JSON. Nothing is held in
        memory as a whole, and a file gets its name when it is whole.

        Parameters
        ----------
        directory
            Where to; files that are there are replaced.
        paths
            Which products; None: all.

        Returns
        -------
        list
            The files that were written.

        Raises
        ------
        ExportError
            If something could not be written, with each product and item that this is
            true of; all others were.
        """
        wanted = [path.strip("/") for path in (self if paths is None else paths)]
        return export(wanted, self.product, Path(directory))

    def below(self, path: str = "") -> dict[str, ProductKind | None]:
        """Return what lies directly below a path: kinds of products by name.

        None stands for a directory that is not a product.
        """
        session = self._repository.session_of(path.strip("/"), self._snapshot)
        return directory(session, path.strip("/"))

    def as_of(self, snapshot: str) -> Datastore:
        """Return the datastore as of a snapshot."""
        return Datastore(self._repository, snapshot)

    def history(self) -> list[tuple[str, datetime, str]]:
        """Return snapshot, time (UTC) and message of what was published, newest first.

        What expired is left out: it can't be read any more.
        """
        commits = self._repository.history()
        return [
            (one.snapshot, one.time, one.message)
            for one in commits
            if one.expired is None
        ]


def _for_tree(item: xr.Dataset | xr.DataTree) -> xr.Dataset | xr.DataTree:
    """Return an item with names that a tree can hold, as `true_names` undoes them."""
    if isinstance(item, xr.DataTree):
        nodes = {
            node.path: node.to_dataset(inherit=False).rename(
                tree_names(node.to_dataset(inherit=False).variables)
            )
            for node in item.subtree
        }
        return xr.DataTree.from_dict(nodes)
    return item.rename(tree_names(item.variables))
