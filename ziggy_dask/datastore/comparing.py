"""Two states of a product, value by value, in blocks."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import pandas as pd
import xarray as xr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ziggy_dask.datastore.attributes import differing, from_json
from ziggy_dask.datastore.blocks import block_shape
from ziggy_dask.datastore.files import files_of_task
from ziggy_dask.datastore.index import Product, read_product
from ziggy_dask.datastore.items import open_dataset_item, read_file_item
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import open_dataset
from ziggy_dask.datastore.storable import ITEM_ATTRS
from ziggy_dask.definitions import ProductKind

_MOST_SHOWN = 5
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two states of a product, or a variable or file of it."""

    path: str
    """The product."""
    variable: str = ""
    """The variable or file; empty: the product itself."""
    item: str = ""
    """The item of a collection; empty: none, or all."""
    values: int = 0
    """How many values were compared."""
    differing: int = 0
    """How many of them differ; NaN equals NaN."""
    largest: float | None = None
    """Largest absolute difference; None: they are not numbers."""
    relative: float | None = None
    """Largest difference in relation to the first value; None: not numbers, or first ones of 0."""
    where: str = ""
    """Where the largest difference is, or the first one of values that are not numbers."""
    note: str = ""
    """What differs besides values: items, shape, type, kind, attributes, coordinates."""


def compare(
    one: icechunk.Session, other: icechunk.Session, path: str
) -> Iterator[Difference]:
    """Yield what differs between two states of a product that is in both.

    Items are compared by their labels, block by block, so that no more than a few blocks are
    in memory. Attributes count, but for those that say where a product comes from.
    """
    first, second = read_product(one, path), read_product(other, path)
    if first.kind is not second.kind or first.dimension != second.dimension:
        kinds = f"{first.kind.value} → {second.kind.value}"
        yield Difference(path=path, note=f"stored in another way: {kinds}")
        return
    yield from _items_of_one(path, first, second)
    if first.kind is ProductKind.FILE:
        yield from _files(one, other, path, _common(first, second))
    elif first.kind is ProductKind.COLLECTION:
        for name in _common(first, second):
            nodes = (
                open_dataset_item(one, path, name),
                open_dataset_item(other, path, name),
            )
            yield from _trees(path, name, *nodes)
    else:
        datasets = open_dataset(one, path), open_dataset(other, path)
        if first.dimension and first.labels is not None and second.labels is not None:
            common = first.labels.common(second.labels)
            datasets = (
                _chosen(datasets[0], first.dimension, common),
                _chosen(datasets[1], first.dimension, common),
            )
            yield from _datasets(path, "", *datasets, first.dimension)
        else:
            yield from _datasets(path, "", *datasets)


def same_bytes(one: icechunk.Session, other: icechunk.Session, path: str) -> bool:
    """Tell whether all chunks of a product are stored in the same bytes in two states."""
    return sync(_same_bytes(one.store, other.store, path))


async def _same_bytes(
    one: icechunk.IcechunkStore, other: icechunk.IcechunkStore, path: str
) -> bool:
    prototype = default_buffer_prototype()
    keys = [
        {k async for k in store.list_prefix(f"{path}/") if not k.endswith("zarr.json")}
        for store in (one, other)
    ]
    if keys[0] != keys[1]:
        return False
    for key in sorted(keys[0]):
        first, second = await one.get(key, prototype), await other.get(key, prototype)
        if first is None or second is None or first.to_bytes() != second.to_bytes():
            return False
    return True


def compare_files(
    one: icechunk.Session, other: icechunk.Session, path: str, task: int
) -> Iterator[Difference]:
    """Yield how the files that a task put into a product differ between two states.

    Parameters
    ----------
    one, other
        The states; the product may lack in either.
    path
        The product, into which other tasks may have put files as well.
    task
        The task.
    """
    names = [files_of_task(session, path, task) for session in (one, other)]
    for name in sorted(names[0] ^ names[1]):
        word = "first" if name in names[0] else "second"
        yield Difference(path=path, variable=name, note=f"only in the {word}")
    yield from _files(one, other, path, sorted(names[0] & names[1]))


def _chosen(dataset: xr.Dataset, dimension: str, labels: Labels) -> xr.Dataset:
    places = Labels(np.asarray(dataset[dimension].values)).positions(labels)
    if places.tolist() == list(range(dataset.sizes[dimension])):
        return dataset
    return dataset.isel({dimension: places})


def _common(first: Product, second: Product) -> list[str]:
    assert first.labels is not None
    assert second.labels is not None
    return first.labels.common(second.labels).texts()


def _items_of_one(path: str, first: Product, second: Product) -> Iterator[Difference]:
    if first.labels is None or second.labels is None:
        return
    for word, names in (
        ("only in the first", first.labels.without(second.labels).texts()),
        ("only in the second", second.labels.without(first.labels).texts()),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            yield Difference(path=path, note=f"{word}: {', '.join(names[:5])}{more}")


def _files(
    one: icechunk.Session, other: icechunk.Session, path: str, names: list[str]
) -> Iterator[Difference]:
    for name in names:
        first, second = (
            read_file_item(one, path, name),
            read_file_item(other, path, name),
        )
        if first != second:
            note = f"{first.size} → {second.size} bytes"
            yield Difference(path=path, variable=name, differing=1, values=1, note=note)


def _trees(
    path: str,
    item: str,
    one: xr.Dataset | xr.DataTree,
    other: xr.Dataset | xr.DataTree,
) -> Iterator[Difference]:
    if isinstance(one, xr.Dataset) and isinstance(other, xr.Dataset):
        yield from _datasets(path, item, one, other)
        return
    if isinstance(one, xr.Dataset) or isinstance(other, xr.Dataset):
        yield Difference(path=path, item=item, note="a tree in only one of them")
        return
    first = {node.path: node for node in one.subtree}
    second = {node.path: node for node in other.subtree}
    for name in sorted(first.keys() ^ second.keys()):
        yield Difference(path=path, item=f"{item}{name}", note="in only one of them")
    for name in sorted(first.keys() & second.keys()):
        before, after = (
            node.to_dataset(inherit=False) for node in (first[name], second[name])
        )
        yield from _datasets(path, f"{item}{name}".rstrip("/"), before, after)


def _datasets(
    path: str, item: str, one: xr.Dataset, other: xr.Dataset, dimension: str = ""
) -> Iterator[Difference]:
    """Yield how two Datasets differ; along a subtask dimension, items have attributes."""
    texts = _item_texts(one, dimension), _item_texts(other, dimension)
    if dimension:  # what it says is compared item by item
        one, other = (
            some.drop_vars(ITEM_ATTRS, errors="ignore") for some in (one, other)
        )
    for name in sorted(map(str, one.variables.keys() ^ other.variables.keys())):
        word = "first" if name in one.variables else "second"
        note = f"only in the {word}"
        yield Difference(path=path, item=item, variable=name, note=note)
    for key in one.variables:
        if key in other.variables:
            found = _variables(path, item, str(key), one, other, key)
            if found is not None:
                yield found
            if (key in one.coords) != (key in other.coords):
                word = "first" if key in one.coords else "second"
                note = f"a coordinate only in the {word}"
                yield Difference(path=path, item=item, variable=str(key), note=note)
    if not any(texts[0]) and not any(texts[1]):
        for name, note in _said_otherwise(one, "", other, ""):
            yield Difference(path=path, item=item, variable=name, note=note)
        return
    places: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(zip(*texts, strict=True)):
        places.setdefault(pair, []).append(place)
    told: dict[str, list[tuple[int, str]]] = {}
    for pair, some in places.items():
        for name, note in _said_otherwise(one, pair[0], other, pair[1]):
            told.setdefault(name, []).extend((place, note) for place in some)
    for name, notes in told.items():
        place, note = notes[0]
        label = str(one.variables[dimension].values[place])
        if len(notes) == len(texts[0]) and {words for _, words in notes} == {note}:
            label = ""  # it is true of all items
        elif len(notes) > 1:
            note += f"; {len(notes)} of {len(texts[0])} items differ"
        yield Difference(path=path, item=label, variable=name, note=note)


def _item_texts(dataset: xr.Dataset, dimension: str) -> list[str]:
    """Return what is said of each item alone, as JSON; empty: nothing."""
    if not dimension:
        return []
    told = dataset.variables.get(ITEM_ATTRS)
    if told is None:
        return [""] * dataset.sizes[dimension]
    return [str(text) for text in np.asarray(told.values)]


def _said_otherwise(
    one: xr.Dataset, text: str, other: xr.Dataset, other_text: str
) -> Iterator[tuple[str, str]]:
    """Yield in which attributes an item differs, by variable; "": those of the Dataset."""
    first, second = (json.loads(some) if some else {} for some in (text, other_text))
    if note := _attributes(
        {**one.attrs, **from_json(first.get("attrs", {}))},
        {**other.attrs, **from_json(second.get("attrs", {}))},
    ):
        yield "", note
    for key, variable in one.variables.items():
        if key in other.variables:
            name = str(key)
            of = [
                from_json(some.get("of", {}).get(name, {})) for some in (first, second)
            ]
            attrs = variable.attrs, other.variables[key].attrs
            if note := _attributes({**attrs[0], **of[0]}, {**attrs[1], **of[1]}):
                yield name, note
    alone = [some.get("shared", {}) for some in (first, second)]
    for name in sorted(alone[0].keys() | alone[1].keys()):
        if name in alone[0] and name in alone[1]:
            if alone[0][name] != alone[1][name]:
                yield name, "differs"
        elif name not in one.variables and name not in other.variables:
            yield name, f"only in the {'first' if name in alone[0] else 'second'}"


def _attributes(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    """Return in which attributes something differs; empty: in none."""
    changed = sorted(differing(one, other).keys() | differing(other, one).keys())
    if not changed:
        return ""
    shown = [
        f"{name} {_shown(one, name)} → {_shown(other, name)}"
        for name in changed[:_MOST_SHOWN]
    ]
    rest = len(changed) - len(shown)
    more = f" and {rest} more" if rest else ""
    return f"attributes: {', '.join(shown)}{more}"


def _shown(attrs: Mapping[Any, Any], name: str) -> str:
    if name not in attrs:
        return "none"
    text = " ".join(repr(attrs[name]).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _variables(
    path: str, item: str, name: str, one: xr.Dataset, other: xr.Dataset, key: Hashable
) -> Difference | None:
    first, second = one.variables[key], other.variables[key]
    notes = []
    if first.dtype != second.dtype:
        notes.append(f"type {first.dtype} → {second.dtype}")
    if first.dims != second.dims or first.shape != second.shape:
        sizes = f"{dict(first.sizes)} → {dict(second.sizes)}"
        notes.append(f"shape {sizes}")
        return Difference(path=path, item=item, variable=name, note="; ".join(notes))
    seen = _Seen()
    for block in _blocks(first):
        seen.add(first, second, block)
    if not seen.differing and not notes:
        return None
    return Difference(
        path=path,
        item=item,
        variable=name,
        values=first.size,
        differing=seen.differing,
        largest=seen.largest,
        relative=seen.relative,
        where=_place(one, first, seen.where),
        note="; ".join(notes),
    )


class _Seen:
    """The differences between two variables, as their blocks are looked at."""

    def __init__(self) -> None:
        self.differing = 0
        self.largest: float | None = None
        self.relative: float | None = None
        self.where: tuple[int, ...] | None = None

    def add(
        self, one: xr.Variable, other: xr.Variable, block: Mapping[Hashable, slice]
    ) -> None:
        """Look at a block."""
        first = np.asarray(one.isel(block).values)
        second = np.asarray(other.isel(block).values)
        unequal = ~_equal(first, second)
        count = int(np.count_nonzero(unequal))
        if not count:
            return
        self.differing += count
        starts = [block[dim].start for dim in one.dims]
        if first.dtype.kind not in "biufc" or second.dtype.kind not in "biufc":
            if self.where is None:
                self._note(starts, np.argwhere(unequal)[0])
            return
        wide = "c16" if "c" in (first.dtype.kind, second.dtype.kind) else "f8"
        before = first.astype(wide)
        with np.errstate(all="ignore"):
            apart = np.where(unequal, np.abs(second.astype(wide) - before), 0.0)
            related = np.where(unequal, apart / np.abs(before), 0.0)
        apart = np.where(np.isnan(apart), np.inf, apart)  # a number, and none
        known = related[np.isfinite(related)]
        largest = float(apart.max())
        if self.largest is None or largest > self.largest:
            self.largest = largest
            self._note(starts, np.unravel_index(int(apart.argmax()), apart.shape))
        if known.size and float(known.max()) > (self.relative or 0.0):
            self.relative = float(known.max())

    def _note(self, starts: list[int], place: Any) -> None:
        self.where = tuple(
            start + int(at) for start, at in zip(starts, place, strict=True)
        )


def _equal(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> Any:
    """Return where values are equal; missing ones are equal to each other."""
    if first.dtype == object or second.dtype == object:
        pairs = zip(first.ravel(), second.ravel(), strict=True)
        found = [bool(pd.isna(a) and pd.isna(b)) or bool(a == b) for a, b in pairs]
        return np.array(found, dtype=bool).reshape(first.shape)
    equal = first == second
    if first.dtype.kind in "fcmM" and second.dtype.kind in "fcmM":
        equal |= (first != first) & (second != second)
    return equal


def _blocks(variable: xr.Variable) -> Iterator[dict[Hashable, slice]]:
    """Yield slices of a variable that cover it, each of limited size."""
    if 0 in variable.shape:
        return
    shape = block_shape(variable) if variable.ndim else {}
    corners = np.ndindex(*(-(-variable.sizes[d] // size) for d, size in shape.items()))
    for corner in corners:
        yield {
            dim: slice(at * size, min((at + 1) * size, variable.sizes[dim]))
            for at, (dim, size) in zip(corner, shape.items(), strict=True)
        }


def _place(
    dataset: xr.Dataset, variable: xr.Variable, where: tuple[int, ...] | None
) -> str:
    """Return a place by its labels, where dimensions have some."""
    words = []
    for dim, at in zip(variable.dims, where or (), strict=False):
        label: object = at
        if dim in dataset.variables and dataset.variables[dim].ndim == 1:
            label = dataset.variables[dim][at].values
        words.append(f"{dim}={label}")
    return " ".join(words)
