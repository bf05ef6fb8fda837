"""The reader of Zarr groups, in directories and in ZIP files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import xarray as xr
import zarr
from zarr.storage import LocalStore, ZipStore

from ziggy_dask.datastore.netcdf import as_it_was, is_noted
from ziggy_dask.datastore.readers.exact import as_names, require_exact
from ziggy_dask.datastore.readers.grouped import as_tree
from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import listed, not_read
from ziggy_dask.errors import DeliveryError

ALL = "all"
_PICKLES = ("pickle", "numcodecs.pickle")
_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


def read_zarr(
    path: Path,
    *,
    group: str = "",
    groups: str = "",
    unmasked: str | Sequence[str] = (),
    other_parts: str | None = None,
) -> Reading:
    """Open a Zarr group, of format 2 or 3, without loading it.

    Parameters
    ----------
    path
        A directory, or a ZIP file. The group may lie in directories of it, as in what
        is made by zipping a directory.
    group
        The group to read; empty: the root.
    groups
        ``all``: read every group, as a tree.
    unmasked
        Names of whole-number variables whose fill values stay as they are, for
        numbers over 2**53 that float64 can't hold.
    other_parts
        What to do with groups that are not read: ``refuse`` or ``warn``.

    Returns
    -------
    Reading
        With a Dataset, or a DataTree for all groups.

    Raises
    ------
    DeliveryError
        If there is no Zarr in it, no such group, a codec that runs code, or numbers
        would be changed.
    """
    root = _root(path)
    store = (
        LocalStore(path, read_only=True)
        if path.is_dir()
        else ZipStore(path, mode="r", read_only=True)
    )
    top = zarr.open_group(store, path=root, mode="r", use_consolidated=False)
    there = _groups(top)
    if groups:
        if groups != ALL:
            raise DeliveryError(
                f"{path}: the option 'groups' is {groups!r}; it can only be '{ALL}'"
            )
        parts = {
            name: _decoded(
                path, _raw(store, f"{root}{name}".strip("/")), as_names(unmasked)
            )
            for name, _ in _all_groups(top)
        }
        return Reading(content=as_tree(path, parts))
    wanted = f"/{group.strip('/')}"
    if wanted not in there and wanted != "/":
        raise DeliveryError(
            f"{path}: has no group {group!r} with data; it has {listed(there)}"
        )
    try:
        warnings = not_read(
            [one for one in there if one != wanted],
            "groups",
            wish=other_parts,
            was_asked=bool(group),
            way_out="name one by 'reader: {zarr: {group: NAME}}', take all by "
            "'{groups: all}'",
        )
    except DeliveryError as error:
        raise DeliveryError(f"{path}: {error}") from error
    place = f"{root}/{group.strip('/')}".strip("/")
    raw = _raw(store, place)
    given = as_it_was(raw) if is_noted(raw) else None  # to a program, by us
    content = _decoded(path, raw, as_names(unmasked)) if given is None else given
    return Reading(content=content, warnings=warnings)


def _raw(store: LocalStore | ZipStore, place: str) -> xr.Dataset:
    """Open a group as it is stored."""
    found: xr.Dataset = xr.open_zarr(
        store, group=place or None, chunks=None, consolidated=False, decode_cf=False
    )
    return found


def _decoded(path: Path, raw: xr.Dataset, unmasked: Sequence[str]) -> xr.Dataset:
    """Return what is stored as what it means.

    Raises
    ------
    DeliveryError
        If numbers would be changed.
    """
    masks = dict.fromkeys(map(str, raw.variables), True) | dict.fromkeys(
        unmasked, False
    )
    dataset = xr.decode_cf(raw, mask_and_scale=masks)  # type: ignore[arg-type]
    require_exact(path, "zarr", dataset, raw)
    return dataset


def _groups(top: zarr.Group) -> tuple[str, ...]:
    """Return the groups that hold arrays or attributes; the root is ``/``."""
    return tuple(
        name
        for name, group in _all_groups(top)
        if len(group.attrs) or any(True for _ in group.array_keys())
    )


def _all_groups(top: zarr.Group) -> list[tuple[str, zarr.Group]]:
    """Return a group and all below it, by path and in the order of paths."""
    below = [
        (f"/{name}", member)
        for name, member in top.members(max_depth=None)
        if isinstance(member, zarr.Group)
    ]
    return sorted([("/", top), *below], key=lambda pair: pair[0])


def _root(path: Path) -> str:
    """Return where in a directory or ZIP file the outermost group is.

    Raises
    ------
    DeliveryError
        If there is none, or one is encoded so that reading it would run code.
    """
    metadata = _metadata_files(path)
    if not metadata:
        raise DeliveryError(
            f"{path}: has no Zarr group in it, no 'zarr.json' or '.zgroup'"
        )
    for name, text in metadata.items():
        if _names_pickle(json.loads(text)):
            raise DeliveryError(
                f"{path}: {name!r} wants the codec 'pickle', which runs code of whoever "
                "wrote the file; write text with Zarr's own string type"
            )
    places = {str(PurePosixPath(name).parent) for name in metadata}
    outermost = min(places, key=lambda place: place.count("/") if place != "." else -1)
    return "" if outermost == "." else outermost


def _metadata_files(path: Path) -> dict[str, str]:
    """Return all metadata, by path within the directory or ZIP file."""
    if path.is_dir():
        found = (one for one in path.rglob("*") if one.name in _METADATA)
        return {one.relative_to(path).as_posix(): one.read_text() for one in found}
    with zipfile.ZipFile(path) as archive:
        return {
            name: archive.read(name).decode()
            for name in archive.namelist()
            if PurePosixPath(name).name in _METADATA
        }


def _names_pickle(content: Any) -> bool:
    """Tell whether a codec of metadata is that of pickles."""
    if isinstance(content, dict):
        named = content.get("id", content.get("name"))
        inner = {
            k: v for k, v in content.items() if k not in ("attributes", "fill_value")
        }
        return named in _PICKLES or any(_names_pickle(one) for one in inner.values())
    return isinstance(content, list) and any(_names_pickle(one) for one in content)
