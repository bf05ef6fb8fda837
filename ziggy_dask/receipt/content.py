"""What is in the files of a delivery: opened one by one, small ones kept in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from ziggy_dask.datastore import FileItem
from ziggy_dask.datastore.readers import Reading, load
from ziggy_dask.datastore.readers.apart import EndedReadingError, open_apart
from ziggy_dask.datastore.readers.regular import Identity, hold
from ziggy_dask.definitions import DataType
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt.delivery import open_delivered
from ziggy_dask.receipt.sorting import SortedFile

_KEPT_BYTES = 256 * 1024 * 1024
"""So much of a delivery is kept in memory between looking at it and storing it."""
_SMALL_BYTES = 16 * 1024 * 1024
"""Larger files are read again."""
_MOST_ENDED = 3
"""When so many files have ended the process that reads them, no more are tried."""


class Delivered:
    """The files of a delivery.

    Parameters
    ----------
    directory
        The delivery.
    identities
        The files that were checked, by name; None: nothing was checked.
    """

    def __init__(
        self, directory: Path, identities: Mapping[str, Identity] | None
    ) -> None:
        self.directory = directory
        self._identities = identities
        self._kept: dict[str, Reading] = {}
        self._kept_bytes = 0
        self._ended: list[str] = []

    @contextmanager
    def open(self, data_type: DataType, file: SortedFile) -> Iterator[Reading]:
        """Open a file with the reader of its data type.

        It is read in another process, which a hostile file can end; after a few of these,
        no more are tried.

        Raises
        ------
        DeliveryError
            If it can't be read, or is not the file that was checked.
        """
        if file.name in self._kept:
            yield self._kept.pop(file.name)
            return
        if len(self._ended) >= _MOST_ENDED:
            raise DeliveryError(
                f"{self.directory / file.name}: was not tried, since others of the delivery "
                f"ended the process that reads files, {self._ended[0]!r} the first; take "
                "those away, and deliver this one again"
            )
        try:
            with self._opened(data_type, file) as reading:
                yield reading
        except EndedReadingError:
            self._ended.append(file.name)
            raise

    @contextmanager
    def _opened(self, data_type: DataType, file: SortedFile) -> Iterator[Reading]:
        path = self.directory / file.name
        if file.members:
            self._require_checked_members(file)
            with open_apart(
                data_type.reader, path, data_type.reader_options
            ) as reading:
                yield reading
            self._require_checked_members(file)
            return
        with (
            self._descriptor(file.name) as descriptor,
            open_apart(
                data_type.reader, path, data_type.reader_options, descriptor
            ) as reading,
        ):
            yield reading

    def keep(self, data_type: DataType, file: SortedFile, reading: Reading) -> None:
        """Keep what was read for the next time it is opened, if it is small."""
        content = reading.content
        if isinstance(content, FileItem) or content.nbytes > _SMALL_BYTES:
            return
        if self._kept_bytes + content.nbytes <= _KEPT_BYTES:
            self._kept_bytes += content.nbytes
            path = self.directory / file.name
            self._kept[file.name] = load(data_type.reader, path, reading)

    @contextmanager
    def as_item(self, name: str, item: str) -> Iterator[FileItem]:
        """Open a file as it is, under the name of an item."""
        path = self.directory / name
        with self._descriptor(name) as descriptor, hold(path, descriptor) as held:
            yield FileItem.from_path(held, item)

    @contextmanager
    def _descriptor(self, name: str) -> Iterator[int]:
        path = self.directory / name
        try:
            descriptor = open_delivered(self.directory, name)
        except OSError as error:
            raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
        try:
            self._require_checked(name, descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _require_checked(self, name: str, descriptor: int) -> None:
        if self._identities is None:
            return
        if self._identities.get(name) != Identity.of(descriptor):
            raise DeliveryError(
                f"{self.directory / name}: was changed after it was checked; deliver it "
                "again"
            )

    def _require_checked_members(self, file: SortedFile) -> None:
        for name in file.members:
            with self._descriptor(name):
                pass


def as_dataset(data_type: DataType, reading: Reading) -> xr.Dataset:
    """Return what was read as one Dataset.

    Raises
    ------
    DeliveryError
        If it is something else.
    """
    content = reading.content
    if isinstance(content, FileItem):
        raise DeliveryError(
            f"the reader {data_type.reader!r} of {data_type.name!r} takes files as they "
            "are; give the data type 'kind: file', or another reader"
        )
    if isinstance(content, xr.DataTree):
        raise DeliveryError(
            f"the reader {data_type.reader!r} of {data_type.name!r} gives a tree of "
            "groups, which only a collection can hold; give the data type "
            "'kind: collection', or name one group"
        )
    return content
