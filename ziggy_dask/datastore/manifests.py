"""What Icechunk's manifests list: the chunks of arrays, by the names of their files.

Icechunk says nothing of that, and it is needed to tell beforehand what expiry frees. A manifest is
a FlatBuffer behind a header of 39 bytes, compressed by zstd (``manifest.fbs`` of its
specification, version 1): a Manifest has arrays, as its field 1; an array has references, as its
field 1; and the identity of the chunk is field 4 of a reference, 12 bytes. References to values
that the manifest itself holds have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ziggy_dask.errors import DatastoreError

_HEADER_BYTES = 39
_VERSION = b"\x01"
_ID_BYTES = 12
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NAME_DIGITS = 20


def chunks_in(content: bytes) -> set[str]:
    """Return the names of the chunks that a manifest refers to.

    Raises
    ------
    DatastoreError
        If it can't be read.
    """
    from numcodecs.zstd import Zstd

    if content[_HEADER_BYTES - 3 : _HEADER_BYTES - 2] != _VERSION:
        raise DatastoreError("a manifest is of another version of Icechunk's format")
    try:
        body = bytes(Zstd().decode(content[_HEADER_BYTES:]))
        return {name_of(one) for one in _ids(body)}
    except (RuntimeError, ValueError, struct.error) as error:
        raise DatastoreError(f"a manifest is damaged: {error}") from error


def name_of(identity: bytes) -> str:
    """Return the name of the file of a chunk: its identity in Crockford's base 32.

    Examples
    --------
    >>> name_of(bytes(12))
    '00000000000000000000'
    """
    number = int.from_bytes(identity, "big") << (5 * _NAME_DIGITS - 8 * _ID_BYTES)
    return "".join(
        _DIGITS[number >> 5 * place & 31] for place in reversed(range(_NAME_DIGITS))
    )


def _ids(body: bytes) -> Iterator[bytes]:
    for array in _tables(body, _offset(body, 0), 1):
        for reference in _tables(body, array, 1):
            place = _field(body, reference, 4)
            if place is not None:
                yield body[place : place + _ID_BYTES]


def _tables(body: bytes, table: int, field: int) -> Iterator[int]:
    """Yield where the tables of a vector begin that a field of a table refers to."""
    place = _field(body, table, field)
    if place is None:
        return
    vector = _offset(body, place)
    (count,) = struct.unpack_from("<I", body, vector)
    for number in range(count):
        yield _offset(body, vector + 4 + 4 * number)


def _field(body: bytes, table: int, field: int) -> int | None:
    """Return where a field of a table is; None: it is not there."""
    (back,) = struct.unpack_from("<i", body, table)
    names = table - back
    (size,) = struct.unpack_from("<H", body, names)
    if 4 + 2 * field >= size:
        return None
    (place,) = struct.unpack_from("<H", body, names + 4 + 2 * field)
    return table + place if place else None


def _offset(body: bytes, place: int) -> int:
    (offset,) = struct.unpack_from("<I", body, place)
    return place + int(offset)
