"""The reader of NetCDF and HDF5 files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.netcdf import open_exported
from ziggy_dask.datastore.readers.hdf5 import groups_of, is_hdf5
from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import listed, not_read
from ziggy_dask.errors import DeliveryError

ALL = "all"
_EXACT = 2**53
"""Up to here every whole number is a float64."""
_BLOCK_ELEMENTS = 4_000_000


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
        return Reading(content=_tree(path, groups, backend))
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


def _tree(path: Path, groups: str, backend: Mapping[str, Any]) -> xr.DataTree:
    if groups != ALL:
        raise DeliveryError(
            f"{path}: the option 'groups' is {groups!r}; it can only be '{ALL}'"
        )
    tree = xr.open_datatree(path, **backend)
    for node in tree.subtree:
        raw = xr.open_dataset(
            path, **backend, group=node.path, mask_and_scale=False, decode_times=False
        )
        with raw:
            _require_exact(path, node.to_dataset(inherit=False), raw)
    return tree


def _opened(
    path: Path, backend: Mapping[str, Any], unmasked: str | Sequence[str]
) -> xr.Dataset:
    names = [unmasked] if isinstance(unmasked, str) else list(unmasked)
    masks = dict.fromkeys(names, False)
    dataset = xr.open_dataset(
        path, **backend, mask_and_scale=_for_all(path, backend, masks)
    )
    try:
        missing = [name for name in names if name not in dataset.variables]
        if missing:
            raise DeliveryError(
                f"{path}: the option 'unmasked' names {listed(missing)}, which is not "
                "a variable of the file"
            )
        with xr.open_dataset(
            path, **backend, mask_and_scale=False, decode_times=False
        ) as raw:
            _require_exact(path, dataset, raw)
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


def _require_exact(path: Path, decoded: xr.Dataset, raw: xr.Dataset) -> None:
    """Refuse 64-bit numbers that became float64 for a fill value, and are not the same."""
    changed = [
        str(name)
        for name, variable in decoded.variables.items()
        if variable.dtype.kind == "f"
        and name in raw.variables
        and raw.variables[name].dtype.kind in "iu"
        and raw.variables[name].dtype.itemsize == 8
        and not {"scale_factor", "add_offset"} & set(variable.encoding)
        and _has_large(raw.variables[name], variable.encoding)
    ]
    if changed:
        raise DeliveryError(
            f"{path}: {listed(changed)}: 64-bit whole numbers beyond 2**53 with a fill "
            "value would be rounded when they are masked; read them as they are by "
            f"'reader: {{netcdf: {{unmasked: [{', '.join(changed)}]}}}}'"
        )


def _has_large(raw: xr.Variable, encoding: Mapping[Hashable, Any]) -> bool:
    """Tell whether any value but the fill values is beyond 2**53."""
    fills = [encoding[k] for k in ("_FillValue", "missing_value") if k in encoding]
    rows = max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(raw.shape[1:], dtype="i8"))))
    starts = range(0, raw.shape[0], rows) if raw.ndim else (0,)
    for start in starts:
        part = raw[start : start + rows] if raw.ndim else raw
        values = np.asarray(part.values)
        large = (values > _EXACT) | (
            values < -_EXACT if values.dtype.kind == "i" else False
        )
        if large.any() and not np.isin(values[large], fills).all():
            return True
    return False
