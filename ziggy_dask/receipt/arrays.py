"""Storing files as items of an array product, along its subtask dimension.

The name of a file stands for one item, or the file is a piece of a series and brings the
labels of its items itself. All files are looked at before anything is allocated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from ziggy_dask.datastore import (
    Labels,
    Layout,
    Storage,
    allocate,
    extend,
    misfit,
    read_layout,
    read_slice,
    write_slice,
)
from ziggy_dask.datastore.allocation import prepared
from ziggy_dask.datastore.storable import with_dimension
from ziggy_dask.definitions import DataType
from ziggy_dask.errors import DatastoreError, DeliveryError, ZiggyError
from ziggy_dask.receipt.content import Delivered, as_dataset
from ziggy_dask.receipt.series import as_labels, in_one_type, in_order
from ziggy_dask.receipt.sorting import SortedFile, refusal
from ziggy_dask.receipt.types import Dtype, common_types, converted

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is known of a file before it is stored."""

    labels: Labels
    dtypes: Mapping[Any, Dtype]


def store_array(
    session: icechunk.Session,
    data_type: DataType,
    storage: Storage,
    path: str,
    files: Sequence[SortedFile],
    delivered: Delivered,
    faults: dict[str, str],
) -> tuple[list[str], list[str]]:
    """Write files along the subtask dimension; items with known labels are replaced.

    Parameters
    ----------
    session
        Writable session.
    data_type, storage, path
        The product.
    files
        The files.
    delivered
        Where they are.
    faults
        Gets what is wrong, by name of file.

    Returns
    -------
    list, list
        Names of the files that were stored, and what there is to say about them.
    """
    seen, warnings = _survey(data_type, files, delivered, faults)
    layout, stored = None, {}
    if path in zarr.open_group(session.store, mode="r"):
        layout = read_layout(session, path, data_type.subtask)
        few = read_slice(layout, session, slice(0, 1))
        stored = {name: variable.dtype for name, variable in few.variables.items()}
    by_file, wrong = in_one_type(
        {name: one.labels for name, one in seen.items()},
        None if layout is None else layout.labels,
    )
    faults |= wrong
    seen = {name: replace(seen[name], labels=one) for name, one in by_file.items()}
    if data_type.is_series and seen:
        order, told, wrong = in_order(by_file)
        faults |= wrong
        warnings += [f"'{path}': {text}" for text in told]
        seen = {name: seen[name] for name in order if name not in wrong}
    declared = frozenset({data_type.subtask, *(name for name, _ in data_type.dtypes)})
    types, wrong = common_types(
        {name: one.dtypes for name, one in seen.items()}, stored, declared
    )
    faults |= wrong
    seen = {name: one for name, one in seen.items() if name not in wrong}
    if not seen:
        return [], warnings
    labels = _all_labels([one.labels for one in seen.values()])
    if layout is not None:
        warnings += _out_of_order(data_type, path, layout, labels)
        layout = extend(session, layout, labels)
    by_name = {file.name: file for file in files}
    done = []
    for name, known in seen.items():
        try:
            with delivered.open(data_type, by_name[name]) as reading:
                piece = _piece(data_type, by_name[name], as_dataset(data_type, reading))
                piece = _labelled(piece, data_type.subtask, known.labels)
                if layout is None:
                    first = converted(
                        piece.isel({data_type.subtask: slice(0, 1)}).load(), types
                    )
                    allocate(session, path, first, storage, labels)
                    layout = read_layout(session, path, data_type.subtask)
                _write(session, layout, storage, piece, types, path)
        except ZiggyError as error:
            faults[name] = str(error)
        except Exception as error:
            logger.exception("%s can't be stored", name)
            faults[name] = f"can't be stored: {type(error).__name__}: {error}"
        else:
            done.append(name)
    return done, warnings


def expected_labels(
    data_type: DataType, directory: Path, files: Sequence[SortedFile]
) -> Labels | None:
    """Return the items that files will give a product; None: it is one whole.

    Raises
    ------
    DeliveryError
        If they are a series of files, and one of them can't be read.
    """
    if not data_type.has_items:
        return None
    if not data_type.is_series:
        return Labels.of(list(dict.fromkeys(file.key for file in files)))
    faults: dict[str, str] = {}
    seen, _ = _survey(data_type, files, Delivered(directory, None), faults)
    by_file, others = in_one_type(
        {name: one.labels for name, one in seen.items()}, None
    )
    order, _, wrong = in_order(by_file)
    if faults or others or wrong:
        raise refusal(faults | others | wrong)
    return _all_labels([by_file[name] for name in order])


def _survey(
    data_type: DataType,
    files: Sequence[SortedFile],
    delivered: Delivered,
    faults: dict[str, str],
) -> tuple[dict[str, _Seen], list[str]]:
    """Look at all files; return what is known of those without fault, and warnings."""
    seen, warnings = {}, []
    for file in files:
        try:
            with delivered.open(data_type, file) as reading:
                warnings += [f"{file.name}: {text}" for text in reading.warnings]
                piece = _piece(data_type, file, as_dataset(data_type, reading))
                seen[file.name] = _Seen(
                    labels=_labels(data_type, file, piece),
                    dtypes={name: one.dtype for name, one in piece.variables.items()},
                )
                delivered.keep(data_type, file, reading)
        except ZiggyError as error:
            faults[file.name] = str(error)
        except Exception as error:
            logger.exception("%s can't be stored", file.name)
            faults[file.name] = f"can't be stored: {type(error).__name__}: {error}"
    return seen, warnings


def _piece(data_type: DataType, file: SortedFile, content: xr.Dataset) -> xr.Dataset:
    """Return a file as a piece along the subtask dimension, lazy if it was.

    Where the name of the file gives the label, the label that the file itself has is
    kept beside it.
    """
    dimension = data_type.subtask
    size = content.sizes.get(dimension)
    if data_type.is_series:
        if size is None:
            raise DeliveryError(
                f"the file {file.name!r} has no dimension {dimension!r}; where the name "
                "of a file stands for one item, 'files' has parentheses around what "
                "names it"
            )
        return content
    if size not in (None, 1):
        raise DeliveryError(
            f"the file {file.name!r} holds {size} items along {dimension!r}; as its name "
            "stands for one item, it can hold only one; files that bring their own "
            "labels are taken by 'files' without parentheses"
        )
    own = content.variables.get(dimension)
    if own is not None and own.dims not in ((), (dimension,)):
        raise DeliveryError(
            f"the file {file.name!r} has a variable {dimension!r} along "
            f"{', '.join(map(repr, own.dims))}, but that is the name of the dimension of "
            "items; rename it, or give the data type another 'subtask'"
        )
    is_coordinate = dimension in content.coords
    content = content.drop_vars(dimension, errors="ignore")
    if size is None:
        content = with_dimension(content, dimension, f"the file {file.name!r}")
    if own is None or _is_label(own, file.item):
        return content
    kept = f"{dimension}_of_file"
    if kept in content.variables or kept in content.dims:
        raise DeliveryError(
            f"the file {file.name!r} has a {dimension!r} of its own, which would be kept "
            f"as {kept!r}, but it has one of that name, too; rename either of them"
        )
    beside = {kept: ((dimension,), np.atleast_1d(own.values), own.attrs)}
    return content.assign_coords(beside) if is_coordinate else content.assign(beside)


def _is_label(own: xr.Variable, item: str) -> bool:
    """Tell whether what a file says of its item is no more than the item's name."""
    is_text = isinstance(own.dtype, np.dtype) and own.dtype.kind in "UTO"
    return is_text and not own.attrs and own.values.ravel().tolist() == [item]


def _labels(data_type: DataType, file: SortedFile, piece: xr.Dataset) -> Labels:
    if not data_type.is_series:
        return Labels.of([file.item])
    try:
        return as_labels(piece, data_type.subtask)
    except (DeliveryError, DatastoreError) as error:
        raise DeliveryError(f"the file {file.name!r}: {error}") from error


def _labelled(piece: xr.Dataset, dimension: str, labels: Labels) -> xr.Dataset:
    """Return a piece with the labels that its items have in the product."""
    own = piece.variables.get(dimension)
    attrs = {} if own is None else own.attrs
    return piece.assign_coords({dimension: (dimension, labels.values, attrs)})


def _all_labels(some: Sequence[Labels]) -> Labels:
    """Return labels of one type together."""
    return Labels(np.concatenate([labels.values for labels in some]))


def _out_of_order(
    data_type: DataType, path: str, layout: Layout, labels: Labels
) -> list[str]:
    """Return a warning if new items of a series come after later ones."""
    known = layout.labels
    assert known is not None
    new = labels.without(known)
    if not data_type.is_series or not len(new) or labels.values.dtype.kind == "U":
        return []
    if new.values[0] > known.values.max():
        return []
    text = (
        f"'{path}': new items, from {new.texts()[0]} on, come after those that are "
        f"there, up to {known.values.max()}; they are not in order along "
        f"{data_type.subtask!r}"
    )
    return [text]


def _write(
    session: icechunk.Session,
    layout: Layout,
    storage: Storage,
    piece: xr.Dataset,
    types: Mapping[Any, Dtype],
    path: str,
) -> None:
    """Write a piece, some items at a time.

    Raises
    ------
    DeliveryError
        If it does not fit the product.
    """
    assert layout.labels is not None
    labels = Labels(piece[layout.dimension].values)
    positions = layout.labels.positions(labels)
    for run in _runs(positions, _items_at_once(piece, storage)):
        part = converted(piece.isel({layout.dimension: run}).load(), types)
        part = prepared(part, storage, f"the items for '{path}'")
        reason = misfit(layout, part, run.stop - run.start)
        if reason:
            raise DeliveryError(f"it does not fit '{path}': {reason}")
        write_slice(layout, session, part, int(positions[run.start]))


def _items_at_once(piece: xr.Dataset, storage: Storage) -> int:
    """Return how many items are held in memory: whole chunks of them."""
    count = max(1, piece.sizes[storage.dimension])
    fit = _BLOCK_BYTES // max(1, piece.nbytes // count)
    return max(1, fit // storage.chunk) * storage.chunk


def _runs(positions: np.ndarray[Any, Any], most: int) -> Iterator[slice]:
    """Yield slices whose positions follow each other, none longer than `most`.

    They end where stored chunks do, if they begin where one does.
    """
    start = 0
    for end in range(1, len(positions) + 1):
        is_over = (
            end == len(positions)
            or positions[end] != positions[end - 1] + 1
            or end - start >= most
        )
        if is_over:
            yield slice(start, end)
            start = end
