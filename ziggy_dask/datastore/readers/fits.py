"""The reader of FITS files: images and tables, with their headers.

The format is that of the FITS Standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html;
the numbers of its sections are given below. astropy reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.readers.fits_header import as_they_are, header_values
from ziggy_dask.datastore.readers.fits_numbers import (
    is_other_sign,
    meant,
    native,
    scales_of,
)
from ziggy_dask.datastore.readers.fits_table import read_column
from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import not_read
from ziggy_dask.datastore.readers.warned import hear_warnings
from ziggy_dask.errors import DeliveryError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

_DAMAGE = (
    "truncated",
    "Datasum verification failed",
    "extra bytes after the last HDU",
)
"""What astropy says of a file whose data are not as they were written."""
_EDITED = "Checksum verification failed"
"""What it says where header and data together are not."""
_REFUSE, _WARN = "refuse", "warn"
_ALL_ONES = 0xFFFFFFFF
"""Sum of an HDU whose CHECKSUM is right."""


def read_fits(
    path: Path,
    *,
    hdu: int | str | Sequence[int | str] = (),
    other_parts: str | None = None,
    checksum: str = _WARN,
) -> Reading:
    """Read the images and tables of a FITS file, compressed or not.

    Checksums are checked, where there are any. A file whose DATASUM is wrong is damaged,
    and refused. A CHECKSUM alone is wrong in many files of archives, since a header was
    edited without it.

    Parameters
    ----------
    path
        The file.
    hdu
        The HDUs to read, by number from 0 or by EXTNAME; none: all.
    other_parts
        What to do with HDUs that are not read: ``refuse`` or ``warn``.
    checksum
        What to do where only a CHECKSUM is wrong: ``refuse`` or ``warn``.

    Returns
    -------
    Reading
        With a variable for each image, of dimensions (y, x), (plane, y, x) and so on,
        named by its EXTNAME; without one ``image``, from the second ``image_2``. Its
        attributes are its header, with all that is needed to make a WCS of it.

        A variable for each column of the first table, of dimension ``row``, or ``time``
        if there is a column TIME, which is then a coordinate. Columns of further tables
        have the EXTNAME in front: ``cosmic_rays_energy``. Columns of arrays have more
        dimensions; of arrays whose lengths differ, all elements stand one after another,
        with their count in each row in a variable ``..._length``. The headers of tables,
        and that of the file, are attributes of the Dataset; where a later one has another
        value for a keyword, it has the EXTNAME in front: ``cosmic_rays.EXPOSURE``.

        All names are in small letters; units are the attribute ``unit``.

    Raises
    ------
    DeliveryError
        If astropy is missing, the file is damaged, or it has what no Dataset can hold.
    """
    try:
        from astropy.io import fits
    except ModuleNotFoundError as error:
        raise DeliveryError(
            f"{path}: FITS files are read by astropy, which is not installed; "
            "install it with: pip install 'ziggy-dask[fits]'"
        ) from error

    if checksum not in (_REFUSE, _WARN):
        raise DeliveryError(
            f"{path}: the option 'checksum' is {checksum!r}; it can be {_REFUSE!r} or "
            f"{_WARN!r}"
        )
    heard: list[str] = []
    made = _Made(path)
    with (
        hear_warnings(heard),
        fits.open(
            path,
            memmap=False,
            lazy_load_hdus=False,
            checksum=True,
            do_not_scale_image_data=True,
            logical_as_bytes=True,
        ) as units,
    ):
        warnings = _refuse_damaged(path, units, heard)
        edited = _edited(path) if any(_EDITED in one for one in heard) else []
        if edited and checksum == _REFUSE:
            raise DeliveryError(f"{path}: is damaged: {'; '.join(edited)}")
        warnings += edited
        chosen = _chosen(path, units, hdu)
        others = [
            _title(units[number], number)
            for number in range(len(units))
            if number not in chosen and _holds_anything(units[number])
        ]
        try:
            warnings += not_read(
                others, "HDUs", wish=other_parts, was_asked=True, way_out="name them"
            )
        except DeliveryError as error:
            raise DeliveryError(f"{path}: {error}") from error
        for number in chosen:
            made.add(units[number], number)
    return Reading(
        content=made.dataset(),
        warnings=tuple(dict.fromkeys([*warnings, *made.warnings])),
    )


def _refuse_damaged(path: Path, units: HDUList, heard: list[str]) -> list[str]:
    """Return what astropy warned of; raise an error if the file is damaged."""
    if not units:
        raise DeliveryError(f"{path}: has no HDU")
    broken = [one for one in units if type(one).__name__ == "_CorruptedHDU"]
    damage = [one for one in heard if any(word in one for word in _DAMAGE)]
    if damage and all("truncated" in one for one in damage) and _is_whole(path, units):
        damage = []
    if broken or damage:
        what = damage[0] if damage else "an HDU can't be read"
        raise DeliveryError(f"{path}: is damaged: {what}")
    told = ("truncated", "non-ASCII", _EDITED)
    return [one for one in heard if not any(word in one for word in told)]


def _edited(path: Path) -> list[str]:
    """Return where a CHECKSUM is wrong (4.4.2.7), and what that may mean.

    astropy adds up the header alone where there is no DATASUM; the sum is that of the
    whole HDU.
    """
    from astropy.io import fits

    found = []
    with fits.open(path, memmap=False, disable_image_compression=True) as units:
        for number, unit in enumerate(units):
            card = unit.header.get("CHECKSUM")
            if not card or _sum(unit) == _ALL_ONES:
                continue
            meaning = (
                "its header was changed since; the data are as they were"
                if unit.header.get("DATASUM")
                else "its header or its data were changed since, and there is no "
                "DATASUM to tell which"
            )
            found.append(
                f"the CHECKSUM of HDU {_title(unit, number)}, {card!r}, is wrong: {meaning}"
            )
    return found


def _sum(unit: Any) -> int:
    """Return the sum of an HDU's bytes as 32-bit integers, with carries added (J)."""
    info = unit.fileinfo()
    info["file"].seek(info["hdrLoc"])
    raw = info["file"].read(info["datLoc"] + info["datSpan"] - info["hdrLoc"])
    total = int(np.frombuffer(raw, ">u4").sum(dtype="u8"))
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total


def _is_whole(path: Path, units: HDUList) -> bool:
    """Tell whether only what fills up the last block is missing (3.3.2)."""
    last = units[-1]
    if not hasattr(last, "fileinfo"):
        return False
    place = last.fileinfo()["datLoc"]
    return bool(place + last.size <= path.stat().st_size)


def _chosen(
    path: Path, units: HDUList, asked: int | str | Sequence[int | str]
) -> list[int]:
    """Return the numbers of the HDUs to read."""
    names = [asked] if isinstance(asked, int | str) else list(asked)
    chosen = []
    for name in names:
        try:
            chosen.append(units.index_of(name) if isinstance(name, str) else name)
        except KeyError:
            chosen.append(-1)
        if not 0 <= chosen[-1] < len(units):
            titles = ", ".join(_title(one, number) for number, one in enumerate(units))
            raise DeliveryError(f"{path}: has no HDU {name!r}; it has {titles}")
    return chosen or list(range(len(units)))


def _title(unit: Any, number: int) -> str:
    return f"{number} ({unit.name})" if unit.name else str(number)


def _holds_anything(unit: Any) -> bool:
    return unit.size > 0 or bool(header_values(unit.header))


class _Made:
    """A Dataset in the making.

    Parameters
    ----------
    path
        The file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.warnings: list[str] = []
        self._path = path
        self._variables: dict[str, xr.Variable] = {}
        self._attrs: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._fronts: set[str] = set()
        self._images = 0
        self._tables = 0

    def add(self, unit: Any, number: int) -> None:
        """Add an HDU.

        Raises
        ------
        DeliveryError
            If it is of a sort that no Dataset can hold.
        """
        from astropy.io import fits

        if isinstance(unit, fits.GroupsHDU):
            raise DeliveryError(
                f"{self._path}: HDU {_title(unit, number)} has random groups (6), which "
                "are not read; write a reader of your own for it"
            )
        if isinstance(unit, fits.BinTableHDU | fits.TableHDU):
            self.add_table(unit)
        elif isinstance(unit, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
            if unit.data is None:
                self.add_header(unit)
            else:
                self.add_image(unit)
        else:
            raise DeliveryError(
                f"{self._path}: HDU {_title(unit, number)} is of type "
                f"{unit.header.get('XTENSION', type(unit).__name__)!r}, which is neither "
                "an image nor a table"
            )

    def add_image(self, unit: Any) -> None:
        """Add an image (7.1)."""
        self._images += 1
        plain = "image" if self._images == 1 else f"image_{self._images}"
        name = self._free(_name(unit.name) if unit.header.get("EXTNAME") else plain)
        values = self._pixels(unit)
        dims = self._dims(name, _axes(values.ndim), values.shape)
        attrs = self._header(unit)
        if unit.header.get("BUNIT"):
            attrs["unit"] = unit.header["BUNIT"]
        self._variables[name] = xr.Variable(dims, values, attrs)

    def _pixels(self, unit: Any) -> np.ndarray[Any, np.dtype[Any]]:
        """Return what the numbers of an image mean; those for no data are NaN."""
        header = unit.header
        scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
        blank = header.get("BLANK")
        stored = native(unit.data)
        if blank is None or stored.dtype.kind not in "iu":
            where = f"{self._path}: the image {unit.name!r}"
            return meant(stored, scale, zero, None, where, is_image=True)
        if header["BITPIX"] == 64 and not is_other_sign(stored, scale, zero):
            raise DeliveryError(
                f"{self._path}: the image {unit.name!r} has 64-bit numbers with a value "
                "for no data, which would be rounded; write it without BLANK"
            )
        missing = np.asarray(stored == blank)
        where = f"{self._path}: the image {unit.name!r}"
        values = meant(stored, scale, zero, missing, where, is_image=True)
        if values.dtype.kind in "iu" and not is_other_sign(stored, scale, zero):
            return values.astype("f4" if values.dtype.itemsize <= 2 else "f8")
        return values

    def add_table(self, unit: Any) -> None:
        """Add a table (7.2, 7.3)."""
        from astropy.io import fits

        is_binary = isinstance(unit, fits.BinTableHDU)
        scales = scales_of(unit.header) if is_binary else {}
        self._tables += 1
        front = self._front(unit)
        has_time = any(_name(one) == "time" for one in unit.columns.names)
        row = f"{front}{'time' if has_time else 'row'}"
        for number, column in enumerate(unit.columns):
            name = self._free(f"{front}{_name(column.name)}")
            read = read_column(self._path, unit, number, scales.get(number, (1, 0)))
            said = {"unit": column.unit, "null": read.null}
            attrs = {key: one for key, one in said.items() if one is not None}
            if read.lengths is not None:
                lengths = self._free(f"{name}_length")
                self._variables[lengths] = xr.Variable((row,), read.lengths)
                shape = (len(read.values),)
                dims = self._dims(name, (f"{name}_element",), shape)
            else:
                shape = read.values.shape[1:]
                dims = (row, *self._dims(name, _axes(len(shape)), shape))
            self._sizes.setdefault(row, int(unit.header["NAXIS2"]))
            self._variables[name] = xr.Variable(dims, read.values, attrs)
        self.add_header(unit)

    def _front(self, unit: Any) -> str:
        """Return what stands before the names of a table's columns."""
        if self._tables == 1:
            return ""
        plain = front = _name(unit.name) if unit.name else f"table_{self._tables}"
        number = 1
        while front in self._fronts:
            number += 1
            front = f"{plain}_{number}"
        self._fronts.add(front)
        return f"{front}_"

    def add_header(self, unit: Any) -> None:
        """Add a header; what an earlier one has said otherwise gets a name in front."""
        name = _name(unit.name) if unit.name else f"hdu_{self._images + self._tables}"
        for keyword, value in self._header(unit).items():
            number, key = 1, keyword
            while not _is_same(self._attrs.setdefault(key, value), value):
                key = (
                    f"{name}.{keyword}" if number == 1 else f"{name}_{number}.{keyword}"
                )
                number += 1

    def _header(self, unit: Any) -> dict[str, Any]:
        values = header_values(unit.header, self.warnings)
        return as_they_are(self._path, unit, values)

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


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and (
        one == other or (one != one and other != other)
    )


def _name(text: str) -> str:
    """Return a name in small letters, without what paths and code do not take."""
    return re.sub(r"\W+", "_", text.strip().lower()).strip("_") or "unnamed"


def _axes(count: int) -> tuple[str, ...]:
    """Return names of the dimensions of an image; the first axis of FITS comes last."""
    if count < 2:
        return ("element",)[:count]
    more = ("plane", *(f"axis_{n}" for n in range(4, count + 1)))[: count - 2]
    return (*reversed(more), "y", "x")
