"""Writing the outputs of subtasks into forks of the datastore."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import icechunk
import xarray as xr

from ziggy_dask.datastore import (
    FileItem,
    Labels,
    Layout,
    allocate,
    misfit,
    prepared,
    read_layout,
    write_slice,
)
from ziggy_dask.datastore.allocation import create_group, write_whole
from ziggy_dask.datastore.attributes import Unstorable
from ziggy_dask.datastore.items import Files, write_dataset_item, write_file_item
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.names import argument_name
from ziggy_dask.errors import DatastoreError, TaskError
from ziggy_dask.workers.allocation_broker import agree_on, agreed
from ziggy_dask.workers.work import Sink, Work

_allocations: dict[str, tuple[bytes, Layout | None]] = {}
_labels: dict[str, frozenset[str]] = {}


class Outputs:
    """The outputs of a task, for one batch of its subtasks.

    Parameters
    ----------
    work
        The task.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sessions: dict[str, icechunk.Session] = {}
        self._allocated: dict[str, tuple[icechunk.Session, Layout | None]] = {}
        self._taken: dict[str, dict[str, int]] = {}

    def check(
        self, subtask: int, returned: object, values: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return what an algorithm returned by output name, if it all fits.

        Parameters
        ----------
        subtask
            Number of the subtask.
        returned
            What the algorithm returned.
        values
            Placeholder values that place its files.

        Raises
        ------
        TaskError
            If something does not fit; nothing was written.
        """
        by_name = self._by_name(returned)
        fitting = {
            sink.name: self._fitting(sink, subtask, by_name[sink.name], values)
            for sink in self._work.sinks
            if by_name.get(sink.name) is not None
        }
        for sink in self._work.sinks:
            if sink.name in fitting and sink.kind is not ProductKind.ARRAY:
                self._require_free(sink, subtask, _item_names(fitting[sink.name]))
        return fitting

    def write(self, subtask: int, fitting: Mapping[str, Any]) -> tuple[str, ...]:
        """Write what `check` returned; return the paths of the products."""
        for sink in self._work.sinks:
            if sink.name in fitting:
                self._write(sink, subtask, fitting[sink.name])
                if sink.kind is not ProductKind.ARRAY:
                    names = _item_names(fitting[sink.name])
                    self._taken.setdefault(sink.path, {}).update(
                        dict.fromkeys(names, subtask)
                    )
        written = (sink.path for sink in self._work.sinks if sink.name in fitting)
        return tuple(dict.fromkeys(written))

    def named(
        self, subtask: int, fitting: Mapping[str, Any]
    ) -> dict[str, tuple[str, ...]]:
        """Return the names of items that are not the subtask's own labels, by product."""
        if self._work.labels is None:
            return {}
        own = set(self._own_labels(subtask))
        names = {
            sink.path: tuple(_item_names(fitting[sink.name]))
            for sink in self._work.sinks
            if sink.name in fitting and sink.kind is not ProductKind.ARRAY
        }
        return {path: some for path, some in names.items() if not own.issuperset(some)}

    def _own_labels(self, subtask: int) -> list[str]:
        labels = self._work.labels
        return [] if labels is None else labels.take(self._work.items(subtask)).texts()

    def _require_free(self, sink: Sink, subtask: int, names: Sequence[str]) -> None:
        """Refuse names of items that another subtask has or may get."""
        taken = self._taken.get(sink.path, {})
        others: frozenset[str] = frozenset()
        if sink.kind is ProductKind.COLLECTION and self._work.labels is not None:
            others = _all_labels(self._work) - set(self._own_labels(subtask))
        _require_different(names, names, f"output {sink.data_type!r}")
        for name in names:
            if name in taken:
                raise TaskError(
                    f"output {sink.data_type!r}: subtask {taken[name]} returned an item "
                    f"{name!r}, too; names must differ"
                )
            if name in others:
                raise TaskError(
                    f"output {sink.data_type!r}: item {name!r} belongs to another subtask; "
                    f"this one has {', '.join(map(repr, self._own_labels(subtask)))}"
                )

    def change_sets(self) -> dict[str, bytes]:
        """Return the forks that hold what was written, pickled, by product."""
        return {path: pickle.dumps(session) for path, session in self._sessions.items()}

    def _by_name(self, returned: object) -> dict[str, Any]:
        names = {sink.name: sink for sink in self._work.sinks}
        if returned is None:
            return {}
        if _is_dict(returned):
            keys = [argument_name(str(key)) for key in returned]
            if set(keys) <= set(names):
                _require_different(keys, returned, "what the algorithm returned")
                return dict(zip(keys, returned.values(), strict=True))
        if len(names) == 1:
            return {next(iter(names)): returned}
        raise TaskError(
            f"the algorithm returned {_what(returned)}; with {len(names)} outputs it "
            f"must return a dict with the keys: {', '.join(names)}"
        )

    def _fitting(
        self, sink: Sink, subtask: int, value: object, values: Mapping[str, str]
    ) -> Any:
        if sink.kind is ProductKind.ARRAY:
            return self._fitting_array(sink, subtask, value)
        items = self._items(sink, subtask, value)
        if sink.kind is ProductKind.COLLECTION:
            return {name: _item(sink, name, item) for name, item in items.items()}
        return [_file(sink, name, item, values) for name, item in items.items()]

    def _fitting_array(self, sink: Sink, subtask: int, value: object) -> xr.Dataset:
        dataset = _storable(sink, _dataset(sink, value))
        labels = self._work.labels
        if labels is None:
            _check_whole(sink, dataset)
            return dataset
        items = self._work.items(subtask)
        dimension = sink.storage.dimension
        length = items.stop - items.start
        _, layout = self._allocation(sink, dataset, length)
        assert layout is not None
        reason = misfit(layout, dataset, length)
        if not reason and dimension in dataset.variables:
            reason = _order_misfit(dimension, labels.take(items), dataset)
        if reason:
            raise TaskError(f"output {sink.data_type!r} does not fit: {reason}")
        return dataset

    def _items(self, sink: Sink, subtask: int, value: object) -> dict[str, Any]:
        """Return the items of a collection or of files by name."""
        if isinstance(value, FileItem):
            return {value.name: value}
        if isinstance(value, Files):
            return {name: value.item(name) for name in value}
        if _is_dict(value):
            names = [str(name) for name in value]
            _require_different(names, value, f"output {sink.data_type!r}")
            return dict(zip(names, value.values(), strict=True))
        own = self._own_labels(subtask)
        if not own or (len(own) > 1 and sink.kind is ProductKind.COLLECTION):
            raise TaskError(
                f"output {sink.data_type!r} must be a dict of items by name, "
                f"not {_what(value)}"
            )
        return {own[0]: value}

    def _write(self, sink: Sink, subtask: int, fitting: Any) -> None:
        if sink.kind is ProductKind.ARRAY:
            self._write_array(sink, subtask, fitting)
            return
        if sink.kind is ProductKind.FILE:
            session = self._session(sink, lambda: pickle.loads(self._work.scaffold))
            for file in fitting:
                write_file_item(session, sink.path, file, self._origin(subtask))
            return
        opened, _ = self._allocation(sink, None, 0)
        session = opened()
        for name, item in fitting.items():
            write_dataset_item(session, sink.path, name, item, sink.storage)

    def _origin(self, subtask: int) -> dict[str, Any]:
        """Return what a file says of where it comes from."""
        work = self._work
        return {
            "instance": work.instance,
            "task": work.task,
            "subtask": subtask,
            "node": work.node,
        }

    def _write_array(self, sink: Sink, subtask: int, dataset: xr.Dataset) -> None:
        if self._work.labels is None:
            session = self._session(sink, lambda: pickle.loads(self._work.scaffold))
            write_whole(session, sink.path, dataset, sink.storage)
            return
        items = self._work.items(subtask)
        opened, layout = self._allocation(sink, dataset, items.stop - items.start)
        assert layout is not None
        write_slice(layout, opened(), dataset, items.start)

    def _session(
        self, sink: Sink, fork: Callable[[], icechunk.Session]
    ) -> icechunk.Session:
        if sink.path not in self._sessions:
            self._sessions[sink.path] = fork()
        return self._sessions[sink.path]

    def _allocation(
        self, sink: Sink, first: xr.Dataset | None, length: int
    ) -> tuple[Callable[[], icechunk.Session], Layout | None]:
        """Return what opens the fork in which a product is allocated, and its layout."""
        if self._work.count == 1 and sink.allocation is None:
            if sink.path not in self._allocated:
                self._allocated[sink.path] = self._allocate_alone(sink, first, length)
            own, layout = self._allocated[sink.path]
            return lambda: self._session(sink, lambda: own), layout
        fork, layout = self._shared_allocation(sink, first, length)
        return lambda: self._session(sink, lambda: pickle.loads(fork)), layout

    def _allocate_alone(
        self, sink: Sink, first: xr.Dataset | None, length: int
    ) -> tuple[icechunk.Session, Layout | None]:
        """Allocate a product of which nobody else writes a part.

        It is written in the very fork, since to open another one costs more than to
        write a small product.
        """
        session = self._with_room(sink, first, length)
        if sink.kind is not ProductKind.ARRAY:
            return session, None
        return session, read_layout(session, sink.path, sink.storage.dimension)

    def _shared_allocation(
        self, sink: Sink, first: xr.Dataset | None, length: int
    ) -> tuple[bytes, Layout | None]:
        """Return the fork in which a product is allocated for all subtasks, its layout."""
        key = f"{self._work.token}:{sink.path}"
        if key not in _allocations:
            fork = sink.allocation or self._agreement(key, sink, first, length)
            layout = None
            if sink.kind is ProductKind.ARRAY:
                session = pickle.loads(fork)
                layout = read_layout(session, sink.path, sink.storage.dimension)
            if len(_allocations) >= 512:
                _allocations.pop(next(iter(_allocations)))
            _allocations[key] = (fork, layout)
        return _allocations[key]

    def _agreement(
        self, key: str, sink: Sink, first: xr.Dataset | None, length: int
    ) -> bytes:
        fork = agreed(key)
        if fork is not None:
            return fork
        return agree_on(key, pickle.dumps(self._with_room(sink, first, length)))

    def _with_room(
        self, sink: Sink, first: xr.Dataset | None, length: int
    ) -> icechunk.Session:
        """Return a fork in which a product is allocated."""
        session: icechunk.Session = pickle.loads(self._work.scaffold)
        if first is None:
            create_group(session, sink.path)
        else:
            _check_first(sink, first, length)
            allocate(session, sink.path, first, sink.storage, self._work.labels)
        return session


def _item_names(fitting: Mapping[str, Any] | Sequence[FileItem]) -> list[str]:
    """Return the names of the items of a collection, or of files."""
    if isinstance(fitting, Mapping):
        return list(fitting)
    return [file.name for file in fitting]


def _all_labels(work: Work) -> frozenset[str]:
    """Return the labels of all subtasks of a task."""
    if work.token not in _labels:
        if len(_labels) >= 512:
            _labels.pop(next(iter(_labels)))
        _labels[work.token] = frozenset(work.labels or ())
    return _labels[work.token]


def _check_first(sink: Sink, first: xr.Dataset, length: int) -> None:
    dimension = sink.storage.dimension
    if first.sizes.get(dimension) != length:
        size = first.sizes.get(dimension)
        has = f"has {size} items along" if size is not None else "has no dimension"
        raise TaskError(
            f"output {sink.data_type!r} does not fit: it {has} {dimension!r}, but each "
            f"subtask must return {length}"
        )
    if not any(
        dimension in v.dims and name != dimension for name, v in first.variables.items()
    ):
        raise TaskError(
            f"output {sink.data_type!r} does not fit: no variable has {dimension!r}"
        )


def _check_whole(sink: Sink, dataset: xr.Dataset) -> None:
    """Refuse a whole product whose items could not be told apart by what reads them."""
    dimension = sink.storage.dimension
    if not dimension:
        return
    if dimension not in dataset.dims:
        raise TaskError(
            f"output {sink.data_type!r} does not fit: it has no dimension {dimension!r}; "
            "keep it, or take 'subtask' from the data type"
        )
    if dimension in dataset.variables:
        try:
            Labels(dataset[dimension].values)
        except DatastoreError as error:
            raise TaskError(
                f"output {sink.data_type!r} does not fit along {dimension!r}: {error}"
            ) from error


def _require_different(names: Sequence[str], given: Iterable[Any], what: str) -> None:
    """Refuse what would have one name."""
    if len(set(names)) == len(names):
        return
    name, count = Counter(names).most_common(1)[0]
    same = [key for key, one in zip(given, names, strict=True) if one == name]
    raise TaskError(
        f"{what} has {count} parts called {name!r}, from "
        f"{' and '.join(map(repr, same))}; names must differ"
    )


def _order_misfit(dimension: str, expected: Labels, dataset: xr.Dataset) -> str:
    if Labels(dataset[dimension].values).texts() == expected.texts():
        return ""
    return (
        f"its labels along {dimension!r} are {dataset[dimension].values[:3].tolist()}, but "
        f"the subtask's are {expected.texts()[:3]}; keep their order"
    )


def _dataset(sink: Sink, value: object) -> xr.Dataset:
    if isinstance(value, xr.DataArray):
        name = argument_name(sink.data_type) if value.name is None else value.name
        if name in value.coords:
            raise TaskError(
                f"output {sink.data_type!r}: the DataArray would be called {name!r}, as "
                "one of its coordinates is; give it another name: .rename(...)"
            )
        return value.to_dataset(name=name)
    if isinstance(value, xr.Dataset):
        return value
    raise TaskError(
        f"output {sink.data_type!r} must be an xarray Dataset or DataArray, "
        f"not {_what(value)}"
    )


def _item(sink: Sink, name: str, value: object) -> xr.Dataset | xr.DataTree:
    if not isinstance(value, xr.DataTree):
        return _storable(sink, _dataset(sink, value), f", item {name!r}")
    groups = {
        node.path: _storable(
            sink,
            node.to_dataset(inherit=False),
            f", item {name!r}, group {node.path!r}",
        )
        for node in value.subtree
    }
    return xr.DataTree.from_dict(groups)


def _storable(sink: Sink, dataset: xr.Dataset, item: str = "") -> xr.Dataset:
    """Return a Dataset of the types that were declared, if it can be stored."""
    try:
        return prepared(dataset, sink.storage, f"output {sink.data_type!r}{item}")
    except Unstorable as error:
        raise TaskError(str(error)) from error


def _file(sink: Sink, name: str, value: object, values: Mapping[str, str]) -> FileItem:
    """Return a file under its path below the product."""
    if isinstance(value, bytes):
        value = FileItem(name=name, data=value)
    if not isinstance(value, FileItem):
        raise TaskError(
            f"output {sink.data_type!r}: item {name!r} must be bytes or a FileItem, "
            f"not {_what(value)}"
        )
    first, _, inner = value.name.partition("/")
    for part in value.name.split("/"):
        _require_item_name(sink, part)
    path = sink.pattern.place(values, first)
    if sink.pattern.match(path) is None:
        raise TaskError(
            f"output {sink.data_type!r}: the file name {first!r} does not match its "
            f"'files', {sink.pattern.name!r}"
        )
    return replace(value, name=f"{path}/{inner}" if inner else path)


def _require_item_name(sink: Sink, name: str) -> None:
    if not name or "/" in name or name in (".", "..") or name == "zarr.json":
        raise TaskError(f"output {sink.data_type!r}: {name!r} can't name an item")


def _is_dict(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether a value stands for several by name; a Dataset or a tree does not."""
    return isinstance(value, Mapping) and not isinstance(
        value, xr.Dataset | xr.DataTree
    )


def _what(value: object) -> str:
    if value is None:
        return "nothing"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
