"""What passes between a process and the one that reads files for it."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

Key = tuple[Any, ...]
"""Whole numbers, slices and arrays of whole numbers, one for each dimension."""
_HEAD = struct.Struct("<I")
_WITH_FILE, _PLAIN = b"f", b"-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the process that reads may use for a file."""

    step_s: float
    """Time for each request, in seconds."""
    memory_bytes: int
    """More address space than it has at its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Please open a file."""

    number: int
    """By which it is asked for further on."""
    reader: str
    path: str
    options: tuple[tuple[str, object], ...]
    has_descriptor: bool
    """Whether it comes with the message, open."""
    paths: tuple[str, ...]
    """Where modules are found: a reader may be anybody's."""
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Please read some values."""

    number: int
    node: str
    name: Hashable
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A file is needed no longer."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A variable whose values are sent when they are asked for."""

    dims: tuple[Hashable, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[Any, Any]
    encoding: dict[Any, Any]
    is_coordinate: bool
    order: tuple[Hashable, ...]
    """All variables of its Dataset, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a reader found in a file."""

    is_file: bool = False
    """Whether the file is taken as it is."""
    is_tree: bool = False
    name: str | None = None
    """Name of a tree."""
    nodes: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """What is small, by group; a Dataset that is not a tree is ``/``."""
    parts: Mapping[str, dict[Any, Part]] = field(default_factory=dict)
    """The rest."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It could not be done."""

    text: str
    """The error, as text."""
    lacked_memory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request."""

    result: Any
    warnings: Sequence[tuple[str, type[Warning]]] = ()
    """What Python was warned of on the way."""


def send(line: socket.socket, message: object, descriptor: int | None = None) -> None:
    """Send a message, and an open file with it; arrays go as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    blocks = [memoryview(head), *(one.raw() for one in buffers)]
    if descriptor is None:
        line.sendall(_PLAIN)
    else:
        socket.send_fds(line, [_WITH_FILE], [descriptor])
    sizes = [block.nbytes for block in blocks]
    line.sendall(_HEAD.pack(len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes))
    for block in blocks:
        line.sendall(block)


def receive(
    line: socket.socket, make_room: Callable[[int], None] = lambda size: None
) -> tuple[Any, int | None]:
    """Receive a message, and the descriptor of a file that came with it, or None.

    Parameters
    ----------
    line
        From where.
    make_room
        Is told how many bytes come, before they do.

    Raises
    ------
    EOFError
        If nobody sends any more.
    """
    first, descriptors, _, _ = socket.recv_fds(line, 1, 1)
    if not first:
        raise EOFError
    (number,) = _HEAD.unpack(_exactly(line, _HEAD.size))
    sizes = struct.unpack(f"<{number}Q", _exactly(line, 8 * number))
    make_room(sum(sizes))
    head, *buffers = [_exactly(line, size) for size in sizes]
    return pickle.loads(head, buffers=buffers), next(iter(descriptors), None)


def _exactly(line: socket.socket, size: int) -> memoryview:
    block = memoryview(np.empty(size, "u1"))  # type: ignore[arg-type]
    done = 0
    while done < size:
        received = line.recv_into(block[done:])
        if not received:
            raise EOFError
        done += received
    return block
