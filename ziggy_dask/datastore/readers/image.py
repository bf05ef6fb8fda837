"""The reader of images: PNG, JPEG, TIFF, GIF and what else Pillow reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import REFUSE, not_read
from ziggy_dask.errors import DeliveryError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile
    from tifffile import TiffFile

Values = np.ndarray[Any, np.dtype[Any]]

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PROGRAMS = (b"%!PS", b"\xc5\xd0\xd3\xc6")
"""How files of PostScript begin; see Adobe's note 5002."""
_ORIENTATION = 0x0112
_NARROW = ("L", "LA", "RGB", "RGBA", "RGBX", "P", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits a channel."""
_BY_PILLOW = ("PALETTE", "YCBCR", "CIELAB", "ICCLAB", "ITULAB")
"""Sorts of TIFF whose numbers are not the colours."""
_GEOREFERENCE = (33550, 33922, 34264, 34735, 42112, 42113)


def read_image(
    path: Path, *, page: int | None = None, other_parts: str | None = None
) -> Reading:
    """Read an image: PNG, JPEG, TIFF, GIF or what else Pillow knows.

    Parameters
    ----------
    path
        The file.
    page
        Which page of a TIFF, or frame of a GIF, counted from 0; None: all.
    other_parts
        What to do with pages that are not read: ``refuse`` or ``warn``.

    Returns
    -------
    Reading
        With variable ``pixels``, of the type that is in the file, of dimensions (y, x)
        for grey images and (y, x, channel) for colour ones, y downwards; several pages
        have ``page`` before them. Coordinate ``channel`` names the bands, e.g. R, G, B,
        if the file does. Palettes are looked up.

    Raises
    ------
    DeliveryError
        If values can't be had as deep as they are in the file, or pages differ in
        shape or type.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    if start in _TIFF:
        pages, bands, attrs, warnings = _read_tiff(path, page)
        warnings += _told(
            path,
            _sub_images(path),
            "images within pages",
            other_parts or REFUSE,
            "write them as pages",
        )
    else:
        pages, bands, attrs = _read_pillow(path, page)
        warnings = []
    count = len(pages) if page is None else 1
    chosen = _chosen(path, pages, page)
    if page is not None:
        others = [str(number) for number in range(len(pages)) if number != page]
        warnings += _told(path, others, "pages", other_parts, "")
    _require_alike(path, chosen)
    values = chosen[0] if count == 1 else np.stack(chosen)
    inner = ("y", "x") if chosen[0].ndim == 2 else ("y", "x", "channel")
    dims = inner if count == 1 else ("page", *inner)
    coords = {"channel": bands} if bands and "channel" in dims else {}
    dataset = xr.Dataset({"pixels": (dims, values, attrs)}, coords=coords)
    return Reading(content=dataset, warnings=tuple(warnings))


def _told(
    path: Path, parts: list[str], what: str, wish: str | None, way_out: str
) -> tuple[str, ...]:
    try:
        return not_read(parts, what, wish=wish, was_asked=True, way_out=way_out)
    except DeliveryError as error:
        raise DeliveryError(f"{path}: {error}") from error


def _chosen(path: Path, pages: list[Values], page: int | None) -> list[Values]:
    if page is None:
        return pages
    if page not in range(len(pages)):
        raise DeliveryError(
            f"{path}: has no page {page!r}; it has {len(pages)}, counted from 0"
        )
    return [pages[page]]


def _require_alike(path: Path, pages: list[Values]) -> None:
    sorts = {(one.shape, one.dtype) for one in pages}
    if len(sorts) > 1:
        seen = "; ".join(
            f"page {number}: {one.dtype} {one.shape}"
            for number, one in enumerate(pages[:6])
        )
        raise DeliveryError(
            f"{path}: its {len(pages)} pages differ ({seen}); choose one by "
            "'reader: {image: {page: 0}}'"
        )


def _read_pillow(
    path: Path, page: int | None
) -> tuple[list[Values], list[str], dict[str, Any]]:
    from PIL import Image, ImageSequence

    _require_no_program(path)
    with Image.open(path) as image:
        _require_depth(path, image)
        steps = _stretched(image)
        _require_transparency(path, image, steps)
        attrs: dict[str, Any] = {}
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation != 1:
            attrs["orientation"] = int(orientation)
        is_one = getattr(image, "n_frames", 1) == 1
        frames: Sequence[Picture] = (
            [image] if is_one else [one.copy() for one in ImageSequence.Iterator(image)]
        )
        looked_up = list(_with_colours(frames))
        pages = [_native(np.asarray(one)) for one in looked_up]
        if steps is not None:
            pages = [_as_stored(one, *steps) for one in pages]
        bands = list(looked_up[0].getbands())
    return pages, bands, attrs


def _require_no_program(path: Path) -> None:
    """Refuse PostScript: it is a program, which Pillow would have Ghostscript run."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start in _PROGRAMS:
        raise DeliveryError(
            f"{path}: is PostScript (EPS), which is a program; a delivery runs none, so "
            "deliver the image itself, e.g. as PNG"
        )


def _with_colours(frames: Sequence[Picture]) -> Iterator[Picture]:
    """Yield frames with palettes looked up, all in one mode if there are several."""
    clear = any(
        "transparency" in one.info or one.mode in ("PA", "RGBA", "LA") for one in frames
    )
    are_looked_up = any(one.mode in ("P", "PA") for one in frames)
    for one in frames:
        if are_looked_up or (len(frames) > 1 and one.mode in ("RGB", "RGBA")):
            yield one.convert("RGBA" if clear else "RGB")
        elif clear and one.mode in ("L", "RGB"):
            yield one.convert("LA" if one.mode == "L" else "RGBA")
        else:
            yield one


def _require_depth(path: Path, image: ImageFile) -> None:
    """Refuse an image that Pillow would give with fewer bits than it has."""
    depth = 8
    if image.format == "JPEG2000":
        depth = _jpeg2000_depth(path)
    elif image.format == "PPM":
        largest = next(
            (one[3][1] for one in image.tile if isinstance(one[3], tuple)), 255
        )
        depth = 16 if isinstance(largest, int) and largest > 255 else 8
    elif any("16" in str(one[3]) or "32" in str(one[3]) for one in image.tile):
        depth = 16
    if depth > 8 and image.mode in _NARROW:
        raise DeliveryError(
            f"{path}: has {depth} bits in each of several channels, which can't be read "
            f"from a file of this format ({image.format}) without loss; write it as TIFF"
        )


def _stretched(image: ImageFile) -> tuple[int, int] | None:
    """Return the largest value that Pillow gives, and what it stands for in the file.

    Pillow stretches grey levels of 2 or 4 bits, and those of a PGM or PPM with a largest
    value of its own, to 8 or 16 bits. None: they are as in the file.
    """
    for one in image.tile:
        codec, told = one[0], one[3]
        if codec in ("ppm", "ppm_plain") and isinstance(told, tuple):
            return (65535 if image.mode == "I" else 255), int(told[1])
        if told in ("L;2", "L;4"):
            return 255, 2 ** int(str(told)[-1]) - 1
    return None


def _as_stored(values: Values, largest: int, stored: int) -> Values:
    """Return values as they were before Pillow stretched them; this undoes it exactly."""
    found = np.rint(values.astype("f8") * stored / largest).astype(values.dtype)
    return np.ascontiguousarray(found)


def _require_transparency(
    path: Path, image: ImageFile, steps: tuple[int, int] | None
) -> None:
    """Refuse a grey level that stands for no colour where Pillow does not heed it."""
    if "transparency" not in image.info or image.mode not in ("L", "1", "I", "I;16"):
        return
    if image.mode != "L" or steps is not None:
        raise DeliveryError(
            f"{path}: has a clear grey level ({image.info['transparency']}), which is read "
            "from grey images of 8 bits alone; write it with an alpha channel"
        )


def _jpeg2000_depth(path: Path) -> int:
    """Return the bits of a channel; see ISO/IEC 15444-1, A.5.1."""
    with path.open("rb") as stream:
        head = stream.read(65536)
    place = head.find(b"\xff\x4f\xff\x51")
    sizes = head[place + 42 :: 3] if place >= 0 else b""
    count = int.from_bytes(head[place + 40 : place + 42], "big")
    return max(((size & 0x7F) + 1 for size in sizes[:count]), default=8)


def _read_tiff(
    path: Path, page: int | None
) -> tuple[list[Values], list[str], dict[str, Any], list[str]]:
    from tifffile import TiffFile

    with TiffFile(path) as file:
        warnings = []
        first: Any = file.pages.first
        if any(tag in first.tags for tag in _GEOREFERENCE):
            warnings.append(
                "has a georeference, a scale or a value for no data, which the reader "
                "'geotiff' reads"
            )
        attrs: dict[str, Any] = {}
        orientation = int(first.tags.valueof(_ORIENTATION, 1))
        if orientation != 1:
            attrs["orientation"] = orientation
        if all(_photometric(one) in _BY_PILLOW for one in _full_pages(file)):
            pages, bands, _ = _read_pillow(path, page)
            return pages, bands, attrs, warnings
        try:
            pages = list(_tiff_pages(path, file))
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            pages = _by_pillow_if_exact(path, file, page)
        colours = _photometric(first) == "RGB" and first.samplesperpixel in (3, 4)
        bands = list("RGBA"[: first.samplesperpixel]) if colours else []
    return pages, bands, attrs, warnings


def _sub_images(path: Path) -> list[str]:
    """Return the images that pages have within them (SubIFDs), but for smaller copies."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        pages: list[Any] = list(file.pages)
        return [
            f"{place} of page {number}"
            for number, page in enumerate(pages)
            for place, one in enumerate(page.pages or ())
            if not one.is_reduced
        ]


def _full_pages(file: TiffFile) -> list[Any]:
    """Return the pages but for smaller copies of others."""
    pages: list[Any] = list(file.pages)
    return [one for one in pages if not one.is_reduced]


def _photometric(page: Any) -> str:
    return str(getattr(page.photometric, "name", page.photometric))


def _tiff_pages(path: Path, file: TiffFile) -> Iterator[Values]:
    """Yield the pages, channels last."""
    for one in _full_pages(file):
        values = _native(one.asarray())
        if "S" in one.axes:
            values = np.moveaxis(values, one.axes.index("S"), -1)
        if values.ndim not in (2, 3) or (values.ndim == 3 and "S" not in one.axes):
            raise DeliveryError(
                f"{path}: a page has the axes {one.axes!r}, which is not an image; write "
                "a reader of your own for it"
            )
        yield np.ascontiguousarray(values)


def _by_pillow_if_exact(path: Path, file: TiffFile, page: int | None) -> list[Values]:
    """Return pages of a compression that only Pillow knows, if it keeps their type."""
    pages, _, _ = _read_pillow(path, page)
    expected = [(one.dtype.newbyteorder("="), one.shape) for one in _full_pages(file)]
    if [(one.dtype, one.shape) for one in pages] == expected:
        return pages
    compression = getattr(file.pages.first.compression, "name", "an unknown method")
    raise DeliveryError(
        f"{path}: {expected[0][0]} compressed by {compression} can't be read without "
        "loss; install imagecodecs, or write it with another compression"
    )


def _native(values: Values) -> Values:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
