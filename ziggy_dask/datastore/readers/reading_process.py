"""The process that reads files of strangers; see `apart`."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.items import FileItem
from ziggy_dask.datastore.readers.messages import (
    Answer,
    Closing,
    Description,
    Failed,
    Limits,
    Opening,
    Part,
    Values,
    receive,
    send,
)
from ziggy_dask.datastore.readers.opening import Reading, load, open_file
from ziggy_dask.errors import DeliveryError, ZiggyError, error_to_text

_AT_ONCE_BYTES = 2**20
"""Variables up to this size are sent when a file is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A file that is open."""

    closing: ExitStack
    reading: Reading
    limits: Limits


def serve(descriptor: int, place: str) -> None:
    """Read what is asked for, until nobody asks any more.

    Parameters
    ----------
    descriptor
        Socket on which questions come.
    place
        Directory for what is needed for a while; removed at the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when it ends
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _be_the_first_to_go()
    os.environ["TMPDIR"] = place
    opened: dict[int, _Opened] = {}
    with socket.socket(fileno=descriptor) as line, suppress(OSError, EOFError):
        while True:
            request, file = receive(line)
            send(line, _answer(opened, request, file))
    shutil.rmtree(place, ignore_errors=True)


def _answer(opened: dict[int, _Opened], request: Any, file: int | None) -> Answer:
    limits = (
        request.limits
        if isinstance(request, Opening)
        else opened[request.number].limits
    )
    with warnings.catch_warnings(record=True) as heard, _limited(limits):
        warnings.simplefilter("default")
        result: Any = None
        try:
            if isinstance(request, Opening):
                result = _open(opened, request, file)
            elif isinstance(request, Values):
                result = _values(opened[request.number], request)
            elif isinstance(request, Closing):
                opened.pop(request.number).closing.close()
        except ZiggyError as error:
            result = Failed(
                text=error_to_text(error), lacked_memory=_lacked_memory(error)
            )
    told = [(str(one.message), one.category) for one in heard]
    return Answer(result=result, warnings=told)


def _open(
    opened: dict[int, _Opened], request: Opening, file: int | None
) -> Description:
    if sys.path != list(request.paths):
        sys.path[:] = request.paths
        importlib.invalidate_caches()
    with ExitStack() as stack:
        if file is not None:
            stack.callback(os.close, file)
        reading = stack.enter_context(
            open_file(request.reader, Path(request.path), request.options, file)
        )
        found = _described(request, reading)
        opened[request.number] = _Opened(
            closing=stack.pop_all(), reading=reading, limits=request.limits
        )
    return found


def _described(request: Opening, reading: Reading) -> Description:
    content = reading.content
    if isinstance(content, FileItem):
        return Description(is_file=True, warnings=reading.warnings)
    is_tree = isinstance(content, xr.DataTree)
    nodes: dict[str, xr.Dataset] = {}
    parts: dict[str, dict[Any, Part]] = {}
    for path, node in _nodes(content).items():
        parts[path] = {
            name: Part(
                dims=variable.dims,
                shape=variable.shape,
                dtype=variable.dtype,
                attrs=variable.attrs,
                encoding=variable.encoding,
                is_coordinate=name in node.coords,
                order=tuple(node.variables),
            )
            for name, variable in node.variables.items()
            if _is_large(variable)
        }
        nodes[path] = _loaded(request, node.drop_vars(list(parts[path])))
    return Description(
        is_tree=is_tree,
        name=content.name if isinstance(content, xr.DataTree) else None,
        nodes=nodes,
        parts=parts,
        warnings=reading.warnings,
    )


def _loaded(request: Opening, small: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with its values in memory; types of pandas are there already."""
    lazy = [
        name
        for name, variable in small.variables.items()
        if isinstance(variable.dtype, np.dtype) and not variable._in_memory
    ]
    if lazy:
        load(request.reader, Path(request.path), Reading(content=small[lazy]))
    return small


def _nodes(content: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    if isinstance(content, xr.Dataset):
        return {"/": content}
    return {
        below if below != "." else "/": node.to_dataset(inherit=False)
        for below, node in content.subtree_with_keys
    }


def _is_large(variable: xr.Variable) -> bool:
    """Tell whether values stay here; those of indexes, and of types of pandas, do not."""
    return (
        variable.nbytes > _AT_ONCE_BYTES
        and not isinstance(variable, xr.IndexVariable)
        and isinstance(variable.dtype, np.dtype)
    )


def _values(one: _Opened, request: Values) -> np.ndarray[Any, Any]:
    content = one.reading.content
    assert not isinstance(content, FileItem)
    try:
        variable = _nodes(content)[request.node].variables[request.name]
        return np.asarray(variable[request.key].values)
    except ZiggyError:
        raise
    except Exception as error:
        raise DeliveryError(
            f"{request.name!r} can't be read: {type(error).__name__}: {error}"
        ) from error


def _lacked_memory(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MemoryError):
        cause = cause.__cause__
    return cause is not None


@contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """Bound memory and time; the alarm ends this process, whatever it is doing."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + limits.memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    signal.setitimer(signal.ITIMER_REAL, limits.step_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _be_the_first_to_go() -> None:
    """Ask the system to end this process first when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
