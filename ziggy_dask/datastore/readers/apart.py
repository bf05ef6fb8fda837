"""Reading files of strangers in a process of its own, with limits of memory and time.

A file can end the process that reads it: libraries that read formats have faults, and a
few bytes can stand for many gigabytes. Here such a file ends a process that does nothing
else, and is refused by name. It is not a sandbox: that process may do what its user may.

Small values come at once; others stay there until they are asked for.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ziggy_dask.datastore.items import FileItem
from ziggy_dask.datastore.readers.expanding import size_of
from ziggy_dask.datastore.readers.messages import (
    Closing,
    Description,
    Failed,
    Key,
    Limits,
    Opening,
    Part,
    Values,
    receive,
    send,
)
from ziggy_dask.datastore.readers.opening import Options, Reading
from ziggy_dask.datastore.room import require_room, room_bytes
from ziggy_dask.errors import DeliveryError, error_from_text

LIMIT_S = 60.0
"""So long may one step take, in seconds; a large file longer."""
PACE_BYTES_S = 2**20
"""A file may take as much longer as it takes at this pace, in bytes a second."""
LEAST_BYTES = 2**30
"""So much memory may the process take at least, in bytes, if the machine has it."""
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from ziggy_dask.datastore.readers.reading_process import serve
serve(int(sys.argv[1]), sys.argv[3])
"""
_SMALLER = "deliver it in smaller files"


class EndedReadingError(DeliveryError):
    """A file ended the process that read it."""

    def __init__(self, message: str, *, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed
        """Whether somebody else may have ended it, such as the system for want of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """A process that reads."""

    child: subprocess.Popen[bytes]
    line: socket.socket
    owner: int
    """The process that started it."""
    place: Path
    """Where it makes what it needs for a while; removed with it."""

    @property
    def is_usable(self) -> bool:
        return self.owner == os.getpid() and self.child.poll() is None


_lock = threading.RLock()
_process: _Process | None = None
_numbers = count()


@contextmanager
def open_apart(
    reader: str, path: Path, options: Options = (), descriptor: int | None = None
) -> Iterator[Reading]:
    """Open a file as `open_file` does, in another process.

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
    EndedReadingError
        If the file ends the process that reads it.
    DeliveryError
        If the reader fails, with the file and the reason.
    """
    request = Opening(
        number=next(_numbers),
        reader=reader,
        path=str(path if descriptor is not None else path.absolute()),
        options=tuple(dict(options).items()),
        has_descriptor=descriptor is not None,
        paths=tuple(sys.path),
        limits=_limits(path, descriptor),
    )
    file = _File(path, request, descriptor)
    found = file.opened()
    try:
        yield _reading(file, found)
    except BaseException:
        if file.is_open:
            with suppress(DeliveryError):
                file.ask(Closing(number=request.number))
        raise
    file.ask(Closing(number=request.number))


class _File:
    """A file that is read in another process.

    If that is killed, the file is read once more, in a new one: it may not be to blame.

    Parameters
    ----------
    path
        The file.
    request
        Asks for it to be opened.
    descriptor
        Its descriptor, if it is open here.
    """

    def __init__(self, path: Path, request: Opening, descriptor: int | None) -> None:
        self.path = path
        self.request = request
        self._descriptor = descriptor
        self._process: _Process | None = None
        self._is_second = False

    @property
    def is_open(self) -> bool:
        """Whether the process that has it open is there."""
        return self._process is not None and self._process.is_usable

    def opened(self) -> Description:
        """Open it; return what is in it."""
        try:
            return self._opened()
        except EndedReadingError as error:
            if self._is_second or not error.was_killed:
                raise
            self._is_second = True
            return self._opened()

    def ask(self, request: Values | Closing) -> Any:
        """Ask for something of it; see `_ask`."""
        assert self._process is not None
        try:
            return _ask(self._process, self, request)
        except EndedReadingError as error:
            if self._is_second or not error.was_killed:
                raise
            self._is_second = True
            self._opened()
            return _ask(self._process, self, request)

    def _opened(self) -> Description:
        with _lock:
            self._process = _started()
            found = _ask(self._process, self, self.request, self._descriptor)
        assert isinstance(found, Description)
        return found


class _There(BackendArray):
    """Values that stay in the other process until they are asked for."""

    def __init__(self, file: _File, node: str, part: Part, name: Any) -> None:
        self.shape = part.shape
        self.dtype = part.dtype
        self._file = file
        self._place = (node, name)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._values
        )

    def _values(self, key: Key) -> np.ndarray[Any, Any]:
        node, name = self._place
        number = self._file.request.number
        found = self._file.ask(Values(number=number, node=node, name=name, key=key))
        return np.asarray(found)


def _reading(file: _File, found: Description) -> Reading:
    if found.is_file:
        return Reading(
            content=FileItem.from_path(file.path), warnings=tuple(found.warnings)
        )
    nodes = {
        node: _whole(file, node, small, found.parts.get(node, {}))
        for node, small in found.nodes.items()
    }
    content: xr.Dataset | xr.DataTree = (
        xr.DataTree.from_dict(nodes, name=found.name) if found.is_tree else nodes["/"]
    )
    return Reading(content=content, warnings=tuple(found.warnings))


def _whole(
    file: _File,
    node: str,
    small: xr.Dataset,
    parts: dict[Any, Part],
) -> xr.Dataset:
    """Return a Dataset with the values that are not here yet."""
    if not parts:
        return small
    there = {
        name: xr.Variable(
            part.dims,
            indexing.LazilyIndexedArray(_There(file, node, part, name)),
            part.attrs,
            part.encoding,
        )
        for name, part in parts.items()
    }
    order = next(iter(parts.values())).order
    whole = small.assign(there).set_coords(
        [name for name, part in parts.items() if part.is_coordinate]
    )
    ordered = whole[[name for name in order if name in whole.variables]]
    ordered.attrs, ordered.encoding = small.attrs, small.encoding
    return ordered


def _ask(
    process: _Process, file: _File, request: Any, descriptor: int | None = None
) -> Any:
    """Ask, and return the answer.

    Raises
    ------
    EndedReadingError
        If there is none.
    DeliveryError
        If the answer is that it can't be read, or there is no room for it.
    """
    with _lock:
        try:
            send(process.line, request, descriptor)
            answer, _ = receive(process.line, lambda size: _require_room(file, size))
        except (OSError, EOFError) as error:
            raise _how_it_ended(process, file) from error
        except MemoryError as error:
            _end(process)
            raise EndedReadingError(str(error)) from error
        except BaseException:  # the answer may come when nobody waits for it any more
            _end(process)
            raise
    for text, category in answer.warnings:
        warnings.warn(text, category, stacklevel=2)
    if isinstance(answer.result, Failed):
        if answer.result.lacked_memory:
            raise EndedReadingError(
                f"{file.path}: needs more than {_mib(file.request.limits.memory_bytes)} MiB of "
                f"memory to be read; {_SMALLER}"
            )
        raise error_from_text(answer.result.text)
    return answer.result


def _require_room(file: _File, size: int) -> None:
    require_room(size, f"{file.path}: what is read of it at once", _SMALLER)


def _limits(path: Path, descriptor: int | None) -> Limits:
    """Return what the process may use for a file."""
    size = size_of(path) if descriptor is None else os.fstat(descriptor).st_size
    return Limits(
        step_s=LIMIT_S + size / PACE_BYTES_S,
        memory_bytes=max(room_bytes() // 2, LEAST_BYTES) + size,
    )


def _how_it_ended(process: _Process, file: _File) -> EndedReadingError:
    """Return how a process ended that gives no answer; it is taken off the list."""
    code = process.child.wait()
    _end(process)
    if code == -signal.SIGALRM:
        how = f"takes longer than {file.request.limits.step_s:.0f} s to be read"
    elif code == -signal.SIGKILL:
        how = "was read twice by a process that was killed, perhaps for want of memory"
    elif code < 0:
        how = f"crashed the process that read it ({signal.Signals(-code).name})"
    else:
        how = f"ended the process that read it (exit code {code})"
    return EndedReadingError(
        f"{file.path}: {how}; it is not taken; have its sender look at it",
        was_killed=code in (-signal.SIGKILL, -signal.SIGTERM),
    )


def _started() -> _Process:
    """Return the process that reads, started if there is none."""
    global _process
    if _process is not None and _process.is_usable:
        return _process
    _end_the_last()
    ours, theirs = socket.socketpair()
    place = Path(tempfile.mkdtemp(prefix="ziggy-apart-"))
    with theirs:
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _START,
                str(theirs.fileno()),
                json.dumps(sys.path),
                str(place),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    _process = _Process(child=child, line=ours, owner=os.getpid(), place=place)
    return _process


def _end(process: _Process) -> None:
    """End a process that reads."""
    global _process
    process.line.close()
    process.child.kill()
    process.child.wait()
    shutil.rmtree(process.place, ignore_errors=True)
    if _process is process:
        _process = None


@atexit.register
def _end_the_last() -> None:
    if _process is not None and _process.owner == os.getpid():
        _end(_process)


def _mib(size: int) -> int:
    return round(size / 2**20)
