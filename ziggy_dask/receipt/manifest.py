"""Manifests and acknowledgements: what a sender says it sent, and what arrived.

The XML forms are those of the original Ziggy.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree

from ziggy_dask.datastore.readers.expanding import require_no_holes
from ziggy_dask.datastore.readers.regular import Identity
from ziggy_dask.errors import DeliveryError

MANIFEST_ENDING = "-manifest.xml"
_ZARR_METADATA = (
    *(".zgroup", ".zarray", ".zattrs", ".zmetadata"),
    *(".nczarr", ".nczgroup", ".nczarray", ".nczattr"),
)
# Control characters, backslashes, and what UTF-8 or XML 1.0 can't hold.
_BAD_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffe\uffff]")

_BLOCK_BYTES = 1024 * 1024


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


def checksums(
    descriptor: int, types: Collection[ChecksumType]
) -> dict[ChecksumType, str]:
    """Return checksums of an open file, which stays open, in lower-case hexadecimal digits.

    It is read once.
    """
    digests = {one: hashlib.new(one.value.lower()) for one in types}
    with open(descriptor, "rb", closefd=False) as stream:
        while block := stream.read(_BLOCK_BYTES):
            for digest in digests.values():
                digest.update(block)
    return {one: digest.hexdigest() for one, digest in digests.items()}


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

    @property
    def digest(self) -> str:
        """What tells it from all others: the SHA-256 of what it says."""
        return hashlib.sha256(manifest_to_xml(self).encode()).hexdigest()


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
    """Whether it was there with the right size and checksum, and could be stored."""
    identity: Identity | None = field(default=None, compare=False, repr=False)
    """Which file was looked at; None: it is not known."""
    sha256: str = field(default="", compare=False, repr=False)
    """SHA-256 as found, whichever checksum the manifest has; empty: it is not known."""

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

    @property
    def status(self) -> ValidationStatus:
        """That in one word."""
        return ValidationStatus.VALID if self.is_valid else ValidationStatus.INVALID


def acknowledge_refusal(
    acknowledgement: Acknowledgement, faults: Mapping[str, str]
) -> Acknowledgement:
    """Return an acknowledgement of files that arrived, but could not be stored.

    Parameters
    ----------
    acknowledgement
        What was found.
    faults
        What is wrong, by name of file; empty: none of them can be stored.
    """
    bad = {
        file.name
        for file in acknowledgement.files
        if not faults or any(_is_part(file.name, name) for name in faults)
    }
    if not bad and acknowledgement.is_valid:
        return acknowledge_refusal(acknowledgement, {})
    files = tuple(
        replace(file, validation=ValidationStatus.INVALID) if file.name in bad else file
        for file in acknowledgement.files
    )
    return replace(acknowledgement, files=files)


def _is_part(name: str, of: str) -> bool:
    return name == of or name.startswith(f"{of}/")


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
        transferStatus=acknowledgement.status.value,
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
        If there are no files, a name can't stand in a manifest, or a file is nearly all
        holes.
    """
    files = []
    for name, path in named_files(directory):
        try:
            status = path.stat()
            require_no_holes(path, status)
            size_bytes, checksum = status.st_size, checksum_type.of_file(path)
        except OSError as error:
            raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
        files.append(ManifestFile(name=name, size_bytes=size_bytes, checksum=checksum))
    return Manifest(
        dataset_id=dataset_id, checksum_type=checksum_type, files=tuple(files)
    )


def named_files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a directory that a manifest lists, in the order of their names.

    Raises
    ------
    DeliveryError
        If there are none, or a name can't stand in a manifest.
    """
    named = {
        path.relative_to(directory).as_posix(): path
        for path in visible_files(directory)
    }
    listed = [name for name in sorted(named) if "/" in name or not is_own_file(name)]
    if not listed:
        raise DeliveryError(f"{directory}: holds no files to list")
    for name in listed:
        require_safe(directory, name)
        yield name, named[name]


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
                (one, one.stat()) for one in place.iterdir() if not is_hidden(one.name)
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


def is_hidden(name: str) -> bool:
    """Tell whether a file or directory is passed over, by its name without directories.

    Hidden names begin with a dot, but for those that Zarr's format 2 gives to metadata.
    """
    return name.startswith(".") and name not in _ZARR_METADATA


def is_own_file(name: str) -> bool:
    """Tell whether a file name is that of a manifest or of an acknowledgement."""
    return name.endswith((MANIFEST_ENDING, acknowledgement_name(MANIFEST_ENDING)))


def require_safe(path: Path, name: str) -> None:
    """Refuse a file name that can't stand in a manifest.

    Parameters
    ----------
    path
        Where it stands, for the message.
    name
        The name.

    Raises
    ------
    DeliveryError
        With what is wrong with it.
    """
    parts = name.split("/")
    if name.startswith("/"):
        why = "is absolute"
    elif ".." in parts or "." in parts:
        why = "has '.' or '..' in it"
    elif "" in parts:
        why = "has an empty part"
    elif any(is_hidden(part) for part in parts):
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
