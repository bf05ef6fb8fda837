"""Holding a regular file open, so that what was checked is what is read."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.errors import DeliveryError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which file it is, and which state of it.

    The time of change can't be set by anybody, so a file whose content or name was
    touched has another identity.
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> Identity:
        """Return the identity of an open file."""
        status = os.fstat(descriptor)
        return cls(
            device=status.st_dev,
            inode=status.st_ino,
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            changed_ns=status.st_ctime_ns,
        )


def open_regular(path: Path, directory: int | None = None) -> int:
    """Open a regular file for reading; no link is followed, no device is waited for.

    Parameters
    ----------
    path
        The file, relative to `directory` if that is given.
    directory
        Descriptor of a directory.

    Returns
    -------
    int
        Descriptor, to be closed by the caller.

    Raises
    ------
    DeliveryError
        If it is a link, or anything but a regular file.
    OSError
        If it can't be opened.
    """
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=directory)
    except OSError as error:
        if path.is_symlink():
            raise DeliveryError(
                f"{path}: is a link; deliver the file itself"
            ) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise DeliveryError(f"{path}: is not a regular file")


def open_inside(directory: Path, name: str) -> int:
    """Open a regular file below a directory; no link on the way is followed.

    Another name of somebody else's file is not a file of its own: who may not read a file
    may still be able to give it a name (`link(2)`).

    Parameters
    ----------
    directory
        The directory, whose own path may have links.
    name
        Path below it, with slashes.

    Raises
    ------
    DeliveryError
        If a part of the path is a link, or it is anything but a regular file, or a hard
        link to a file of another user than the directory's.
    OSError
        If it can't be opened.
    """
    *above, last = Path(name).parts
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in above:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, flags, dir_fd=place)
            os.close(place)
            place = below
        try:
            descriptor = open_regular(Path(last), place)
            _require_own(Path(last), descriptor, place)
            return descriptor
        except DeliveryError as error:
            text = str(error).replace(last, str(directory / name), 1)
            raise DeliveryError(text) from error
    finally:
        os.close(place)


def _require_own(path: Path, descriptor: int, directory: int) -> None:
    status = os.fstat(descriptor)
    if status.st_nlink > 1 and status.st_uid != os.fstat(directory).st_uid:
        os.close(descriptor)
        raise DeliveryError(
            f"{path}: is a hard link to a file of another user ({status.st_uid}) than "
            "its directory's; deliver a copy"
        )


@contextmanager
def hold(path: Path, descriptor: int | None = None) -> Iterator[Path]:
    """Keep a regular file open, and yield a path that leads to this very file.

    The yielded path has the file's own name, which readers may look at.

    Parameters
    ----------
    path
        The file.
    descriptor
        If it is open already: its descriptor, which stays open. None: it is opened.

    Raises
    ------
    DeliveryError
        If it can't be opened, is anything but a regular file, or is changed while
        it is read.
    """
    try:
        held = open_regular(path) if descriptor is None else descriptor
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    try:
        before = Identity.of(held)
        with tempfile.TemporaryDirectory(prefix="ziggy-reading-") as place:
            link = Path(place) / path.name
            link.symlink_to(f"/proc/{os.getpid()}/fd/{held}")
            yield link
        if Identity.of(held) != before:
            raise DeliveryError(f"{path}: was changed while it was read")
    finally:
        if descriptor is None:
            os.close(held)


def require_own_files(directory: Path) -> None:
    """Refuse a directory with anything but directories and regular files in it.

    Raises
    ------
    DeliveryError
        With the first link, device or pipe.
    """
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise DeliveryError(
                        f"{entry.path}: is a link, a device or a pipe; a directory "
                        "that is read as one holds nothing but files"
                    )
