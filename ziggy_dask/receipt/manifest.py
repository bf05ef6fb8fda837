"""Manifests and acknowledgements: what a sender says it sent, and what arrived.

The XML forms are those of the original Ziggy. Manifests come from outside, so
they are read with suspicion, in blocks: no document type, no entities, bounded
sizes, and only names that stay inside the delivery.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from ziggy_dask.errors import DeliveryError

MANIFEST_ENDING = "-manifest.xml"
_LARGEST_BYTES = 256 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_LONGEST_NAME = 4096
_LONGEST_VALUE = 256
# Control characters, backslashes, and what UTF-8 or XML 1.0 can't hold.
_BAD_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffe\uffff]")


class ChecksumType(Enum):
    """Algorithm of the checksums in a manifest."""

    MD5 = "MD5"
    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"

    def of_file(self, path: Path) -> str:
        """Return the checksum of a file, in lower-case hexadecimal digits."""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, self.value.lower()).hexdigest()


class TransferStatus(Enum):
    """Whether a file that a manifest lists has arrived."""

    PRESENT = "present"
    ABSENT = "absent"


class ValidationStatus(Enum):
    """Whether what arrived is what the manifest says; one bad file spoils the whole."""

    VALID = "valid"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """One file of a delivery, as its sender knows it."""

    name: str
    """Path relative to the manifest's directory, with slashes."""
    size_bytes: int
    """Size, in bytes."""
    checksum: str
    """Checksum, in lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a sender says it sent."""

    dataset_id: int
    """Id of the delivery; positive ones may be used only once."""
    checksum_type: ChecksumType
    """Algorithm of the checksums."""
    files: tuple[ManifestFile, ...]
    """The files."""

    @property
    def file_count(self) -> int:
        """Number of files."""
        return len(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedFile:
    """One file of a delivery, as it was found."""

    name: str
    """Name from the manifest."""
    size_bytes: int
    """Size as found, in bytes; 0 if it is missing."""
    checksum: str
    """Checksum as found; empty if it is missing."""
    transfer: TransferStatus
    """Whether it was there."""
    validation: ValidationStatus
    """Whether it was there with the right size and checksum."""

    @property
    def is_present(self) -> bool:
        """Whether it was there."""
        return self.transfer is TransferStatus.PRESENT

    @property
    def is_valid(self) -> bool:
        """Whether it was there with the right size and checksum."""
        return self.validation is ValidationStatus.VALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What arrived."""

    dataset_id: int
    """Id of the delivery."""
    checksum_type: ChecksumType
    """Algorithm of the checksums."""
    files: tuple[AcknowledgedFile, ...]
    """The files, in the manifest's order."""

    @property
    def file_count(self) -> int:
        """Number of files."""
        return len(self.files)

    @property
    def is_valid(self) -> bool:
        """Whether every file is there and valid."""
        return all(one.is_present and one.is_valid for one in self.files)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    DeliveryError
        If it is no sound manifest, with the file, the place and the value.
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
        If it is no sound acknowledgement, with the file, the place and the value.
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
    if status is not _whole(acknowledgement):
        raise DeliveryError(
            f"{path}: transferStatus is {status.value!r}, but by its files it is "
            f"{_whole(acknowledgement).value!r}; it was changed after it was written"
        )
    return acknowledgement


def manifest_to_xml(manifest: Manifest) -> str:
    """Return a manifest as XML text."""
    root = ElementTree.Element(
        "manifest",
        datasetId=str(manifest.dataset_id),
        checksumType=manifest.checksum_type.value,
        fileCount=str(len(manifest.files)),
    )
    for one in manifest.files:
        ElementTree.SubElement(
            root,
            "file",
            name=one.name,
            size=str(one.size_bytes),
            checksum=one.checksum.lower(),
        )
    return _to_text(root)


def acknowledgement_to_xml(acknowledgement: Acknowledgement) -> str:
    """Return an acknowledgement as XML text."""
    root = ElementTree.Element(
        "acknowledgement",
        datasetId=str(acknowledgement.dataset_id),
        checksumType=acknowledgement.checksum_type.value,
        fileCount=str(len(acknowledgement.files)),
        transferStatus=_whole(acknowledgement).value,
    )
    for one in acknowledgement.files:
        ElementTree.SubElement(
            root,
            "file",
            name=one.name,
            size=str(one.size_bytes),
            checksum=one.checksum.lower(),
            transferStatus=one.transfer.value,
            validationStatus=one.validation.value,
        )
    return _to_text(root)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, whole or not at all.

    Raises
    ------
    DeliveryError
        If the file name is not that of a manifest, or it can't be written.
    """
    if not path.name.endswith(MANIFEST_ENDING):
        raise DeliveryError(
            f"{path}: can't name a manifest; the name must end with {MANIFEST_ENDING!r}"
        )
    _write(path, manifest_to_xml(manifest))


def write_acknowledgement(acknowledgement: Acknowledgement, path: Path) -> None:
    """Write an acknowledgement, whole or not at all.

    No link that a sender laid in its place is followed.

    Raises
    ------
    DeliveryError
        If it can't be written.
    """
    _write(path, acknowledgement_to_xml(acknowledgement))


def acknowledgement_name(manifest_name: str) -> str:
    """Return the file name of the acknowledgement of a manifest.

    Examples
    --------
    >>> acknowledgement_name("x-manifest.xml")
    'x-manifest-ack.xml'
    """
    return manifest_name.removesuffix(".xml") + "-ack.xml"


def generate_manifest(
    directory: Path, dataset_id: int, checksum_type: ChecksumType = ChecksumType.SHA1
) -> Manifest:
    """Return the manifest of all files below a directory.

    Links are followed. Hidden files are left out, and so are manifests and
    acknowledgements at the top.

    Raises
    ------
    DeliveryError
        If there are no files, or a name can't stand in a manifest.
    """
    named = {
        path.relative_to(directory).as_posix(): path
        for path in visible_files(directory)
    }
    files = []
    for name, path in sorted(named.items()):
        if "/" not in name and is_own_file(name):
            continue
        _require_safe(directory, name)
        try:
            size_bytes, checksum = path.stat().st_size, checksum_type.of_file(path)
        except OSError as error:
            raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
        files.append(ManifestFile(name=name, size_bytes=size_bytes, checksum=checksum))
    if not files:
        raise DeliveryError(f"{directory}: holds no files to list")
    return Manifest(
        dataset_id=dataset_id, checksum_type=checksum_type, files=tuple(files)
    )


def visible_files(directory: Path) -> Iterator[Path]:
    """Yield the regular files below a directory but hidden ones; links are followed.

    Raises
    ------
    DeliveryError
        If the directory or a link can't be read, or links go in circles.
    """
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(directory, frozenset())]
    while waiting:
        place, above = waiting.pop()
        try:
            itself = _identity(place.stat())
            entries = [
                (one, one.stat()) for one in place.iterdir() if one.name[0] != "."
            ]
        except OSError as error:
            name = error.filename or place
            raise DeliveryError(f"{name}: can't be read: {error.strerror}") from error
        if itself in above:
            raise DeliveryError(f"{place}: links go in circles; take this one away")
        for entry, status in entries:
            if stat.S_ISDIR(status.st_mode):
                waiting.append((entry, above | {itself}))
            elif stat.S_ISREG(status.st_mode):
                yield entry


def is_own_file(name: str) -> bool:
    """Tell whether a file name is that of a manifest or of an acknowledgement."""
    return name.endswith((MANIFEST_ENDING, acknowledgement_name(MANIFEST_ENDING)))


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
        _require_readable(path)
        with path.open("rb") as stream:
            _feed(path, stream, document)
    except DefusedXmlException as error:
        raise DeliveryError(
            f"{path}: document types and entities are refused ({type(error).__name__})"
        ) from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DeliveryError(
            f"{path}:{line}: is no sound XML, see column {column}: {error.msg}"
        ) from error
    except (LookupError, ValueError) as error:
        raise DeliveryError(f"{path}: is not written in UTF-8: {error}") from error
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    return document


def _require_readable(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DeliveryError(f"{path}: is no regular file")
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
    _require_safe(path, values["name"])
    return ManifestFile(
        name=values["name"],
        size_bytes=_size(path, values),
        checksum=values["checksum"].lower(),
    )


def _acknowledged_file(path: Path, values: Mapping[str, str]) -> AcknowledgedFile:
    _require_safe(path, values["name"])
    return AcknowledgedFile(
        name=values["name"],
        size_bytes=_size(path, values),
        checksum=values["checksum"].lower(),
        transfer=_member(path, TransferStatus, "transferStatus", values),
        validation=_member(path, ValidationStatus, "validationStatus", values),
    )


def _whole(acknowledgement: Acknowledgement) -> ValidationStatus:
    if acknowledgement.is_valid:
        return ValidationStatus.VALID
    return ValidationStatus.INVALID


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
            f"{path}: {what} is {text[:80]!r}, which is no whole number"
        )
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise DeliveryError(f"{path}: {what} is {text!r}, which is too large")
    return number


def _require_safe(path: Path, name: str) -> None:
    parts = name.split("/")
    if name.startswith("/"):
        why = "is absolute"
    elif ".." in parts or "." in parts:
        why = "has '.' or '..' in it"
    elif "" in parts:
        why = "has an empty part"
    elif any(part.startswith(".") for part in parts):
        why = "is hidden"
    elif _BAD_CHARACTERS.search(name):
        why = "has a backslash, control or broken character in it"
    elif "/" not in name and is_own_file(name):
        why = "is that of a manifest or an acknowledgement"
    else:
        return
    raise DeliveryError(
        f"{path}: the file name {name[:200]!r} {why}; names are relative to the "
        "delivery, like 'set-1/L0/a.png'"
    )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        unfinished.unlink(missing_ok=True)
        with unfinished.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise DeliveryError(f"{path}: can't be written: {error.strerror}") from error


def _to_text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
