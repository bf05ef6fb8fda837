"""The cards of a FITS header as attributes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.io.fits import Header

_STRUCTURE = re.compile(
    # What says how the bytes lie (4.4.1, 7.3), and is not so any more when they are read.
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|"
    r"(TTYPE|TFORM|TBCOL|TUNIT|TDISP|TDIM|TNULL|TSCAL|TZERO)\d+|"
    r"BSCALE|BZERO|BLANK|BUNIT|CHECKSUM|DATASUM|INHERIT|CONTINUE|)"
)
_TEXT = re.compile(r"\s*'((?:[^']|'')*)'")
_CARD = 80


def header_values(header: Header, warnings: list[str] | None = None) -> dict[str, Any]:
    """Return the cards of a header by keyword; comments and history as one text each.

    A keyword without a value is None. A card that breaks the rules is the text that
    stands in it, and of a keyword that comes twice, the first counts; `warnings` gets
    word of both.
    """
    from astropy.io.fits import Card
    from astropy.io.fits.verify import VerifyError

    values: dict[str, Any] = {}
    for card in header.cards:
        keyword = card.keyword
        if _STRUCTURE.fullmatch(keyword):
            continue
        try:
            value = card.value
        except (VerifyError, ValueError):
            value = card.image[8:].lstrip("= ").rstrip()
            if warnings is not None:
                warnings.append(f"the card of {keyword!r} is not valid: {value!r}")
        if keyword in ("COMMENT", "HISTORY"):
            before = f"{values[keyword]}\n" if keyword in values else ""
            values[keyword] = f"{before}{value}"
        elif keyword not in values:
            is_there = isinstance(value, bool | int | float | complex | str)
            values[keyword] = value if is_there else None
        elif values[keyword] != value and warnings is not None:
            warnings.append(
                f"the keyword {keyword!r} comes twice; {values[keyword]!r} is kept, "
                f"{value!r} is not"
            )
    assert Card.length == _CARD
    return values


def as_they_are(path: Path, unit: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a header with the letters that ASCII does not have.

    FITS allows none (4.2.1.1), and astropy puts a question mark for each; they are read
    as UTF-8 if they can be, else as Latin-1.
    """
    if not any("?" in value for value in values.values() if isinstance(value, str)):
        return values
    try:
        info = unit.fileinfo()
        with path.open("rb") as stream:
            stream.seek(info["hdrLoc"])
            raw = stream.read(info["datLoc"] - info["hdrLoc"])
    except (OSError, TypeError):
        return values
    true: dict[str, str] = {}
    for start in range(0, len(raw), _CARD):
        card = raw[start : start + _CARD]
        found = None if card.isascii() else _TEXT.match(decoded(card)[10:])
        if found:
            text = found[1].replace("''", "'").rstrip()
            true.setdefault(decoded(card)[:8].strip(), text)
    return {
        key: true[key]
        if isinstance(value, str) and "?" in value and key in true
        else value
        for key, value in values.items()
    }


def decoded(raw: bytes) -> str:
    """Return text that is UTF-8 if it can be, else Latin-1.

    Examples
    --------
    >>> decoded("Ångström".encode()), decoded("Ångström".encode("latin-1"))
    ('Ångström', 'Ångström')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
