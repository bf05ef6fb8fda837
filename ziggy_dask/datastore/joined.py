"""Several snapshots, read as one: each product from the one that has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import icechunk
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from ziggy_dask.datastore.trees import above
from ziggy_dask.errors import MissingError

_OF_GROUP = "zarr.json"
"""Metadata of a group or an array."""


class JoinedStore(Store):
    """A Zarr store that reads products from several others.

    Groups above products are there because the products are; they have no attributes.

    Parameters
    ----------
    stores
        The store of each product, by path.
    """

    def __init__(self, stores: Mapping[str, Store]) -> None:
        super().__init__(read_only=True)
        self._is_open = True
        self._stores = dict(stores)
        self._below: dict[str, set[str]] = defaultdict(set)
        for path in self._stores:
            for one in (path, *above(path)):
                parent, _, name = one.rpartition("/")
                self._below[parent].add(name)

    def __eq__(self, other: object) -> bool:
        """Tell whether another store reads the same."""
        return isinstance(other, JoinedStore) and self._stores == other._stores

    __hash__ = None  # type: ignore[assignment]

    def _products_at(self, path: str) -> list[str]:
        """Return the products that something is in, inner ones first."""
        return [one for one in (path, *above(path)) if one in self._stores]

    async def store_with(self, path: str) -> Store | None:
        """Return the store that has an array; None: none has."""
        for product in self._products_at(path):
            if await self._stores[product].exists(f"{path}/{_OF_GROUP}"):
                return self._stores[product]
        return None

    def _stores_of(self, key: str) -> list[Store]:
        """Return the stores that may have a key; the first one that has it counts.

        Files of a product can lie in a directory that is another product.
        """
        path = key.removesuffix(_OF_GROUP).strip("/")
        products = self._products_at(path)
        if not products and key.endswith(_OF_GROUP) and path in self._below:
            inner = path
            while inner not in self._stores:  # any product below has this group, too
                inner = f"{inner}/{min(self._below[inner])}".strip("/")
            products = [inner]
        return [self._stores[one] for one in products]

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return what is at a key; None: nothing."""
        for store in self._stores_of(key):
            found = await store.get(key, prototype, byte_range)
            if found is not None:
                return found
        return None

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return parts of what is at some keys."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Tell whether there is something at a key."""
        return any([await store.exists(key) for store in self._stores_of(key)])

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys of products."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield all keys of products that begin with a prefix."""
        seen = set()
        for path, store in self._stores.items():
            if path.startswith(prefix) or f"{prefix}/".startswith(f"{path}/"):
                async for key in store.list_prefix(path):
                    if key.startswith(prefix) and key not in seen:
                        seen.add(key)
                        yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield what lies directly below a prefix."""
        path = prefix.strip("/")
        names = set(self._below.get(path, ()))
        for product in self._products_at(path):
            async for name in self._stores[product].list_dir(path):
                names.add(name)
        if path in self._below:
            names.add(_OF_GROUP)
        for name in sorted(names):
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse to write, as each read-only store does."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse to remove, as each read-only store does."""
        self._check_writable()

    @property
    def supports_writes(self) -> bool:
        """False."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """False."""
        return False

    @property
    def supports_listing(self) -> bool:
        """True."""
        return True


class JoinedSession(icechunk.Session):
    """A session that reads several snapshots as one.

    Parameters
    ----------
    snapshot
        Stands for all of them.
    stores
        The store of each product, by path.
    """

    def __init__(self, snapshot: str, stores: Mapping[str, Store]) -> None:
        self._snapshot = snapshot
        self._joined = JoinedStore(stores)

    def __getstate__(self) -> object:
        """Return what `__setstate__` takes."""
        return self._snapshot, self._joined

    def __setstate__(self, state: Any) -> None:
        """Take what `__getstate__` returned."""
        self._snapshot, self._joined = state

    @property
    def read_only(self) -> bool:
        """True."""
        return True

    @property
    def store(self) -> Store:  # type: ignore[override]
        """The store."""
        return self._joined

    @property
    def snapshot_id(self) -> str:
        """The snapshot that stands for all."""
        return self._snapshot

    async def chunk_coordinates(
        self, array_path: str, batch_size: int = 1000
    ) -> AsyncIterator[tuple[int, ...]]:
        """Yield where the chunks of an array are that were written."""
        store = await self._joined.store_with(array_path.strip("/"))
        if store is None:
            raise MissingError(f"the datastore has no array at '{array_path}'")
        assert isinstance(store, icechunk.IcechunkStore)
        async for place in store.session.chunk_coordinates(array_path, batch_size):
            yield place
