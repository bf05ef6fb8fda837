"""Change sets: what subtasks wrote and nobody published yet, read as data.

A change set on record is a pickled Icechunk fork. A pickle can run any code, and a fork
carries the storage that it was made for, so neither is trusted when it comes back from a
database: of the pickle only the session's bytes are taken, by a reader that can make nothing
else, and of these only what was changed. Everything that says where data lie comes from the
datastore that is open here. A change set thus never reads or writes another datastore than
that, whoever recorded it and wherever the cluster was when they did.

Icechunk 1.1 serialises a session with ``rmp_serde`` as a MessagePack array of ten: repository
settings, storage settings, storage, asset manager, resolver of virtual chunks, branch, snapshot,
change set, default metadata of commits, manifest splits (``icechunk/src/session.rs``).
"""

from __future__ import annotations

import asyncio
import io
import pickle
from typing import Any

import icechunk
import msgpack
from icechunk.session import ForkSession
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ziggy_dask.errors import DatastoreError

_PARTS = 10
_OWN = 5
"""The first parts of a serialised session say where it is stored and how to get there."""
_AT_ONCE = 64
"""Number of chunks that are looked for at the same time."""


def place_of(session: ForkSession) -> bytes:
    """Return the part of a fork's serialised session that says where it is stored."""
    return _cut(_serialised(session))[0]


def open_change_set(pickled: bytes, place: bytes) -> ForkSession:
    """Return the fork of a change set, bound to a place.

    Parameters
    ----------
    pickled
        The change set as it is on record.
    place
        Where it is read from and written to from now on; see `place_of`.

    Raises
    ------
    DatastoreError
        If it is not the change set of a fork. Nothing of it was run.
    """
    _, changes = _cut(_state_in(pickled))
    fork = ForkSession.__new__(ForkSession)
    try:
        fork.__setstate__({"_session": place + changes})
    except (icechunk.IcechunkError, ValueError) as error:
        raise DatastoreError(f"a change set can't be read: {error}") from error
    return fork


def missing_chunks(session: icechunk.Session) -> list[str]:
    """Return the chunks that a session refers to and that are not in its datastore.

    Raises
    ------
    DatastoreError
        If the snapshot from which the session starts is not there.
    """
    try:
        return sync(_missing_chunks(session))
    except icechunk.IcechunkError as error:
        raise DatastoreError(f"a change set can't be opened: {error}") from error


def require_change_set(pickled: bytes) -> None:
    """Refuse what is not the change set of a fork, without a datastore at hand.

    Raises
    ------
    DatastoreError
        If it is not. Nothing of it was run.
    """
    _cut(_state_in(pickled))


class _State:
    """Takes the place of a fork while its pickle is read."""

    def __init__(self) -> None:
        self.serialised = b""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.serialised = state.get("_session", b"")


class _Reader(pickle.Unpickler):
    """Reads the pickle of a fork; knows no other class or function, and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("icechunk.session", "ForkSession"):
            return _State
        raise DatastoreError(f"a change set refers to {module}.{name}; it is refused")


def _state_in(pickled: bytes) -> bytes:
    try:
        found = _Reader(io.BytesIO(pickled)).load()
    except DatastoreError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise DatastoreError(f"a change set can't be read: {error}") from error
    if not isinstance(found, _State) or not isinstance(found.serialised, bytes):
        raise DatastoreError("a change set is not the one of a fork; it is refused")
    return found.serialised


def _serialised(session: ForkSession) -> bytes:
    state: Any = session.__getstate__()
    serialised: bytes = state["_session"]
    return serialised


def _cut(serialised: bytes) -> tuple[bytes, bytes]:
    """Cut a serialised session behind what says where it is stored."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(serialised)
    cut = 0
    try:
        count = unpacker.read_array_header()
        for number in range(count):
            if number == _OWN:
                cut = unpacker.tell()
            unpacker.skip()
    except (msgpack.UnpackException, ValueError) as error:
        raise DatastoreError("a change set is damaged or cut short") from error
    if count != _PARTS or unpacker.tell() != len(serialised):
        raise DatastoreError("a change set is not of the format of this Icechunk")
    return serialised[:cut], serialised[cut:]


async def _missing_chunks(session: icechunk.Session) -> list[str]:
    prototype = default_buffer_prototype()
    store = session.store
    places = asyncio.Semaphore(_AT_ONCE)

    async def is_missing(key: str) -> bool:
        async with places:
            try:
                found = await store.get(key, prototype, RangeByteRequest(0, 1))
            except icechunk.IcechunkError:
                return True
            return found is None

    keys = [key async for key in store.list_prefix("") if _is_chunk(key)]
    answers = await asyncio.gather(*(is_missing(key) for key in keys))
    return [key for key, missing in zip(keys, answers, strict=True) if missing]


def _is_chunk(key: str) -> bool:
    return not key.endswith("zarr.json")
