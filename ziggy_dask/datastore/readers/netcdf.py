"""The reader of NetCDF and HDF5 files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import xarray as xr

from ziggy_dask.datastore.netcdf import open_exported
from ziggy_dask.datastore.readers.exact import as_names, require_exact
from ziggy_dask.datastore.readers.grouped import as_tree
from ziggy_dask.datastore.readers.hdf5 import groups_of, hidden_attributes, is_hdf5
from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import listed, not_read
from ziggy_dask.errors import DeliveryError

ALL = "all"


def read_netcdf(
    path: Path,
    *,
    group: str = "",
    groups: str = "",
    unmasked: str | Sequence[str] = (),
    other_parts: str | None = None,
) -> Reading:
    """Open a NetCDF or HDF5 file as xarray sees it, without loading it.

    NetCDF-4 and HDF5 are read by h5netcdf; NetCDF-3, classic and with 64-bit offsets,
    by SciPy. CF conventions are decoded. A file that was exported from a datastore is
    read as what it was there.

    Parameters
    ----------
    path
        The file.
    group
        The group to read; empty: the root.
    groups
        ``all``: read every group, as a tree.
    unmasked
        Names of whole-number variables whose fill values stay as they are, for
        numbers over 2**53 that float64 can't hold, where the file or group has them.
    other_parts
        What to do with groups that are not read: ``refuse`` or ``warn``.

    Returns
    -------
    Reading
        With a Dataset, or a DataTree for all groups.

    Raises
    ------
    DeliveryError
        If the file refers to other files, if there is no such group, or numbers would
        be changed.
    """
    if not is_hdf5(path):
        if group or groups:
            raise DeliveryError(f"{path}: is NetCDF-3, which has no groups")
        return Reading(content=_opened(path, {"engine": _engine(path)}, unmasked))
    there = groups_of(path)
    backend = {"engine": "h5netcdf", "phony_dims": "sort"}
    if groups:
        return Reading(content=_tree(path, groups, backend, unmasked))
    wanted = f"/{group.strip('/')}"
    if wanted != "/" and not any(
        one == wanted or one.startswith(f"{wanted}/") for one in there
    ):
        raise DeliveryError(
            f"{path}: has no group {group!r} with data; it has {listed(there)}"
        )
    try:
        warnings = not_read(
            [one for one in there if one != wanted],
            "groups",
            wish=other_parts,
            was_asked=bool(group),
            way_out="name one by 'reader: {netcdf: {group: NAME}}', take all by "
            "'{groups: all}'",
        )
    except DeliveryError as error:
        raise DeliveryError(f"{path}: {error}") from error
    exported = None if wanted != "/" or unmasked else open_exported(path)
    content = (
        _opened(path, {**backend, "group": wanted}, unmasked)
        if exported is None
        else exported
    )
    return Reading(content=content, warnings=warnings)


def _engine(path: Path) -> str:
    """Return who reads a file that is not HDF5, by its first bytes."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start in (b"CDF\x01", b"CDF\x02"):
        return "scipy"
    if start == b"CDF\x05":
        raise DeliveryError(
            f"{path}: is NetCDF-3 with 64-bit data (CDF-5), which is not read; convert "
            "it: nccopy -k nc4 FILE NEW"
        )
    raise ValueError("by its first bytes it is neither NetCDF nor HDF5")


def _tree(
    path: Path, groups: str, backend: Mapping[str, Any], unmasked: str | Sequence[str]
) -> xr.DataTree:
    if groups != ALL:
        raise DeliveryError(
            f"{path}: the option 'groups' is {groups!r}; it can only be '{ALL}'"
        )
    with ExitStack() as opened:
        with xr.open_datatree(path, **backend, decode_cf=False) as raw:
            places = [node.path for node in raw.subtree]
        parts = {
            place: opened.enter_context(
                _opened(path, {**backend, "group": place}, unmasked)
            )
            for place in places
        }
        tree = as_tree(path, parts)
        tree.set_close(opened.pop_all().close)
    return tree


def _opened(
    path: Path, backend: Mapping[str, Any], unmasked: str | Sequence[str]
) -> xr.Dataset:
    names = as_names(unmasked)
    masks = dict.fromkeys(names, False)
    dataset = xr.open_dataset(
        path, **backend, mask_and_scale=_for_all(path, backend, masks)
    )
    try:
        with xr.open_dataset(
            path, **backend, mask_and_scale=False, decode_times=False
        ) as raw:
            require_exact(path, "netcdf", dataset, raw)
        if backend["engine"] == "h5netcdf":
            for name, attrs in hidden_attributes(path, backend["group"]).items():
                place = dataset.variables[name] if name else dataset
                place.attrs.update(attrs)
    except BaseException:
        dataset.close()
        raise
    return dataset


def _for_all(
    path: Path, backend: Mapping[str, Any], masks: dict[str, bool]
) -> bool | dict[str, bool]:
    """Return which variables are decoded; a mapping must name each of them."""
    if not masks:
        return True
    with xr.open_dataset(path, **backend, decode_cf=False) as raw:
        return dict.fromkeys(map(str, raw.variables), True) | masks
