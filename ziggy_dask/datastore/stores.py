"""Arrays of a session as Zarr reads and writes them, without what can be spared.

Icechunk's own store copies each value before it hands it on, even the ``bytes`` that a
compressor returned and nothing can change. For a chunk of tens of MiB new memory has to
be mapped and filled, which costs about as much as the write to a fast disk. And Zarr
compares all of a chunk to the fill value, to store nothing for an empty one; most often
its first element tells that it is none.
"""

from __future__ import annotations

from typing import Any

import icechunk
import numpy as np
import zarr
from numpy.typing import ArrayLike
from zarr.abc.store import Store
from zarr.core.array import AsyncArray
from zarr.core.buffer import Buffer
from zarr.storage import StorePath


class _Uncopied(icechunk.IcechunkStore):
    async def set(self, key: str, value: Buffer) -> None:
        source: object = value.as_numpy_array().base
        if isinstance(source, bytes) and len(source) == len(value):
            await self._store.set(key, source)
        else:  # Memory that may change: a session or a store may keep what it gets.
            await super().set(key, value)


def store_to_write(session: icechunk.Session) -> icechunk.IcechunkStore:
    """Return the store of a writable session or a fork that does not copy ``bytes``."""
    store = session.store
    return _Uncopied(store._store, for_fork=store._for_fork)


def bind(
    store: Store, path: str, metadata: Any, *, empty_chunks: bool = False
) -> zarr.Array[Any]:
    """Return an array whose metadata are known, without a look at the store.

    Parameters
    ----------
    store
        Where it is.
    path
        Its path there.
    metadata
        Its Zarr metadata.
    empty_chunks
        If to write chunks of nothing but the fill value, too. Otherwise as Zarr is
        configured, which by default leaves them out.
    """
    return zarr.Array(
        AsyncArray(
            metadata=metadata,
            store_path=StorePath(store, path),
            config={"write_empty_chunks": True} if empty_chunks else None,
        )
    )


def write_region(
    store: Store, path: str, metadata: Any, region: tuple[slice, ...], values: ArrayLike
) -> None:
    """Write a region of an array that is made of whole chunks.

    Parameters
    ----------
    store
        Where the array is; see `store_to_write`.
    path
        Its path there.
    metadata
        Its Zarr metadata.
    region
        Where the values go.
    values
        What to write; in the shape of the region.
    """
    is_filled = not _may_be_empty(metadata, np.asanyarray(values))
    bind(store, path, metadata, empty_chunks=is_filled)[region] = values


def _may_be_empty(metadata: Any, values: np.ndarray[Any, Any]) -> bool:
    """Return if some chunk may have nothing but the fill value: its first one tells."""
    # nan + 1j counts as nan, the fill value; NumPy takes any text that begins with NUL
    # for any other such one.
    if values.dtype.kind in "cT":
        return False
    if values.dtype.kind not in "biuf" or values.ndim != metadata.ndim:
        return True
    firsts = values[tuple(slice(None, None, size) for size in metadata.chunks)]
    fill = metadata.fill_value
    if not np.any((firsts == fill) | ((firsts != firsts) & (fill != fill))):
        return False
    return values.dtype.kind != "f" or fill == fill or _is_one_nan(values, fill)


def _is_one_nan(values: np.ndarray[Any, Any], fill: Any) -> bool:
    """Tell whether all that is no number is so in the same bits as the fill value."""
    kind = f"u{values.dtype.itemsize}"
    found = np.ascontiguousarray(values[values != values]).view(kind)
    return bool((found == np.array(fill, values.dtype).view(kind)).all())
