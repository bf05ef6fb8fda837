"""The datastore as users see it: products by path, at a point of its history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import xarray as xr

from ziggy_dask.datastore.index import all_products, read_product
from ziggy_dask.datastore.items import FileItem, read_file_item
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.repository import Repository
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import ProductKind
from ziggy_dask.errors import DatastoreError


class Datastore:
    """Products by path, as of one snapshot.

    ``datastore["set-1/L3"]`` is a lazy `xarray.Dataset` for an array product, an
    `xarray.DataTree` for a collection, a dict of file name to bytes for files.

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

    def __getitem__(self, path: str) -> xr.Dataset | xr.DataTree | dict[str, bytes]:
        """Open the product at `path`; array products are not loaded."""
        session = self._repository.reading(self._snapshot)
        try:
            product = read_product(session, path.strip("/"))
        except DatastoreError as error:
            raise DatastoreError(f"{error}{suggestion(path, self)}") from None
        if product.kind is ProductKind.ARRAY:
            return open_dataset(session, product.path)
        names = product.labels.texts() if product.labels is not None else []
        if product.kind is ProductKind.COLLECTION:
            items = {
                name: open_dataset(session, f"{product.path}/{name}") for name in names
            }
            return xr.DataTree.from_dict(items, name=product.path.rpartition("/")[-1])
        return {name: self.file(product.path, name).data for name in names}

    def __contains__(self, path: str) -> bool:
        """Tell whether there is a product at `path`."""
        return path.strip("/") in set(self)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths of all products."""
        return all_products(self._repository.reading(self._snapshot))

    def __len__(self) -> int:
        """Return the number of products."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """List the products."""
        lines = [f"<ziggy_dask.Datastore {self.url} at {self.snapshot}>"]
        return "\n".join([*lines, *(f"    {path}" for path in self)])

    def file(self, path: str, name: str) -> FileItem:
        """Return one file of a file product."""
        return read_file_item(self._repository.reading(self._snapshot), path, name)

    def as_of(self, snapshot: str) -> Datastore:
        """Return the datastore as of a snapshot."""
        return Datastore(self._repository, snapshot)

    def history(self) -> list[tuple[str, datetime, str]]:
        """Return snapshot, time (UTC) and message of what was published, newest first."""
        commits = self._repository.history()
        return [(one.snapshot, one.time, one.message) for one in commits]
