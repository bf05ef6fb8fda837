"""Opening a file by the reader that a data type names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from ziggy_dask.datastore.content import OnDisk
from ziggy_dask.datastore.items import FileItem
from ziggy_dask.datastore.readers.expanding import require_bounded, require_declared
from ziggy_dask.datastore.readers.regular import hold, require_own_files
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError, DeliveryError, ZiggyError

GROUP = "ziggy_dask.readers"

Content = xr.Dataset | xr.DataTree | FileItem
Options = Mapping[str, object] | tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader found in a file."""

    content: Content
    """A Dataset, lazily opened or in memory; a tree of them; or the file as it is."""
    warnings: tuple[str, ...] = ()
    """What users should know, e.g. the parts of the file that were not read."""

    def load(self) -> Reading:
        """Return the same with all values in memory, free of the file."""
        content = self.content
        if isinstance(content, xr.Dataset | xr.DataTree):
            content = content.load()
        return Reading(content=content, warnings=self.warnings)


class Reader(Protocol):
    """Turns a file into a Dataset or a tree of them, or takes it as it is.

    It may return a `Reading`, to say something about the file. Options of the data
    type come as keyword arguments.
    """

    def __call__(self, path: Path, **options: Any) -> Content | Reading:
        """Read the file at `path`."""
        ...


def reader_named(name: str) -> Reader:
    """Return an installed reader.

    Raises
    ------
    DefinitionError
        If there is none of that name.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise DefinitionError(f"no reader is called {name!r}{suggestion(name, found)}")
    reader: Reader = found[name].load()
    return reader


@contextmanager
def open_file(
    reader: str, path: Path, options: Options = (), descriptor: int | None = None
) -> Iterator[Reading]:
    """Open a file with the reader of that name; it is closed at the end of the block.

    Only a regular file is read, or a directory of nothing but regular files. A link
    is refused, and what is read is the very file that was opened, whatever takes its
    name meanwhile.

    Parameters
    ----------
    reader
        Name of the reader.
    path
        The file.
    options
        Options of the reader.
    descriptor
        If the file is open already: its descriptor, which stays open.

    Raises
    ------
    DeliveryError
        If the reader fails, with the file and the reason.
    """
    read = reader_named(reader)
    with _holding(path, descriptor) as held:
        try:
            require_bounded(held)
            reading = _reading(read(held, **dict(options)))
            require_declared(held, reading.content)
        except ZiggyError as error:
            message = str(error).replace(str(held), str(path))
            raise type(error)(message) from error
        except Exception as error:
            message = str(error).replace(str(held), str(path))
            raise DeliveryError(
                f"{path}: the reader {reader!r} can't read it: "
                f"{type(error).__name__}: {message}"
            ) from error
        try:
            yield reading
        finally:
            if not isinstance(reading.content, FileItem):
                reading.content.close()


def read_file(reader: str, path: Path, options: Options = ()) -> Content:
    """Read a file into memory with the reader of that name.

    What there is to say about the file is a Python warning.

    Raises
    ------
    DeliveryError
        If the reader fails, with the file and the reason.
    """
    with open_file(reader, path, options) as reading:
        for text in reading.warnings:
            warnings.warn(f"{path}: {text}", stacklevel=2)
        content = load(reader, path, reading).content
    if isinstance(content, FileItem) and isinstance(content.content, OnDisk):
        return FileItem.from_path(path)  # by its own name, which outlasts the reading
    return content


def load(reader: str, path: Path, reading: Reading) -> Reading:
    """Return what was opened with all values in memory.

    Raises
    ------
    DeliveryError
        If the values can't be read, with the file and the reason.
    """
    try:
        return reading.load()
    except ZiggyError:
        raise
    except Exception as error:
        raise DeliveryError(
            f"{path}: the reader {reader!r} can't read it: "
            f"{type(error).__name__}: {error}"
        ) from error


@contextmanager
def _holding(path: Path, descriptor: int | None) -> Iterator[Path]:
    if descriptor is None and path.is_dir() and not path.is_symlink():
        require_own_files(path)
        yield path
    else:
        with hold(path, descriptor) as held:
            yield held


def _reading(found: object) -> Reading:
    reading = found if isinstance(found, Reading) else None
    content = reading.content if reading else found
    if not isinstance(content, xr.Dataset | xr.DataTree | FileItem):
        raise DeliveryError(
            f"the reader returned a {type(content).__name__}; it must return an "
            "xarray.Dataset, an xarray.DataTree or a FileItem"
        )
    return reading or Reading(content=content)
