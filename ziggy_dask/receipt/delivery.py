"""Deliveries: directories that a sender filled, and their way in.

A delivery is checked whole before anything of it is taken; what is not sound is
left where it is, with an acknowledgement that says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt.manifest import (
    MANIFEST_ENDING,
    AcknowledgedFile,
    Acknowledgement,
    Manifest,
    ManifestFile,
    is_own_file,
    visible_files,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A directory that holds a delivery."""

    name: str
    """Name of the directory; the unit of work of its task."""
    directory: Path
    """The directory."""
    is_inside: bool
    """Whether it is a sub-directory of the receipt directory, and goes away when done."""


def find_deliveries(directory: Path) -> tuple[Delivery, ...]:
    """Return the deliveries that wait in the receipt directory.

    With a manifest directly in it, the directory is one delivery; else each
    sub-directory with a manifest is one.
    """
    if not directory.is_dir():
        return ()
    if _manifests(directory):
        return (Delivery(name=directory.name, directory=directory, is_inside=False),)
    return tuple(
        Delivery(name=entry.name, directory=entry, is_inside=True)
        for entry in sorted(directory.iterdir())
        if entry.is_dir() and not entry.name.startswith(".") and _manifests(entry)
    )


def manifest_path(directory: Path) -> Path | None:
    """Return the manifest in a directory, or None.

    Raises
    ------
    DeliveryError
        If there are several.
    """
    found = _manifests(directory)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DeliveryError(
            f"{directory}: has {len(found)} manifests ({names}); a delivery has one"
        )
    return found[0] if found else None


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
        If a link leads out of the delivery.
    """
    allowed = int(len(manifest.files) * max_failure_percentage / 100)
    files: list[AcknowledgedFile] = []
    failures = 0
    for one in manifest.files:
        checked = (
            _absent(one.name) if failures > allowed else _check(directory, manifest, one)
        )
        failures += not checked.is_valid
        files.append(checked)
    return Acknowledgement(
        dataset_id=manifest.dataset_id,
        checksum_type=manifest.checksum_type,
        files=tuple(files),
    )


def extra_files(directory: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the visible files of a delivery that are not among `names`."""
    expected = set(names)
    found = (path.relative_to(directory).as_posix() for path in visible_files(directory))
    return tuple(
        name
        for name in found
        if name not in expected and not ("/" not in name and is_own_file(name))
    )


def require_inside(directory: Path, name: str) -> Path:
    """Return the path of a delivered file, unless a link leads out of the delivery.

    Raises
    ------
    DeliveryError
        If one does, or links go in circles.
    """
    path = directory / name
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:
        raise DeliveryError(f"{path}: links go in circles") from error
    if not real.is_relative_to(directory.resolve()):
        raise DeliveryError(
            f"{path}: is a link to {real}, outside the delivery; deliver the file itself"
        )
    return path


def clean_up(delivery: Delivery, names: Iterable[str]) -> None:
    """Remove what was taken from a delivery, and then its empty directories.

    It may run again after it was interrupted. Hidden files go, too.

    Parameters
    ----------
    delivery
        The delivery.
    names
        The files that were taken.

    Raises
    ------
    DeliveryError
        If a visible file is left that was not taken.
    """
    for name in names:
        (delivery.directory / name).unlink(missing_ok=True)
    if not delivery.directory.is_dir():
        return
    left = [
        path.relative_to(delivery.directory) for path in visible_files(delivery.directory)
    ]
    if left:
        raise DeliveryError(
            f"{delivery.directory}: {len(left)} files are left that were not taken, "
            f"e.g. {str(left[0])!r}"
        )
    for top, directories, files in os.walk(delivery.directory, topdown=False):
        for name in files:
            (Path(top) / name).unlink()
        for name in directories:
            path = Path(top) / name
            if path.is_symlink():
                path.unlink()
            else:
                path.rmdir()
    if delivery.is_inside:
        delivery.directory.rmdir()


def _manifests(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.glob(f"*{MANIFEST_ENDING}")
        if path.is_file() and not path.name.startswith(".")
    )


def _check(directory: Path, manifest: Manifest, one: ManifestFile) -> AcknowledgedFile:
    path = require_inside(directory, one.name)
    if not path.is_file():
        return _absent(one.name)
    size = path.stat().st_size
    checksum = manifest.checksum_type.of_file(path)
    return AcknowledgedFile(
        name=one.name,
        size_bytes=size,
        checksum=checksum,
        is_present=True,
        is_valid=size == one.size_bytes and checksum == one.checksum,
    )


def _absent(name: str) -> AcknowledgedFile:
    return AcknowledgedFile(
        name=name, size_bytes=0, checksum="", is_present=False, is_valid=False
    )
