"""What an HDF5 file is made of, looked at before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from ziggy_dask.datastore.readers.parts import listed
from ziggy_dask.errors import DeliveryError

_MOST_TOLD = 12
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5; its signature may follow a block of the user."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            if stream.read(len(SIGNATURE)) == SIGNATURE:
                return True
            place = place * 2 or 512
    return False


def groups_of(path: Path) -> tuple[str, ...]:
    """Return the groups that hold data or attributes; the root is ``/``.

    Raises
    ------
    DeliveryError
        If the file refers to other files, or holds what no Dataset can hold.
    """
    faults: list[str] = []
    found: dict[str, bool] = {}
    with h5py.File(path, "r") as file:
        found["/"] = _says_anything(file)
        for name, member in _members(file, "", set(), faults):
            if isinstance(member, h5py.Group):
                found[name] = found.get(name, False) or _says_anything(member)
            elif isinstance(member, h5py.Dataset):
                above = name.rpartition("/")[0] or "/"
                found[above] = found.get(above, False) or not _is_mere_dimension(member)
                faults += _faults_of(name, member)
    if faults:
        raise DeliveryError(
            "\n".join(f"{path}: {fault}" for fault in faults[:_MOST_TOLD])
        )
    return tuple(sorted(name for name, holds in found.items() if holds))


def hidden_attributes(path: Path, group: str) -> dict[str, dict[str, Any]]:
    """Return attributes that h5netcdf takes for marks of dimensions, where they are none.

    Parameters
    ----------
    path
        The file.
    group
        A group of it.

    Returns
    -------
    dict
        Attributes by name of variable; those of the group itself by an empty name.
    """
    with h5py.File(path, "r") as file:
        top = file[group]
        places = {"": top}
        for key in top:
            if isinstance(member := top.get(key), h5py.Dataset):
                places[key] = member
        found = {name: dict(_hidden_in(one.attrs)) for name, one in places.items()}
    return {name: attrs for name, attrs in found.items() if attrs}


def _hidden_in(attrs: Any) -> Iterator[tuple[str, Any]]:
    if attrs.get("CLASS") in (b"DIMENSION_SCALE", "DIMENSION_SCALE"):
        return
    for name in ("CLASS", "NAME"):
        if name in attrs:
            value = attrs[name]
            is_text = isinstance(value, bytes) and value.isascii()
            yield name, value.decode("ascii") if is_text else value


def _members(
    group: Any, above: str, seen: set[Any], faults: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield all below a group, each once; no link out of the file is followed."""
    for key in group:
        name = f"{above}/{key}"
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            faults.append(
                f"{name!r} is a link to {link.path!r} in another file, {link.filename!r}; "
                "a delivery reads only itself, so copy the data into the file"
            )
            continue
        if isinstance(link, h5py.SoftLink):
            continue
        member = group[key]
        identity = h5py.h5o.get_info(member.id).addr
        if identity in seen:
            continue
        seen.add(identity)
        yield name, member
        if isinstance(member, h5py.Group):
            yield from _members(member, name, seen, faults)


def _faults_of(name: str, dataset: Any) -> Iterator[str]:
    """Yield why a dataset is refused; nothing of it is read, which could reach out."""
    others: set[str] = set()
    if dataset.external:
        others = {str(one[0]) for one in dataset.external}
    elif dataset.is_virtual:
        sources = dataset.virtual_sources()
        others = {one.file_name for one in sources if one.file_name != "."}
    if others:
        yield (
            f"the data of {name!r} are in other files, {listed(sorted(others))}; a "
            "delivery reads only itself, so copy the data into the file"
        )
        return
    kind = dataset.dtype
    is_text = h5py.check_string_dtype(kind) is not None
    if h5py.check_vlen_dtype(kind) is not None and not is_text:
        yield (
            f"{name!r} has elements of different lengths, which no Dataset can hold; "
            "write its values one after another, with a variable of their counts"
        )
    elif h5py.check_ref_dtype(kind) is not None and not _is_reference_list(name):
        yield f"{name!r} is made of references, which mean nothing outside the file"
    elif dataset.shape is None:
        yield f"{name!r} has no values at all"
    for number, label in _missing_filters(dataset):
        yield (
            f"{name!r} is compressed by the filter {number}{label}, which is not installed "
            "here; install it (hdf5plugin brings many), or repack the file with gzip"
        )


def _missing_filters(dataset: Any) -> Iterator[tuple[int, str]]:
    """Yield numbers and names of the filters without which a dataset can't be read."""
    made_with = dataset.id.get_create_plist()
    for place in range(made_with.get_nfilters()):
        number, _, _, label = made_with.get_filter(place)
        if not h5py.h5z.filter_avail(number):
            yield number, f" ({label.decode(errors='replace')})" if label else ""


def _says_anything(group: Any) -> bool:
    """Tell whether a group has attributes but those of the NetCDF library itself."""
    return any(name not in ("_NCProperties", "_nc3_strict") for name in group.attrs)


def _is_reference_list(name: str) -> bool:
    return name.rpartition("/")[2] in ("REFERENCE_LIST", "DIMENSION_LIST")


def _is_mere_dimension(dataset: Any) -> bool:
    """Tell whether it is what NetCDF-4 writes for a dimension without coordinates."""
    label = dataset.attrs.get("NAME", b"")
    text = label if isinstance(label, bytes) else str(label).encode()
    return text.startswith(b"This is a netCDF dimension but not a netCDF variable")
