"""Writing products into directories of their names, as files that others read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from ziggy_dask.datastore.items import Files
from ziggy_dask.datastore.netcdf import write_netcdf
from ziggy_dask.datastore.product import StoredProduct
from ziggy_dask.datastore.spelling import spelled, true_names, unspelled
from ziggy_dask.errors import DatastoreError


class ExportError(DatastoreError):
    """Some products, or some of their items, could not be written; the others were.

    Parameters
    ----------
    faults
        What could not be written, and why.
    written
        The files that were written.
    """

    def __init__(self, faults: list[str], written: list[Path]) -> None:
        self.faults = faults
        self.written = written
        super().__init__(
            f"{len(faults)} could not be exported; {len(written)} files were "
            "written:\n" + "\n".join(f"  {fault}" for fault in faults)
        )


def export(
    paths: Iterable[str], open_product: Callable[[str], StoredProduct], directory: Path
) -> list[Path]:
    """Write products; return the files. What fails does not keep the others from it.

    Parameters
    ----------
    paths
        Which products.
    open_product
        Opens one.
    directory
        Where to; files that are there are replaced, each when its successor is whole.

    Raises
    ------
    ExportError
        If something could not be written, with all that this is true of.
    """
    written: list[Path] = []
    faults: list[str] = []
    for path in paths:
        try:
            product = open_product(path)
            writes = list(_writes(product, directory / product.path))
        except Exception as error:  # noqa: BLE001 -- the other products are written
            faults.append(_told(path, "", error))
            continue
        for item, write in writes:
            try:
                written.append(write())
            except Exception as error:  # noqa: BLE001 -- the other items are written
                faults.append(_told(path, item, error))
    if faults:
        raise ExportError(faults, written)
    return written


def _writes(
    product: StoredProduct, target: Path
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Yield the items of a product with what writes each."""
    content = product.open_made()
    origin: dict[str, Any] = {"product": product.path, **product.origin}
    if isinstance(content, Files):
        for name in content:
            yield name, _file_write(content, name, target / name)
    elif isinstance(content, xr.Dataset):
        yield "", _write(content, target.with_name(f"{target.name}.nc"), origin)
    else:
        for name, node in content.children.items():
            for below, part in node.subtree_with_keys:
                groups = [key for key in below.split("/") if key != "."]
                place = target.joinpath(name, *map(spelled, groups))
                dataset = part.to_dataset(inherit=False)
                yield (
                    "/".join([unspelled(name), *groups]),
                    _write(
                        dataset.rename(true_names(dataset.variables)),
                        place.with_name(f"{place.name}.nc"),
                        {**origin, "item": unspelled(name)},
                    ),
                )


def _file_write(files: Files, name: str, place: Path) -> Callable[[], Path]:
    return lambda: files.item(name).copy_to(place)


def _write(
    dataset: xr.Dataset, place: Path, origin: dict[str, Any]
) -> Callable[[], Path]:
    return lambda: write_netcdf(dataset, place, origin)


def _told(path: str, item: str, error: Exception) -> str:
    what = f"'{path}', item {item!r}" if item else f"'{path}'"
    told = isinstance(error, DatastoreError)
    if isinstance(error, OSError) and error.errno:  # HDF5's own words fill many lines
        where = f"{error.filename}: " if error.filename else ""
        return f"{what}: {where}{os.strerror(error.errno)}"
    return f"{what}: {error}" if told else f"{what}: {type(error).__name__}: {error}"
