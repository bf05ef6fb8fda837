"""Manifests and acknowledgements: what a sender says it sent, and what arrived.

The XML forms are those of the original Ziggy. Manifests come from outside, so
they are read with suspicion: no document type, no entities, bounded sizes, and
only names that stay inside the delivery.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from ziggy_dask.errors import DeliveryError

MANIFEST_ENDING = "-manifest.xml"
_LARGEST_BYTES = 256 * 1024 * 1024
_LONGEST_NAME = 4096
_LONGEST_VALUE = 256
_BAD_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\\]")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedFile:
    """One file of a delivery, as it was found."""

    name: str
    """Name from the manifest."""
    size_bytes: int
    """Size as found, in bytes; 0 if it is missing."""
    checksum: str
    """Checksum as found; empty if it is missing."""
    is_present: bool
    """Whether it was there."""
    is_valid: bool
    """Whether it was there with the right size and checksum."""


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
    root = _parse(path)
    values = _attributes(path, root, "manifest", ("datasetId", "checksumType", "fileCount"))
    kind = values["checksumType"]
    if kind not in ChecksumType.__members__:
        raise DeliveryError(
            f"{path}: checksumType {kind!r} is none of: "
            + ", ".join(ChecksumType.__members__)
        )
    files = tuple(_file(path, element) for element in root)
    _refuse_duplicates(path, files)
    count = _integer(path, "fileCount", values["fileCount"])
    if not files or count != len(files):
        raise DeliveryError(
            f"{path}: fileCount is {count}, but {len(files)} files are listed; "
            + ("a manifest lists at least one" if not files else "it may be cut short")
        )
    return Manifest(
        dataset_id=_integer(path, "datasetId", values["datasetId"]),
        checksum_type=ChecksumType[kind],
        files=files,
    )


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
            root, "file", name=one.name, size=str(one.size_bytes), checksum=one.checksum
        )
    return _to_text(root)


def acknowledgement_to_xml(acknowledgement: Acknowledgement) -> str:
    """Return an acknowledgement as XML text."""
    root = ElementTree.Element(
        "acknowledgement",
        datasetId=str(acknowledgement.dataset_id),
        checksumType=acknowledgement.checksum_type.value,
        fileCount=str(len(acknowledgement.files)),
        transferStatus="valid" if acknowledgement.is_valid else "invalid",
    )
    for one in acknowledgement.files:
        ElementTree.SubElement(
            root,
            "file",
            name=one.name,
            size=str(one.size_bytes),
            checksum=one.checksum,
            transferStatus="present" if one.is_present else "absent",
            validationStatus="valid" if one.is_valid else "invalid",
        )
    return _to_text(root)


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
    files = []
    for path in sorted(visible_files(directory)):
        name = path.relative_to(directory).as_posix()
        if "/" not in name and is_own_file(name):
            continue
        _require_safe(directory, name)
        files.append(
            ManifestFile(
                name=name,
                size_bytes=path.stat().st_size,
                checksum=checksum_type.of_file(path),
            )
        )
    if not files:
        raise DeliveryError(f"{directory}: holds no files to list")
    return Manifest(dataset_id=dataset_id, checksum_type=checksum_type, files=tuple(files))


def visible_files(directory: Path) -> Iterable[Path]:
    """Yield all regular files below a directory, but for hidden ones.

    Raises
    ------
    DeliveryError
        If the directory can't be read.
    """
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise DeliveryError(f"{directory}: can't be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from visible_files(entry)
        elif entry.is_file():
            yield entry


def is_own_file(name: str) -> bool:
    """Tell whether a file name is that of a manifest or of an acknowledgement."""
    return name.endswith((MANIFEST_ENDING, acknowledgement_name(MANIFEST_ENDING)))


def _parse(path: Path) -> ElementTree.Element:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DeliveryError(f"{path}: larger than {_LARGEST_BYTES} bytes")
        tree = defusedxml.ElementTree.parse(path, forbid_dtd=True)
    except DefusedXmlException as error:
        raise DeliveryError(
            f"{path}: document types and entities are refused ({type(error).__name__})"
        ) from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DeliveryError(
            f"{path}:{line}: is no sound XML, see column {column}: {error.msg}"
        ) from error
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    root = tree.getroot()
    if root is None:
        raise DeliveryError(f"{path}: is empty")
    return root


def _file(path: Path, element: ElementTree.Element) -> ManifestFile:
    values = _attributes(path, element, "file", ("name", "size", "checksum"))
    if len(element):
        raise DeliveryError(f"{path}: <file name={values['name']!r}> has elements inside")
    _require_safe(path, values["name"])
    size = _integer(path, f"size of {values['name']!r}", values["size"])
    if size < 0:
        raise DeliveryError(f"{path}: the size of {values['name']!r} is negative: {size}")
    return ManifestFile(
        name=values["name"], size_bytes=size, checksum=values["checksum"].lower()
    )


def _attributes(
    path: Path, element: ElementTree.Element, tag: str, names: tuple[str, ...]
) -> Mapping[str, str]:
    if element.tag != tag:
        raise DeliveryError(f"{path}: expected <{tag}>, found <{element.tag[:80]}>")
    for name, value in element.attrib.items():
        if name not in names:
            raise DeliveryError(f"{path}: <{tag}> has the unknown attribute {name[:80]!r}")
        longest = _LONGEST_NAME if name == "name" else _LONGEST_VALUE
        if len(value) > longest:
            raise DeliveryError(
                f"{path}: <{tag}> has an attribute {name!r} of {len(value)} characters; "
                f"at most {longest} are taken"
            )
    for name in names:
        if name not in element.attrib:
            raise DeliveryError(f"{path}: <{tag}> lacks the attribute {name!r}")
    return element.attrib


def _integer(path: Path, what: str, text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,19}", text.strip()) is None:
        raise DeliveryError(f"{path}: {what} is {text[:80]!r}, which is no whole number")
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
        why = "has a backslash or control character in it"
    else:
        return
    raise DeliveryError(
        f"{path}: the file name {name[:200]!r} {why}; names are relative to the "
        "delivery, like 'set-1/L0/a.png'"
    )


def _refuse_duplicates(path: Path, files: tuple[ManifestFile, ...]) -> None:
    seen: set[PurePosixPath] = set()
    for one in files:
        if PurePosixPath(one.name) in seen:
            raise DeliveryError(f"{path}: lists the file {one.name!r} twice")
        seen.add(PurePosixPath(one.name))


def _to_text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
