"""Names as they are in a store, where some characters have a meaning of their own.

A name that every store can have stays as it is. In any other one, characters are escaped
as in a URL, and the true name is kept beside it: ``dT/dt`` is stored as ``dT%2Fdt``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from functools import lru_cache

_ESCAPED = re.compile("%[0-9A-F]{2}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_RESERVED = re.compile(r"\.*|\.z.*|zarr\.json|__.*|ziggy|ziggy_.*")
"""Names with a meaning in Zarr's format 2 or 3, for file systems, or for us."""


@lru_cache(maxsize=4096)
def spelled(name: str) -> str:
    """Return a name as it is in a store; different names stay different.

    Examples
    --------
    >>> spelled("wind speed (m/s)")
    'wind speed (m%2Fs)'
    >>> spelled("flux"), spelled(".."), spelled("zarr.json")
    ('flux', '%2E%2E', 'zarr%2Ejson')
    """
    is_reserved = _RESERVED.fullmatch(name) is not None
    if not is_reserved and not _UNSAFE.search(name) and not _ESCAPED.search(name):
        return name
    unsafe = re.sub(r"[\x00-\x1f\x7f/\\%]", _escape, name)
    if not is_reserved:
        return unsafe
    if name.startswith(".") or name == "zarr.json":
        return unsafe.replace(".", "%2E")
    return f"%{ord(name[0]):02X}{unsafe[1:]}" if name else "%00%"


def unspelled(stored: str) -> str:
    """Return the name that `spelled` turned into this one.

    Examples
    --------
    >>> unspelled("wind speed (m%2Fs)"), unspelled("%00%")
    ('wind speed (m/s)', '')
    """
    if stored == "%00%":
        return ""
    return _ESCAPED.sub(lambda found: chr(int(found[0][1:], 16)), stored)


def _escape(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def tree_names(names: Iterable[Hashable]) -> dict[Hashable, str]:
    """Return those names that an `xarray.DataTree` can't hold, with how it holds them.

    It takes ``/`` for the path of a group: ``dT/dt`` is ``dT%2Fdt`` there.
    """
    return {
        name: str(name).replace("%", "%25").replace("/", "%2F")
        for name in names
        if "/" in str(name) or _ESCAPED.search(str(name))
    }


def true_names(names: Iterable[Hashable]) -> dict[Hashable, str]:
    """Return the names that were changed by `tree_names`, with what they were."""
    return {
        name: str(name).replace("%2F", "/").replace("%25", "%")
        for name in names
        if _ESCAPED.search(str(name))
    }
