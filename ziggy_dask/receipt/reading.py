"""Reading manifests and acknowledgements.

They come from outside, so they are read with suspicion, in blocks: no document type, no
entities, bounded sizes, and only names that stay inside the delivery.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt.manifest import (
    AcknowledgedFile,
    Acknowledgement,
    ChecksumType,
    Manifest,
    ManifestFile,
    TransferStatus,
    ValidationStatus,
    require_safe,
)

_LARGEST_BYTES = 256 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_LONGEST_NAME = 4096
_LONGEST_VALUE = 256


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    DeliveryError
        If it is not a sound manifest, with the file, the place and the value.
    """
    found = _read(path, _MANIFEST, _FILE, partial(_manifest_file, path))
    values = found.attributes
    _require_count(path, values["fileCount"], len(found.entries))
    return Manifest(
        dataset_id=_integer(path, "datasetId", values["datasetId"]),
        checksum_type=_member(path, ChecksumType, "checksumType", values),
        files=tuple(found.entries),
    )


def read_acknowledgement(path: Path) -> Acknowledgement:
    """Read and check an acknowledgement.

    Raises
    ------
    DeliveryError
        If it is not a sound acknowledgement, with the file, the place and the value.
    """
    found = _read(
        path, _ACKNOWLEDGEMENT, _ACKNOWLEDGED_FILE, partial(_acknowledged_file, path)
    )
    values = found.attributes
    _require_count(path, values["fileCount"], len(found.entries))
    acknowledgement = Acknowledgement(
        dataset_id=_integer(path, "datasetId", values["datasetId"]),
        checksum_type=_member(path, ChecksumType, "checksumType", values),
        files=tuple(found.entries),
    )
    status = _member(path, ValidationStatus, "transferStatus", values)
    if status is not acknowledgement.status:
        raise DeliveryError(
            f"{path}: transferStatus is {status.value!r}, but by its files it is "
            f"{acknowledgement.status.value!r}; it was changed after it was written"
        )
    return acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What an element must be."""

    tag: str
    attributes: tuple[str, ...]


_MANIFEST = _Form(tag="manifest", attributes=("datasetId", "checksumType", "fileCount"))
_FILE = _Form(tag="file", attributes=("name", "size", "checksum"))
_ACKNOWLEDGEMENT = _Form(
    tag="acknowledgement", attributes=(*_MANIFEST.attributes, "transferStatus")
)
_ACKNOWLEDGED_FILE = _Form(
    tag="file", attributes=(*_FILE.attributes, "transferStatus", "validationStatus")
)

_Entry = TypeVar("_Entry", ManifestFile, AcknowledgedFile)
_Kind = TypeVar("_Kind", ChecksumType, TransferStatus, ValidationStatus)


class _Document(Generic[_Entry]):
    """Target of the parser, which stops at the first fault so that nothing piles up."""

    def __init__(
        self,
        path: Path,
        root: _Form,
        file: _Form,
        make: Callable[[Mapping[str, str]], _Entry],
    ) -> None:
        self.attributes: Mapping[str, str] = {}
        self.entries: list[_Entry] = []
        self.events = 0
        self._path = path
        self._forms = (root, file)
        self._make: Callable[[Mapping[str, str]], _Entry] = make
        self._depth = 0
        self._names: set[str] = set()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.events += 1
        if self._depth >= len(self._forms):
            raise DeliveryError(
                f"{self._path}: <file> has the element <{tag[:80]}> inside"
            )
        _require_form(self._path, self._forms[self._depth], tag, attributes)
        if self._depth:
            self._add(self._make(attributes))
        else:
            self.attributes = attributes
        self._depth += 1

    def end(self, _tag: str) -> None:
        self._depth -= 1

    def data(self, text: str) -> None:
        self.events += 1
        if text.strip():
            raise DeliveryError(
                f"{self._path}: has text between the tags: {text[:80]!r}"
            )

    def comment(self, _text: str) -> None:
        self.events += 1

    def pi(self, _target: str, _data: str) -> None:
        self.events += 1

    def close(self) -> None:
        """Nothing to finish."""

    def _add(self, entry: _Entry) -> None:
        if entry.name in self._names:
            raise DeliveryError(f"{self._path}: lists the file {entry.name!r} twice")
        self._names.add(entry.name)
        self.entries.append(entry)


def _read(
    path: Path, root: _Form, file: _Form, make: Callable[[Mapping[str, str]], _Entry]
) -> _Document[_Entry]:
    document = _Document(path, root, file, make)
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            _require_readable(path, os.fstat(stream.fileno()))
            _feed(path, stream, document)
    except DefusedXmlException as error:
        raise DeliveryError(
            f"{path}: document types and entities are refused ({type(error).__name__})"
        ) from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DeliveryError(
            f"{path}:{line}: is not well-formed XML, see column {column}: {error.msg}"
        ) from error
    except (LookupError, ValueError) as error:
        raise DeliveryError(f"{path}: is not written in UTF-8: {error}") from error
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    return document


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that took its name is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _require_readable(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DeliveryError(f"{path}: is not a regular file")
    if status.st_size > _LARGEST_BYTES:
        raise DeliveryError(
            f"{path}: has {status.st_size} bytes; at most {_LARGEST_BYTES} are taken, "
            "so split the delivery"
        )


def _feed(path: Path, stream: BinaryIO, document: _Document[_Entry]) -> None:
    """Parse block by block; one in which nothing ends is part of something absurd."""
    parser = DefusedXMLParser(target=document, forbid_dtd=True)
    while block := stream.read(_BLOCK_BYTES):
        before = document.events
        parser.feed(block)
        if document.events == before and len(block) == _BLOCK_BYTES:
            raise DeliveryError(
                f"{path}: has a tag, comment or attribute of more than "
                f"{_BLOCK_BYTES} bytes"
            )
    parser.close()


def _require_form(
    path: Path, form: _Form, tag: str, attributes: Mapping[str, str]
) -> None:
    if tag != form.tag:
        raise DeliveryError(f"{path}: expected <{form.tag}>, found <{tag[:80]}>")
    for name, value in attributes.items():
        if name not in form.attributes:
            raise DeliveryError(
                f"{path}: <{tag}> has the unknown attribute {name[:80]!r}"
            )
        longest = _LONGEST_NAME if name == "name" else _LONGEST_VALUE
        if len(value) > longest:
            raise DeliveryError(
                f"{path}: <{tag}> has an attribute {name!r} of {len(value)} "
                f"characters; at most {longest} are taken"
            )
    for name in form.attributes:
        if name not in attributes:
            raise DeliveryError(f"{path}: <{tag}> lacks the attribute {name!r}")


def _manifest_file(path: Path, values: Mapping[str, str]) -> ManifestFile:
    require_safe(path, values["name"])
    return ManifestFile(
        name=values["name"],
        size_bytes=_size(path, values),
        checksum=values["checksum"].lower(),
    )


def _acknowledged_file(path: Path, values: Mapping[str, str]) -> AcknowledgedFile:
    require_safe(path, values["name"])
    return AcknowledgedFile(
        name=values["name"],
        size_bytes=_size(path, values),
        checksum=values["checksum"].lower(),
        transfer=_member(path, TransferStatus, "transferStatus", values),
        validation=_member(path, ValidationStatus, "validationStatus", values),
    )


def _require_count(path: Path, text: str, listed: int) -> None:
    count = _integer(path, "fileCount", text)
    if not listed or count != listed:
        raise DeliveryError(
            f"{path}: fileCount is {count}, but {listed} files are listed; "
            + ("at least one must be" if not listed else "it may be cut short")
        )


def _member(
    path: Path, kind: type[_Kind], attribute: str, values: Mapping[str, str]
) -> _Kind:
    for member in kind:
        if member.value == values[attribute]:
            return member
    known = ", ".join(member.value for member in kind)
    raise DeliveryError(
        f"{path}: {attribute} is {values[attribute]!r}, which is none of: {known}"
    )


def _size(path: Path, values: Mapping[str, str]) -> int:
    size = _integer(path, f"size of {values['name']!r}", values["size"])
    if size < 0:
        raise DeliveryError(
            f"{path}: the size of {values['name']!r} is negative: {size}"
        )
    return size


def _integer(path: Path, what: str, text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,19}", text.strip()) is None:
        raise DeliveryError(
            f"{path}: {what} is {text[:80]!r}, which is not a whole number"
        )
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise DeliveryError(f"{path}: {what} is {text!r}, which is too large")
    return number
