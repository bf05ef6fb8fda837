"""Deliveries: directories that a sender filled, and their way in.

A delivery is checked whole before anything of it is taken; what is not sound is
left where it is, with an acknowledgement that says why.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.datastore.readers.expanding import require_no_holes
from ziggy_dask.datastore.readers.regular import Identity, open_inside
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt.manifest import (
    MANIFEST_ENDING,
    AcknowledgedFile,
    Acknowledgement,
    ChecksumType,
    Manifest,
    ManifestFile,
    TransferStatus,
    ValidationStatus,
    acknowledgement_name,
    checksums,
    is_hidden,
    is_own_file,
    named_files,
)
from ziggy_dask.receipt.sorting import refusal

logger = logging.getLogger(__name__)

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A directory that holds a delivery."""

    name: str
    """Name of the directory; the unit of work of its task."""
    directory: Path
    """The directory."""
    is_inside: bool
    """Whether it is below the receipt directory, and goes away when done."""


def find_deliveries(
    directory: Path, refused: Callable[[str], object] | None = None
) -> tuple[Delivery, ...]:
    """Return the deliveries that wait in the receipt directory.

    With a manifest directly in it, the directory is one delivery; else each
    sub-directory with a manifest is one.

    Parameters
    ----------
    directory
        The receipt directory.
    refused
        Is told why something is left out that only looks like a delivery; None: that is
        an error.

    Raises
    ------
    DeliveryError
        If the directory can't be read, or a link to a directory poses as a delivery.
    """
    if not directory.is_dir():
        return ()
    here = directory.absolute()
    try:
        if _manifests(here):
            return (Delivery(name=here.name, directory=here, is_inside=False),)
        found = [entry for entry in sorted(here.iterdir()) if _holds_manifest(entry)]
    except OSError as error:
        raise DeliveryError(f"{here}: can't be read: {error.strerror}") from error
    deliveries = []
    for entry in found:
        try:
            _require_own(entry)
        except DeliveryError as error:
            if refused is None:
                raise
            refused(str(error))
        else:
            deliveries.append(
                Delivery(name=entry.name, directory=entry, is_inside=True)
            )
    return tuple(deliveries)


def delivery_called(directory: Path, name: str) -> Delivery | None:
    """Return the delivery of a name in the receipt directory, or None.

    Whatever else is there is not looked at.

    Raises
    ------
    DeliveryError
        If it is a link.
    """
    entry = directory.absolute() / name
    if entry.parent != directory.absolute() or not _holds_manifest(entry):
        return None
    _require_own(entry)
    return Delivery(name=name, directory=entry, is_inside=True)


def manifest_path(directory: Path) -> Path | None:
    """Return the manifest in a directory, or None.

    Raises
    ------
    DeliveryError
        If there are several, it is a link out of the directory, or the directory
        can't be read.
    """
    try:
        found = _manifests(directory)
    except OSError as error:
        raise DeliveryError(f"{directory}: can't be read: {error.strerror}") from error
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DeliveryError(
            f"{directory}: has {len(found)} manifests ({names}); a delivery has one"
        )
    return require_inside(directory, found[0].name) if found else None


def validate(
    directory: Path, manifest: Manifest, max_failure_percentage: float = 100.0
) -> Acknowledgement:
    """Compare what is in a directory with its manifest.

    Parameters
    ----------
    directory
        The delivery.
    manifest
        Its manifest.
    max_failure_percentage
        When more of the files than this are bad, in percent, the rest is not
        looked at and counts as absent. One bad file makes a delivery invalid.

    Raises
    ------
    DeliveryError
        If a link leads out of the delivery, or a file can't be read or is nearly all
        holes.
    """
    allowed = int(len(manifest.files) * max_failure_percentage / 100)
    files: list[AcknowledgedFile] = []
    failures = 0
    for one in manifest.files:
        checked = (
            _absent(one.name)
            if failures > allowed
            else _check(directory, manifest, one)
        )
        failures += not checked.is_valid
        files.append(checked)
    return Acknowledgement(
        dataset_id=manifest.dataset_id,
        checksum_type=manifest.checksum_type,
        files=tuple(files),
    )


def as_found(directory: Path) -> tuple[Manifest, dict[str, Identity]]:
    """Return a manifest of a delivery that has none, and which files were looked at.

    Raises
    ------
    DeliveryError
        If it holds no files, a name can't stand in a manifest, or a file can't be read,
        is nearly all holes or was changed meanwhile.
    """
    files, identities = [], {}
    for name, path in named_files(directory):
        try:
            descriptor = open_delivered(directory, name)
            try:
                require_no_holes(path, os.fstat(descriptor))
                identity = Identity.of(descriptor)
                found = checksums(descriptor, [ChecksumType.SHA256])
                is_stable = Identity.of(descriptor) == identity
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
        if not is_stable:
            raise DeliveryError(
                f"{path}: was changed while it was read; deliver it when it is complete"
            )
        identities[name] = identity
        files.append(
            ManifestFile(
                name=name,
                size_bytes=identity.size_bytes,
                checksum=found[ChecksumType.SHA256],
            )
        )
    manifest = Manifest(
        dataset_id=0, checksum_type=ChecksumType.SHA256, files=tuple(files)
    )
    return manifest, identities


def extra_files(directory: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the visible files of a delivery that are not among `names`.

    The manifest and its acknowledgement don't count. No link is followed: one that
    is neither listed nor on the way to a listed file is itself a file too many.

    Raises
    ------
    DeliveryError
        If the delivery can't be read, or has several manifests.
    """
    expected = set(names)
    own = manifest_path(directory)
    if own is not None:
        expected |= {own.name, acknowledgement_name(own.name)}
    return _unexpected(directory, expected)


def require_inside(directory: Path, name: str) -> Path:
    """Return the path of a delivered file, unless a link leads out of the delivery.

    Raises
    ------
    DeliveryError
        If one does, or links go in circles.
    """
    path = directory / name
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DeliveryError(f"{path}: links go in circles") from error
    real = path.resolve()
    if not real.is_relative_to(directory.resolve()):
        raise DeliveryError(
            f"{path}: is a link to {real}, outside the delivery; "
            "deliver the file itself"
        )
    return path


def require_own_files(directory: Path) -> None:
    """Refuse a delivery with links that lead out of it, or what is not a regular file.

    Raises
    ------
    DeliveryError
        With all of them.
    """
    faults: dict[str, str] = {}
    for path in _entries(directory):
        name = path.relative_to(directory).as_posix()
        try:
            mode = require_inside(directory, name).stat().st_mode
        except DeliveryError as error:
            faults[name] = str(error)
        except OSError as error:
            faults[name] = f"{path}: can't be read: {error.strerror}"
        else:
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                faults[name] = f"{path}: is not a regular file; take it away"
    if faults:
        raise refusal(faults)


def open_delivered(directory: Path, name: str) -> int:
    """Open a delivered file; a link in the delivery is followed only within it.

    Returns
    -------
    int
        Descriptor, to be closed by the caller.

    Raises
    ------
    DeliveryError
        If a link leads out of the delivery, or it is anything but a regular file.
    OSError
        If it can't be opened.
    """
    root = directory.resolve()
    real = require_inside(directory, name).resolve()
    return open_inside(root, real.relative_to(root).as_posix())


def read_delivered(directory: Path, name: str) -> bytes:
    """Read a small delivered file, such as a manifest, as `open_delivered` opens it."""
    with open(open_delivered(directory, name), "rb") as stream:
        return stream.read()


def clean_up(delivery: Delivery, names: Iterable[str]) -> None:
    """Remove what was taken from a delivery, and then its empty directories.

    Hidden files go, too. It may run again after it was interrupted: the manifest,
    by which a delivery is found, goes last. No link is followed.

    Parameters
    ----------
    delivery
        The delivery.
    names
        The files that were taken, manifest and acknowledgement among them.

    Raises
    ------
    DeliveryError
        If a visible file is left that was not taken, or one can't be removed.
    """
    directory = delivery.directory
    if not directory.is_dir():
        return
    if delivery.is_inside:
        _require_own(directory)
        root = directory.parent.resolve() / directory.name
    else:
        root = directory.resolve()
    taken = frozenset(names)
    try:
        left = _empty(root, taken)
        if delivery.is_inside and not left:
            root.rmdir()
    except (OSError, RecursionError) as error:
        raise DeliveryError(f"{directory}: can't be cleaned up: {error}") from error
    if left:
        raise DeliveryError(
            f"{directory}: {len(left)} files are left that were not taken, "
            f"e.g. {left[0]!r}; deliver them with a manifest, or take them away"
        )


def _empty(root: Path, taken: Set[str]) -> tuple[str, ...]:
    """Remove what was taken, manifest last; return what else is left."""
    own = {name for name in taken if "/" not in name and is_own_file(name)}
    _remove_files(root, lambda name: name in taken and name not in own)
    left = _unexpected(root, taken)
    if not left:
        links = _parents(taken)
        _remove_files(root, lambda name: _is_hidden(name) or name in links)
        _remove_directories(root)
    for name in sorted(own, key=lambda name: name.endswith(MANIFEST_ENDING)):
        (root / name).unlink(missing_ok=True)
    return left


def _remove_files(root: Path, is_wanted: Callable[[str], bool]) -> None:
    """Remove files and links, by handles so that no link can be slid in."""
    for top, directories, files, handle in os.fwalk(root):
        place = Path(top).relative_to(root)
        for name in (*files, *directories):
            if is_wanted((place / name).as_posix()) and not _is_directory(name, handle):
                os.unlink(name, dir_fd=handle)


def _remove_directories(root: Path) -> None:
    """Remove all directories; a file that came in the meantime makes this fail."""
    for _, directories, _, handle in os.fwalk(root, topdown=False):
        for name in directories:
            os.rmdir(name, dir_fd=handle)


def _is_directory(name: str, handle: int) -> bool:
    status = os.stat(name, dir_fd=handle, follow_symlinks=False)
    return stat.S_ISDIR(status.st_mode)


def _is_hidden(name: str) -> bool:
    return any(is_hidden(part) for part in name.split("/"))


def _unexpected(directory: Path, expected: Set[str]) -> tuple[str, ...]:
    """Return what is visible but neither a directory, nor expected, nor on the way."""
    passed = _parents(expected)
    found = (path.relative_to(directory).as_posix() for path in _entries(directory))
    return tuple(
        sorted(one for one in found if one not in expected and one not in passed)
    )


def _entries(directory: Path) -> Iterator[Path]:
    """Yield all that is visible but directories; links are not followed."""
    waiting = [directory]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if is_hidden(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        yield Path(entry.path)
        except OSError as error:
            raise DeliveryError(f"{place}: can't be read: {error.strerror}") from error


def _parents(names: Iterable[str]) -> Set[str]:
    """Return the directories on the way to files."""
    found: set[str] = set()
    for name in names:
        parent = name.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def _manifests(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.iterdir()
        if path.name.endswith(MANIFEST_ENDING)
        and not path.name.startswith(".")
        and path.is_file()
    )


def _holds_manifest(entry: Path) -> bool:
    if entry.name.startswith(".") or not entry.is_dir():
        return False
    try:
        return bool(_manifests(entry))
    except OSError as error:
        logger.warning(
            "%s: can't be read, so it is passed over: %s", entry, error.strerror
        )
        return False


def _require_own(directory: Path) -> None:
    if directory.is_symlink():
        raise DeliveryError(
            f"{directory}: is a link to {directory.resolve()}; a delivery is a "
            "directory of its own, so move it here"
        )


def _check(directory: Path, manifest: Manifest, one: ManifestFile) -> AcknowledgedFile:
    path = require_inside(directory, one.name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _absent(one.name)
        descriptor = open_delivered(directory, one.name)
        try:
            require_no_holes(path, os.fstat(descriptor))
            identity = Identity.of(descriptor)
            found = checksums(descriptor, {manifest.checksum_type, ChecksumType.SHA256})
            is_stable = Identity.of(descriptor) == identity
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return _absent(one.name)
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    is_same = (
        is_stable
        and identity.size_bytes == one.size_bytes
        and found[manifest.checksum_type] == one.checksum.lower()
    )
    return AcknowledgedFile(
        name=one.name,
        size_bytes=identity.size_bytes,
        identity=identity,
        checksum=found[manifest.checksum_type],
        sha256=found[ChecksumType.SHA256],
        transfer=TransferStatus.PRESENT,
        validation=ValidationStatus.VALID if is_same else ValidationStatus.INVALID,
    )


def _absent(name: str) -> AcknowledgedFile:
    return AcknowledgedFile(
        name=name,
        size_bytes=0,
        checksum="",
        transfer=TransferStatus.ABSENT,
        validation=ValidationStatus.INVALID,
    )
