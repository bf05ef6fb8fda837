"""XML elements with their lines, read so that no document can do harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from ziggy_dask.errors import DefinitionError, Fault

_LARGEST_BYTES = 16 * 1024 * 1024
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Element:
    """An element of an XML file."""

    tag: str
    """Its name."""
    attributes: Mapping[str, str]
    """Its attributes."""
    file: str
    """The file."""
    line: int
    """Where it begins."""
    children: list[Element] = field(default_factory=list)
    """The elements in it."""

    def fault(self, message: str) -> Fault:
        """Return word of something wrong with it."""
        return Fault(message=message, file=self.file, line=self.line)


def read_element(path: Path) -> Element:
    """Read an XML file.

    Raises
    ------
    DefinitionError
        If it can't be read, is not well-formed XML, or has a document type.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DefinitionError(f"{path}: larger than {_LARGEST_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise DefinitionError(f"{path}: can't be read: {error.strerror}") from error
    return parse_element(data, str(path))


def parse_element(data: bytes, file: str) -> Element:
    """Return the top element of an XML document; `file` names it in errors."""
    builder = _Builder(file)
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        fault = Fault(
            message=f"is not well-formed XML: {what}", file=file, line=error.lineno
        )
        raise DefinitionError([fault]) from error
    return builder.top[0]


class _Builder:
    """Makes elements of what the parser finds."""

    def __init__(self, file: str) -> None:
        self.top: list[Element] = []
        self._file = file
        self._open: list[Element] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _refuse(self, message: str) -> NoReturn:
        line = self.parser.CurrentLineNumber
        raise DefinitionError([Fault(message=message, file=self._file, line=line)])

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEEPEST:
            self._refuse(f"elements are nested more than {_DEEPEST} deep")
        element = Element(tag, attributes, self._file, self.parser.CurrentLineNumber)
        (self._open[-1].children if self._open else self.top).append(element)
        self._open.append(element)

    def _end(self, _tag: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        if text.strip():
            self._refuse(f"has text between the tags: {text.strip()[:80]!r}")

    def _doctype(self, *_: object) -> None:
        self._refuse("document types and entities are refused")
