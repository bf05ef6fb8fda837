"""The reader of FITS files: images and binary tables, with their headers.

The format is that of the FITS Standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html;
the numbers of its sections are given below. astropy reads it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ziggy_dask.errors import DeliveryError

if TYPE_CHECKING:
    from astropy.io.fits import Header

_STRUCTURE = re.compile(
    # What says how the bytes lie (4.4.1, 7.3), and is not so any more when they are read.
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|"
    r"(TTYPE|TFORM|TUNIT|TDISP|TDIM|TNULL|TSCAL|TZERO)\d+|"
    r"BSCALE|BZERO|BLANK|BUNIT|CHECKSUM|DATASUM|INHERIT|)"
)


def read_fits(path: Path) -> xr.Dataset:
    """Read the images and binary tables of a FITS file, compressed or not.

    Returns
    -------
    xarray.Dataset
        A variable for each image, of dimensions (y, x), (plane, y, x) and so on, named by
        its EXTNAME; without one ``image``, from the second ``image_2``. Its attributes are
        its header, with all that is needed to make a WCS of it.

        A variable for each column of the first table, of dimension ``row``, or ``time``
        if there is a column TIME, which is then a coordinate. Columns of further tables
        have the EXTNAME in front: ``cosmic_rays_energy``. Columns of arrays have more
        dimensions. The headers of tables, and that of the file, are attributes of the
        Dataset; where several have a keyword, the first one counts.

        All names are in small letters; units are the attribute ``unit``.

    Raises
    ------
    DeliveryError
        If astropy is missing, or a column has arrays of different lengths.
    """
    try:
        from astropy.io import fits
    except ModuleNotFoundError as error:
        raise DeliveryError(
            f"{path}: FITS files are read by astropy, which is not installed; "
            "install it with: pip install 'ziggy-dask[fits]'"
        ) from error

    made = _Made(path)
    with fits.open(path, memmap=False) as units:
        for unit in units:
            if isinstance(unit, fits.BinTableHDU | fits.TableHDU):
                made.add_table(unit)
            elif unit.data is not None:
                made.add_image(unit)
            else:
                made.add_header(unit.header)
    return made.dataset()


class _Made:
    """A Dataset in the making.

    Parameters
    ----------
    path
        The file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._variables: dict[str, xr.Variable] = {}
        self._attrs: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._images = 0
        self._tables = 0

    def add_image(self, unit: Any) -> None:
        """Add an image (7.1)."""
        self._images += 1
        plain = "image" if self._images == 1 else f"image_{self._images}"
        name = self._free(_name(unit.name) if unit.header.get("EXTNAME") else plain)
        values = _native(unit.data)
        dims = self._dims(name, _axes(values.ndim), values.shape)
        attrs = header_values(unit.header)
        if unit.header.get("BUNIT"):
            attrs["unit"] = unit.header["BUNIT"]
        self._variables[name] = xr.Variable(dims, values, attrs)

    def add_table(self, unit: Any) -> None:
        """Add a table (7.2, 7.3)."""
        self._tables += 1
        extension = _name(unit.name) if unit.name else f"table_{self._tables}"
        front = "" if self._tables == 1 else f"{extension}_"
        has_time = any(_name(one) == "time" for one in unit.columns.names)
        row = f"{front}{'time' if has_time else 'row'}"
        for column in unit.columns:
            name = self._free(f"{front}{_name(column.name)}")
            values = _native(unit.data[column.name])
            if values.dtype == object:
                raise DeliveryError(
                    f"{self._path}: column {column.name!r} of {unit.name or 'a table'} has "
                    "arrays of different lengths, which no Dataset can hold; write a "
                    "reader of your own for it"
                )
            inner = self._dims(name, _axes(values.ndim - 1), values.shape[1:])
            said = {"unit": column.unit, "null": column.null}
            attrs = {key: one for key, one in said.items() if one is not None}
            self._sizes.setdefault(row, len(values))
            self._variables[name] = xr.Variable((row, *inner), values, attrs)
        self.add_header(unit.header)

    def add_header(self, header: Header) -> None:
        """Add what a header says that no earlier one has said."""
        self._attrs = header_values(header) | self._attrs

    def dataset(self) -> xr.Dataset:
        """Return what was made; times of rows are coordinates."""
        variables = self._variables
        times = [name for name, one in variables.items() if one.dims == (name,)]
        return xr.Dataset(
            {name: one for name, one in variables.items() if name not in times},
            coords={name: variables[name] for name in times},
            attrs=self._attrs,
        )

    def _free(self, name: str) -> str:
        """Return a name that no variable has yet."""
        number, free = 1, name
        while free in self._variables:
            number += 1
            free = f"{name}_{number}"
        return free

    def _dims(
        self, name: str, axes: tuple[str, ...], shape: tuple[int, ...]
    ) -> tuple[str, ...]:
        """Return names of dimensions; arrays of the same shape share them."""
        fits = all(
            self._sizes.get(axis, size) == size
            for axis, size in zip(axes, shape, strict=True)
        )
        dims = axes if fits else tuple(f"{name}_{axis}" for axis in axes)
        self._sizes.update(zip(dims, shape, strict=True))
        return dims


def header_values(header: Header) -> dict[str, Any]:
    """Return the cards of a header by keyword; comments and history as one text each."""
    values: dict[str, Any] = {}
    for keyword in dict.fromkeys(header):
        if _STRUCTURE.fullmatch(keyword):
            continue
        value = header[keyword]
        if keyword in ("COMMENT", "HISTORY"):
            values[keyword] = "\n".join(str(line) for line in value)
        elif isinstance(value, bool | int | float | str):
            values[keyword] = value
    return values


def _name(text: str) -> str:
    """Return a name in small letters, without what paths and code do not take."""
    return re.sub(r"\W+", "_", text.strip().lower()).strip("_") or "unnamed"


def _axes(count: int) -> tuple[str, ...]:
    """Return names of the dimensions of an image; the first axis of FITS comes last."""
    if count < 2:
        return ("element",)[:count]
    more = ("plane", *(f"axis_{n}" for n in range(4, count + 1)))[: count - 2]
    return (*reversed(more), "y", "x")


def _native(values: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Return values in the byte order of this machine; FITS has the other one (5)."""
    plain = np.asarray(values)
    if plain.dtype.kind == "S":
        plain = np.char.decode(plain, "ascii")
    return np.ascontiguousarray(plain, dtype=plain.dtype.newbyteorder("="))
