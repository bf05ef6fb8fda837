"""Reading the inputs of subtasks, from snapshots and from unpublished results."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import icechunk
import numpy as np
import xarray as xr

from ziggy_dask.datastore import (
    FileItem,
    Labels,
    Layout,
    StoredFile,
    list_files,
    open_dataset,
    read_layout,
    read_parts,
    read_product,
    read_slice,
    shared_repository,
)
from ziggy_dask.datastore.blocks import LARGE_BYTES
from ziggy_dask.datastore.items import (
    Files,
    item_names,
    open_dataset_item,
    read_dataset_item,
    read_file_item,
)
from ziggy_dask.datastore.layout import Selection
from ziggy_dask.datastore.room import SMALLER, require_room
from ziggy_dask.datastore.trees import Held
from ziggy_dask.definitions import ProductKind, ProgramStep, ScriptStep
from ziggy_dask.errors import MissingError, TaskError
from ziggy_dask.workers.work import (
    BatchResult,
    Merged,
    ModelFile,
    Result,
    Results,
    Source,
    Work,
)

Given = (
    xr.Dataset
    | xr.DataTree
    | FileItem
    | Mapping[str, xr.Dataset | xr.DataTree]
    | Mapping[str, bytes]
)
"""What an algorithm gets for an input: a slice, an item, or items by name."""


class MissingItems(Exception):
    """An input has nothing for a subtask, since what comes before gave no output."""


class BlockedSubtask(Exception):
    """A subtask can't run, since one before it failed or did not run."""


class Inputs:
    """The inputs of a task, for one batch of its subtasks.

    Parameters
    ----------
    work
        The task.
    results
        Results of the keys that the batch waited for.
    """

    def __init__(self, work: Work, results: Results) -> None:
        self._work = work
        self._is_for_program = isinstance(work.step, ProgramStep | ScriptStep)
        self._results: dict[int, list[Result]] = {}
        for result in results:
            self._results.setdefault(result.index, []).append(result)
        self._sessions: dict[tuple[int, str], icechunk.Session] = {}
        self._names: dict[tuple[int, str], frozenset[str]] = {}

    def of_subtask(self, subtask: int) -> dict[str, Given]:
        """Return the algorithm's inputs by argument name.

        Raises
        ------
        BlockedSubtask
            If a subtask that makes an input failed.
        MissingItems
            If a subtask that makes an input had no output.
        """
        return {
            source.name: self.given(source, subtask) for source in self._work.sources
        }

    def given(self, source: Source, subtask: int) -> Given:
        """Return one input of a subtask."""
        if source.is_whole:
            return self._whole(source)
        return self._slice(source, subtask)

    def values(self, subtask: int) -> dict[str, str]:
        """Return the placeholder values of a subtask: the unit's, and its files'."""
        values: dict[str, str] = {}
        for source in self._work.sources:
            if source.kind is ProductKind.FILE and source.snapshot:
                for one in self.files(source, subtask)[:1]:
                    values = {**one.values, **values}
        return {**values, **self._work.unit}

    def files(self, source: Source, subtask: int) -> list[StoredFile]:
        """Return the files that a subtask gets of an input.

        Raises
        ------
        MissingItems
            If there are none, unless it only gets them besides its own.
        """
        stored = _stored_files(self._work, source)
        labels = self._work.labels
        if source.is_whole or labels is None:
            files = [one for some in stored.values() for one in some]
        else:
            keys = labels.take(self._work.items(subtask)).texts()
            files = [one for key in keys for one in stored.get(key, ())]
        if not files and not (source.is_whole and labels is not None):
            raise MissingItems(f"'{source.path}' has no file for this subtask")
        return files

    def read_file(self, source: Source, path: str) -> FileItem:
        """Return a stored file."""
        session = open_stored(self._work.datastore, source)
        return read_file_item(session, source.path, path)

    def _slice(self, source: Source, subtask: int) -> Given:
        labels = self._work.labels
        assert labels is not None
        items = self._work.items(subtask)
        if source.task is None:
            session = open_stored(self._work.datastore, source)
            if source.kind is ProductKind.FILE:
                return self._read_files(source, session, subtask)
            _require_present(self._work, source, session, items)
            return self._read(source, session, items)
        parts = self._parts(source, items)
        if source.kind is ProductKind.COLLECTION:
            for result, part in parts:
                self._require_item(source, result, part)
        if len(parts) == 1:
            ((result, part),) = parts
            return self._read(source, self._session(source, result), part)
        return self._read_parts(
            source, [(self._session(source, result), part) for result, part in parts]
        )

    def _read_parts(
        self, source: Source, parts: Sequence[tuple[icechunk.Session, slice]]
    ) -> xr.Dataset:
        """Read items of an array that several batches made, as one Dataset."""
        layout = _layout(self._work.token, source, parts[0][0])
        count = sum(part.stop - part.start for _, part in parts)
        size = layout.slice_bytes(count)
        require_room(size, f"a subtask's part of '{source.path}'", SMALLER)
        places = _positions(self._work, source, layout)
        return read_parts(
            layout,
            [
                (session, part if places is None else [int(p) for p in places[part]])
                for session, part in parts
            ],
        )

    def _read_files(
        self, source: Source, session: icechunk.Session, subtask: int
    ) -> Given:
        """Read the files of a subtask: one as it is, several by name."""
        paths = [p for one in self.files(source, subtask) for p in one.files]
        if len(paths) == 1 and not source.is_whole:
            return read_file_item(session, source.path, paths[0])
        return Files(session, source.path, paths)

    def _read(
        self, source: Source, session: icechunk.Session, items: Selection
    ) -> Given:
        """Read items, given by position among the task's own."""
        labels = self._work.labels
        assert labels is not None
        if source.kind is not ProductKind.ARRAY:
            name = labels.texts()[items][0] if isinstance(items, slice) else ""
            if self._is_for_program:
                item = open_dataset_item(session, source.path, name)
                _refuse_trees(source, {name: item})
                return item
            return read_dataset_item(session, source.path, name)
        layout = _layout(self._work.token, source, session)
        places = _positions(self._work, source, layout)
        positions = items if places is None else [int(p) for p in places[items]]
        count = items.stop - items.start if isinstance(items, slice) else len(items)
        size = layout.slice_bytes(count)
        if self._is_for_program and size > LARGE_BYTES:
            whole = open_dataset(session, source.path)
            return whole.isel({source.dimension: positions})
        require_room(size, f"a subtask's part of '{source.path}'", SMALLER)
        return read_slice(layout, session, positions)

    def _parts(self, source: Source, items: slice) -> list[tuple[Result, slice]]:
        """Return the results that have a subtask's items, and which of them."""
        places = _places(self._work, source)[items]
        parts: list[tuple[Result, slice]] = []
        for offset, place in enumerate(places):
            result = self._result_with(source, int(place) // source.chunk)
            at = items.start + offset
            if parts and parts[-1][0] is result and parts[-1][1].stop == at:
                parts[-1] = (result, slice(parts[-1][1].start, at + 1))
            else:
                parts.append((result, slice(at, at + 1)))
        return parts

    def _result_with(self, source: Source, subtask: int) -> Result:
        for result in self._results.get(source.task or 0, ()):
            if isinstance(result, Merged):
                if subtask in result.outputs.get(source.path, ()):
                    return result
                if subtask in result.complete:
                    raise MissingItems(_no_output(source, subtask))
            elif any(one.subtask == subtask for one in result.outcomes):
                return _checked_result(source, result, subtask)
        raise BlockedSubtask(
            f"subtask {subtask} of what makes '{source.path}' did not run"
        )

    def _require_item(self, source: Source, result: Result, items: slice) -> None:
        """Refuse an item that was not made, or a result with items nobody planned.

        Raises
        ------
        BlockedSubtask
            If items have other names than was planned; they can be read when they
            are stored.
        MissingItems
            If the algorithm returned no item of this name.
        """
        assert self._work.labels is not None
        key = (id(result), source.path)
        if key not in self._names:
            names = item_names(self._session(source, result), source.path)
            self._names[key] = frozenset(names)
        planned = source.labels if source.labels is not None else self._work.labels
        if not self._names[key] <= _label_set(self._work.token, source.path, planned):
            raise BlockedSubtask(
                f"'{source.path}' has items of other names than planned"
            )
        (name,) = self._work.labels.take(items).texts()
        if name not in self._names[key]:
            raise MissingItems(f"'{source.path}' has no item {name!r}")

    def _session(self, source: Source, result: Result) -> icechunk.Session:
        key = (id(result), source.path)
        if key not in self._sessions:
            self._sessions[key] = pickle.loads(result.change_sets[source.path])
        return self._sessions[key]

    def _whole(self, source: Source) -> Given:
        if source.task is None:
            session = open_stored(self._work.datastore, source)
            if source.kind is ProductKind.FILE:
                return self._read_files(source, session, 0)
            given = _open_whole(source, session, require_stored(session, source))
            return self._fit_for_program(source, given)
        merged = self._merged(source)
        present = set(merged.outputs.get(source.path, ()))
        if not present:
            raise MissingItems(f"nothing was stored in '{source.path}'")
        session, labels = self._session(source, merged), source.labels
        if source.kind is ProductKind.COLLECTION:
            labels = Labels.of(item_names(session, source.path))
        elif labels is not None:
            kept = [n for n in range(len(labels)) if n // source.chunk in present]
            labels = labels.take(kept)
        return self._fit_for_program(source, _open_whole(source, session, labels))

    def _fit_for_program(self, source: Source, given: Given) -> Given:
        if self._is_for_program and isinstance(given, dict):
            _refuse_trees(source, given)
        return given

    def _merged(self, source: Source) -> Merged:
        for result in self._results.get(source.task or 0, ()):
            if isinstance(result, Merged):
                if result.failed > source.max_failed or result.blocked:
                    raise BlockedSubtask(
                        f"{result.failed} subtasks of what makes '{source.path}' failed"
                    )
                return result
        raise BlockedSubtask(f"what makes '{source.path}' did not run")


def _checked_result(source: Source, result: BatchResult, subtask: int) -> BatchResult:
    outcome = next(one for one in result.outcomes if one.subtask == subtask)
    if outcome.state.value != "COMPLETE":
        raise BlockedSubtask(f"subtask {subtask} of what makes '{source.path}' failed")
    if source.path not in outcome.outputs:
        raise MissingItems(_no_output(source, subtask))
    return result


def _no_output(source: Source, subtask: int) -> str:
    return f"subtask {subtask} of what makes '{source.path}' had no output"


def _open_whole(
    source: Source, session: icechunk.Session, labels: Labels | None
) -> Given:
    if source.kind is ProductKind.ARRAY:
        return only_made(open_dataset(session, source.path), source, labels)
    names = labels.texts() if labels is not None else []
    return {name: open_dataset_item(session, source.path, name) for name in names}


def _refuse_trees(source: Source, items: Mapping[str, object]) -> None:
    """Refuse items that a program can't be given.

    Raises
    ------
    TaskError
        With the name of one.
    """
    for name, item in items.items():
        if isinstance(item, xr.DataTree):
            raise TaskError(
                f"the item {name!r} of '{source.path}' is a tree of groups, which a "
                "program can't be given; let a function choose a group of it"
            )


def only_made(dataset: xr.Dataset, source: Source, labels: Labels | None) -> xr.Dataset:
    """Return an array product without the items that were never made."""
    if labels is None or not source.dimension:
        return dataset
    stored = Labels(dataset[source.dimension].values)
    if len(stored) == len(labels):
        return dataset
    return dataset.isel({source.dimension: stored.positions(labels)})


def open_stored(url: str, stored: Source | ModelFile) -> icechunk.Session:
    """Return a session that reads something stored."""
    held = stored.held or Held(snapshot=stored.snapshot or "")
    return shared_repository(url).open(held)


def require_stored(session: icechunk.Session, source: Source) -> Labels | None:
    """Return the items that a stored product has.

    Raises
    ------
    MissingItems
        If there is no such product: nothing came of the task that was to make it.
    """
    try:
        product = read_product(session, source.path)
    except MissingError as error:
        raise MissingItems(str(error)) from error
    if source.instance not in (None, product.attributes.get("instance")):
        raise MissingItems(
            f"instance {source.instance} made nothing in '{source.path}'"
        )
    return product.labels


def _require_present(
    work: Work, source: Source, session: icechunk.Session, items: slice
) -> None:
    """Refuse items that a stored product was to have, but that were never made."""
    key = (work.token, source.path)
    if key not in _absent_cache:
        _trim(_absent_cache)
        assert work.labels is not None  # only tasks with items have slices
        stored = require_stored(session, source)
        made = set(work.labels if stored is None else stored)
        _absent_cache[key] = frozenset(set(work.labels) - made)
    absent = _absent_cache[key]
    if absent and work.labels is not None:
        lacking = absent & set(work.labels.take(items))
        if lacking:
            raise MissingItems(f"'{source.path}' has no item {min(lacking)!r}")


def _label_set(token: str, path: str, labels: Labels) -> frozenset[str]:
    """Return the labels that an input was planned with."""
    key = (token, path)
    if key not in _planned_cache:
        _trim(_planned_cache)
        _planned_cache[key] = frozenset(labels)
    return _planned_cache[key]


def _stored_files(work: Work, source: Source) -> Mapping[str, Sequence[StoredFile]]:
    """Return the files of an input by key."""
    key = (work.token, source.data_type)
    if key not in _file_cache:
        _trim(_file_cache)
        session = open_stored(work.datastore, source)
        by_key: dict[str, list[StoredFile]] = {}
        for one in list_files(session, source.path, source.pattern):
            by_key.setdefault(one.key, []).append(one)
        _file_cache[key] = by_key
    return _file_cache[key]


_file_cache: dict[tuple[str, str], Mapping[str, Sequence[StoredFile]]] = {}
_planned_cache: dict[tuple[str, str], frozenset[str]] = {}
_absent_cache: dict[tuple[str, str], frozenset[str]] = {}
_layouts: dict[tuple[str, str], Layout] = {}
_position_cache: dict[tuple[str, str], np.ndarray[Any, np.dtype[np.int64]] | None] = {}
_place_cache: dict[tuple[str, str], Sequence[int]] = {}


def _layout(token: str, source: Source, session: icechunk.Session) -> Layout:
    key = (token, source.path)
    if key not in _layouts:
        _trim(_layouts)
        _layouts[key] = read_layout(session, source.path, source.dimension)
    return _layouts[key]


def _positions(
    work: Work, source: Source, layout: Layout
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return where the task's items are in a stored product; None: in the same places."""
    key = (work.token, source.path)
    if key not in _position_cache:
        _trim(_position_cache)
        same = (
            layout.labels is None or work.labels is None or layout.labels == work.labels
        )
        _position_cache[key] = (
            None
            if same or layout.labels is None or work.labels is None
            else layout.labels.positions(work.labels)
        )
    return _position_cache[key]


def _places(work: Work, source: Source) -> Sequence[int]:
    """Return where the task's items are among those of the task that makes an input."""
    key = (work.token, source.path)
    if key not in _place_cache:
        _trim(_place_cache)
        assert work.labels is not None
        same = source.labels is None or source.labels == work.labels
        _place_cache[key] = (
            range(len(work.labels))
            if same or source.labels is None
            else [int(p) for p in source.labels.positions(work.labels)]
        )
    return _place_cache[key]


def _trim(cache: dict[Any, Any], most: int = 512) -> None:
    """Forget the oldest entry of a full cache."""
    if len(cache) >= most:
        cache.pop(next(iter(cache)))
