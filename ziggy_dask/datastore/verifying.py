"""Reading all that is stored of a product, to see that it is what was written.

Chunks have checksums, which are compared when they are decoded; files have a SHA-256 besides.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

from ziggy_dask.datastore.digests import CHANGED, LOST, digest_of
from ziggy_dask.datastore.encoding import stored_name
from ziggy_dask.datastore.index import Product, dimension_labels, read_product
from ziggy_dask.datastore.panics import panics_as_errors
from ziggy_dask.datastore.repository import Repository
from ziggy_dask.datastore.shortage import shortage
from ziggy_dask.datastore.spelling import unspelled
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.definitions import ProductKind
from ziggy_dask.errors import DatastoreError

_AT_ONCE_BYTES = 32 * 1024 * 1024
"""So much is read at once, if chunks are not larger."""
_THREADS = 2
_CHECKED = ("crc32c",)
"""Codecs that are nothing but a checksum."""

Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what was written, or can't be read."""

    path: str
    """The product."""
    array: str = ""
    """The variable, or file, of it; empty: all of it."""
    items: tuple[str, ...] = ()
    """The items that it is in, as far as that is known."""
    chunk: str = ""
    """Where in the array, as indices of the chunk."""
    reason: str
    """What is wrong."""

    def __str__(self) -> str:
        """Say it in one line."""
        words = [f"'{self.path}'"]
        if self.items:
            more = f" and {len(self.items) - 3} more" if len(self.items) > 3 else ""
            words.append(f"item {', '.join(self.items[:3])}{more}")
        if self.array:
            words.append(f"{self.array!r}")
        if self.chunk:
            words.append(f"chunk {self.chunk}")
        return f"{', '.join(words)}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was read of a product, and what is wrong with it."""

    path: str
    """The product."""
    arrays: int = 0
    """Arrays that were read, files among them."""
    chunks: int = 0
    """Chunks that were read."""
    bytes: int = 0
    """Size of the values in them, in bytes."""
    seconds: float = 0.0
    """For how long."""
    damages: tuple[Damage, ...] = field(default=())
    """What is wrong."""
    unchecked: tuple[str, ...] = ()
    """Arrays that could be read, but have no checksum: they are of earlier versions."""
    files: int = 0
    """Files that say where its chunks are, and were what was written."""
    undigested: int = 0
    """Such files without a digest on record: those of earlier versions."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages


def products_at(repository: Repository, snapshot: str) -> list[str]:
    """Return the paths of the products of a snapshot.

    Raises
    ------
    DatastoreError
        If that can't be read, in whatever way its files are damaged.
    """
    try:
        with panics_as_errors():
            return repository.paths(at=snapshot)
    except Exception as error:
        raise DatastoreError(
            f"datastore {repository.url}: the list of products of snapshot {snapshot!r} "
            f"{_said(error)}"
        ) from error


def verify_product(
    repository: Repository,
    path: str,
    snapshot: str,
    digests: Mapping[str, bytes | None] | None = None,
) -> Verified:
    """Read all chunks of a product, and the files that say where they are.

    Parameters
    ----------
    repository
        The datastore.
    path
        The product.
    snapshot
        As of when.
    digests
        Digests of these files by name; None: there is none on record.
    """
    began = time.monotonic()
    files = digests or {}
    damages = list(_changed_files(repository.url, path, files))
    labels: list[str] = []
    try:
        with panics_as_errors():
            session = repository.session_of(path, snapshot)
            product = read_product(session, path)
            group = zarr.open_group(session.store, path=path, mode="r")
            arrays = sorted(_arrays(group, product.kind), key=lambda one: one[0])
            if product.kind is ProductKind.ARRAY and product.dimension:
                found = dimension_labels(session, group, path, product.dimension)
                labels = found.texts()
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        damages.append(Damage(path=path, reason=_said(error)))
        seconds = time.monotonic() - began
        return Verified(path=path, damages=tuple(damages), seconds=seconds)
    unchecked: list[str] = []
    chunks = size = 0
    for name, array in arrays:
        bad = list(_read(product, labels, name, array))
        damages += bad
        chunks += math.prod(_grid(array))
        size += array.nbytes
        if not bad and not _has_checksum(array):
            unchecked.append(name)
    return Verified(
        path=path,
        arrays=len(arrays),
        chunks=chunks,
        bytes=size,
        seconds=time.monotonic() - began,
        damages=tuple(damages),
        unchecked=tuple(unchecked),
        files=sum(one is not None for one in files.values()),
        undigested=sum(one is None for one in files.values()),
    )


def _changed_files(
    url: str, path: str, digests: Mapping[str, bytes | None]
) -> Iterator[Damage]:
    """Yield which files that say where chunks are were changed or lost."""
    for name, digest in digests.items():
        if digest is None:
            continue
        try:
            content = (Path(url) / name).read_bytes()
        except OSError as error:
            reason = LOST if isinstance(error, FileNotFoundError) else _said(error)
            yield Damage(path=path, reason=f"{name} {reason}")
            continue
        if digest_of(content) != digest:
            yield Damage(path=path, reason=f"{name} {CHANGED}")


def _arrays(
    group: zarr.Group, kind: ProductKind, above: str = ""
) -> Iterator[tuple[str, zarr.Array[Any]]]:
    """Yield the arrays of a product with their names, but not those of other products."""
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield f"{above}{name}", member
        elif kind is ProductKind.COLLECTION or ATTRIBUTE not in member.attrs:
            yield from _arrays(member, kind, f"{above}{name}/")


def _read(
    product: Product, labels: Sequence[str], name: str, array: zarr.Array[Any]
) -> Iterator[Damage]:
    """Read an array, and yield what is wrong with it."""
    if product.kind is ProductKind.FILE:
        yield from _read_file(product, name, array)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        regions = list(_regions(array))
        for found in pool.map(lambda one: _read_region(array, one), regions):
            for chunk, reason in found:
                yield Damage(
                    path=product.path,
                    array=_variable(product, name),
                    items=_items(product, labels, name, array, chunk),
                    chunk=",".join(map(str, chunk)),
                    reason=reason,
                )


def _read_file(product: Product, name: str, array: zarr.Array[Any]) -> Iterator[Damage]:
    """Read a file, and compare its SHA-256."""
    digest = hashlib.sha256()
    for region in _regions(array):
        bad = _read_region(array, region, digest)
        for chunk, reason in bad:
            place = ",".join(map(str, chunk))
            yield Damage(path=product.path, items=(name,), chunk=place, reason=reason)
        if bad:
            return
    expected = array.attrs.get("sha256")
    if expected and digest.hexdigest() != expected:
        reason = f"its SHA-256 is {digest.hexdigest()}, but was {expected}"
        yield Damage(path=product.path, items=(name,), reason=reason)


def _read_region(
    array: zarr.Array[Any], region: Region, digest: Any = None
) -> list[tuple[tuple[int, ...], str]]:
    """Read a region; return which chunks can't be read, and why."""
    try:
        with panics_as_errors():
            values = array[region] if region else array[()]
    except Exception as error:  # noqa: BLE001 -- damage shows in many ways
        chunks = list(_chunks(array, region))
        if len(chunks) == 1:
            return [(chunks[0], _said(error))]
        parts = [_region_of(array, one) for one in chunks]
        return [bad for part in parts for bad in _read_region(array, part)]
    if digest is not None:
        digest.update(np.ascontiguousarray(values).data)
    return []


def _regions(array: zarr.Array[Any]) -> Iterator[Region]:
    """Yield regions of whole chunks that cover an array, each of limited size."""
    if 0 in array.shape:
        return
    if not array.shape:
        yield ()
        return
    shape = list(array.chunks)
    item_bytes = getattr(array.dtype, "itemsize", 0) or 16
    for axis in reversed(range(array.ndim)):
        rest = math.prod(shape) // shape[axis] * item_bytes
        fitting = max(_AT_ONCE_BYTES // max(rest, 1) // shape[axis], 1) * shape[axis]
        shape[axis] = min(fitting, -(-array.shape[axis] // shape[axis]) * shape[axis])
        if shape[axis] < array.shape[axis]:
            break
    starts = [
        range(0, size, step) for size, step in zip(array.shape, shape, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(start, min(start + step, size))
            for start, step, size in zip(corner, shape, array.shape, strict=True)
        )


def _grid(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return the number of chunks along each dimension."""
    return tuple(
        -(-size // step) for size, step in zip(array.shape, array.chunks, strict=True)
    )


def _chunks(array: zarr.Array[Any], region: Region) -> Iterator[tuple[int, ...]]:
    return itertools.product(
        *(
            range(part.start // step, -(-part.stop // step))
            for part, step in zip(region, array.chunks, strict=True)
        )
    )


def _region_of(array: zarr.Array[Any], chunk: tuple[int, ...]) -> Region:
    return tuple(
        slice(place * step, min((place + 1) * step, size))
        for place, step, size in zip(chunk, array.chunks, array.shape, strict=True)
    )


def _has_checksum(array: zarr.Array[Any]) -> bool:
    if "sha256" in array.attrs:
        return True
    return any(_checks(one.to_dict()) for one in array.metadata.codecs)  # type: ignore[union-attr]


def _checks(codec: Mapping[str, Any]) -> bool:
    options = codec.get("configuration") or {}
    return codec.get("name") in _CHECKED or bool(options.get("checksum"))


def _variable(product: Product, name: str) -> str:
    return name.rpartition("/")[2] if product.kind is ProductKind.COLLECTION else name


def _items(
    product: Product,
    labels: Sequence[str],
    name: str,
    array: zarr.Array[Any],
    chunk: tuple[int, ...],
) -> tuple[str, ...]:
    """Return the items that a chunk has values of."""
    if product.kind is ProductKind.COLLECTION:
        return (unspelled(name.partition("/")[0]),)
    dims = getattr(array.metadata, "dimension_names", None) or ()
    dimension = stored_name(product.dimension)
    if not labels or dimension not in dims:
        return ()
    part = _region_of(array, chunk)[dims.index(dimension)]
    return tuple(labels[part])


def _said(error: Exception) -> str:
    """Return the first line of what an error says.

    Raises
    ------
    DatastoreError
        If the error says nothing of what is stored: this process lacks something.
    """
    if lack := shortage(error):
        raise DatastoreError(f"the datastore can't be verified: {lack}") from error
    if isinstance(error, DatastoreError):
        return str(error)
    text = str(error).strip().split("\n")[0].strip(" x") or type(error).__name__
    is_unread = isinstance(error, icechunk.IcechunkError | OSError)
    kind = "can't be read" if is_unread else "is damaged"
    return f"{kind}: {text}"
