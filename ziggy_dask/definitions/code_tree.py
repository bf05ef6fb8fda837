"""The code of a pipeline as a value: what its files hold, and what tells it from other code.

What belongs to it are the files below the pipeline's directory that decide what algorithms do:
Python files, extension modules, everything in ``bin``, and small programs wherever they are, also
in directories with modules that are linked to. Data do not belong to it, nor do definitions,
virtual environments and hidden directories. They are reached through links where a tree is
checked out.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath

from ziggy_dask.errors import DefinitionError

SMALL_BYTES = 1024 * 1024
"""Size up to which a program outside ``bin`` belongs to the code, in bytes."""
_PROGRAMS = "bin"
_DIRTY = "-dirty"
_MODULES = (".py", *EXTENSION_SUFFIXES)


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of the code."""

    path: str
    """Path below the pipeline's directory, with ``/``."""
    content: bytes
    """What it holds."""
    is_executable: bool = False
    """Whether its owner may execute it."""

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class CodeTree:
    """All files of the code of a pipeline, as they were at one moment."""

    files: tuple[CodeFile, ...]
    """The files, sorted by path."""
    described: str = ""
    """What git says of the directory; empty if it is not in a repository."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over paths, modes and contents of the files, in hexadecimal."""
        return listing_digest(self.listing)

    @property
    def listing(self) -> list[tuple[str, str, bool]]:
        """Path, digest and whether it can be executed, of each file."""
        return [(one.path, one.digest, one.is_executable) for one in self.files]

    @property
    def version(self) -> str:
        """How this code is called in records and products."""
        return version_text(self.digest, self.described)


def listing_digest(listing: list[tuple[str, str, bool]]) -> str:
    """Return the digest of a tree from the listing of its files."""
    lines = (
        f"{digest} {executable:d} {path}\0" for path, digest, executable in listing
    )
    text = "".join(lines)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def version_text(digest: str, described: str) -> str:
    """Return how the code of a digest is called in records and products."""
    return f"sha256:{digest[:16]}" + (f" ({described})" if described else "")


def read_code(root: Path) -> CodeTree:
    """Return the code below a directory, as it is now.

    Raises
    ------
    DefinitionError
        If the directory or a file of it can't be read.
    """
    if not root.is_dir():
        raise DefinitionError(
            f"{root}: the directory of the pipeline's code is not there"
        )
    try:
        files = tuple(sorted(_files(root), key=lambda file: file.path))
    except OSError as error:
        raise DefinitionError(
            f"{error.filename}: can't be read: {error.strerror}"
        ) from error
    return CodeTree(files, _git_describe(root, files))


def is_visible(directory: Path) -> bool:
    """Tell whether a directory is there, and may be listed by this process."""
    return os.access(directory, os.R_OK | os.X_OK) and directory.is_dir()


def changed_files(old: CodeTree, new: CodeTree) -> list[str]:
    """Return what differs between two trees, a line per file."""
    before = {path: rest for path, *rest in old.listing}
    after = {path: rest for path, *rest in new.listing}
    words = {True: "changed", False: "removed"}
    found = [
        f"{path} ({words[path in after]})"
        for path, what in before.items()
        if after.get(path) != what
    ]
    return found + [f"{path} (new)" for path in after if path not in before]


def check_out(tree: CodeTree, place: Path, root: Path | None = None) -> Path:
    """Write a tree to a directory that others may use at the same time; return it.

    Parameters
    ----------
    tree
        The code.
    place
        The directory. One that is there already is completed where it lacks files or
        holds others.
    root
        Directory from which the tree comes. What else lies there is reached through links.
    """
    if not (place.is_dir() and _holds(tree, place)):
        place.parent.mkdir(parents=True, exist_ok=True)
        # Whoever the umask lets write here may link what is new beside the code.
        partial = place.with_name(f".{place.name}-{secrets.token_hex(8)}")
        partial.mkdir()
        try:
            for file in tree.files:
                _write(file, partial)
            if place.exists():
                place.rename(partial / ".replaced")
            with suppress(OSError):  # somebody else has just made the same one
                partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(place / ".replaced", ignore_errors=True)
    _link_rest(tree, place, root)
    return place


def _write(file: CodeFile, place: Path) -> None:
    path = place / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    readers = path.stat().st_mode & 0o444  # those that the umask lets read
    path.chmod(readers | (readers >> 2 if file.is_executable else 0))


def _holds(tree: CodeTree, place: Path) -> bool:
    """Tell whether a directory holds all files of a tree, and no other code."""
    try:
        if any((place / file.path).is_symlink() for file in tree.files):
            return False
        return all((place / f.path).read_bytes() == f.content for f in tree.files)
    except OSError:
        return False


def _link_rest(tree: CodeTree, place: Path, root: Path | None) -> None:
    """Link to what lies beside the code in the directory that it comes from."""
    wanted = dict(_links(tree, place, root)) if root is not None else {}
    directories = {Path(file.path).parent for file in tree.files} | {Path()}
    directories |= {above for one in directories for above in one.parents}
    for directory in directories:
        here = place / directory
        for entry in list(here.iterdir()) if here.is_dir() else []:
            if entry.is_symlink() and wanted.get(entry) != entry.readlink():
                entry.unlink(missing_ok=True)
    for entry, target in wanted.items():
        if not entry.is_symlink():
            with suppress(FileExistsError):
                entry.symlink_to(target)


def _links(tree: CodeTree, place: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the links that a checked out tree needs, with what each leads to."""
    own = {PurePosixPath(file.path) for file in tree.files}
    directories = {above for path in own for above in path.parents} | {PurePosixPath()}
    for directory in directories:
        there = root / directory
        for entry in there.iterdir() if is_visible(there) else ():
            path = directory / entry.name
            is_hidden = entry.name.startswith(".") or entry.name == "__pycache__"
            is_around = place.is_relative_to(entry.absolute())
            if not (path in own or path in directories or is_hidden or is_around):
                yield place / path, entry.absolute()


def _files(root: Path) -> Iterator[CodeFile]:
    for directory, names in _directories(root):
        in_programs = directory.relative_to(root).parts[:1] == (_PROGRAMS,)
        for name in names:
            path = directory / name
            if not path.is_file():
                continue
            if name.endswith(_MODULES) or in_programs or _is_program(path):
                yield _file(root, path, path.read_bytes())


def _directories(
    root: Path, above: frozenset[Path] = frozenset()
) -> Iterator[tuple[Path, list[str]]]:
    """Yield directories that may hold code, with the names of their files.

    Links to directories are followed where modules lie in them; others lead to data.
    """
    for place, directories, names in os.walk(root):
        directories[:] = sorted(
            name
            for name in directories
            if not name.startswith(".")
            and name != "__pycache__"
            and not Path(place, name, "pyvenv.cfg").exists()
            and not _is_store(Path(place, name))
        )
        yield Path(place), sorted(names)
        around = above | {Path(place).resolve(), *Path(place).resolve().parents}
        for name in directories:
            linked = Path(place, name)
            is_new = linked.is_symlink() and linked.resolve() not in around
            if is_new and _has_modules(linked):
                yield from _directories(linked, around)


def _has_modules(directory: Path) -> bool:
    """Tell whether modules lie directly in a directory that can be listed."""
    return is_visible(directory) and any(
        one.name.endswith(_MODULES) for one in directory.iterdir()
    )


def _is_store(directory: Path) -> bool:
    """Tell whether a directory is a cluster's home, or a datastore."""
    return (directory / "ziggy.db").exists() or (
        (directory / "snapshots").is_dir() and (directory / "manifests").is_dir()
    )


def _is_program(path: Path) -> bool:
    """Tell whether a file is a small program."""
    found = path.stat()
    return bool(found.st_mode & 0o100) and found.st_size <= SMALL_BYTES


def _file(root: Path, path: Path, content: bytes) -> CodeFile:
    is_executable = bool(path.stat().st_mode & 0o100)
    return CodeFile(path.relative_to(root).as_posix(), content, is_executable)


def _git_describe(root: Path, files: Sequence[CodeFile]) -> str:
    """Return what git says of the code: its commit, and whether it differs from that.

    Git itself does not count files that it was never told of. Where all are such, the code
    is in no repository, but only below one.
    """
    described = _git(root, "describe", "--always", "--dirty", "--tags").strip()
    if not described or not files:
        return described
    tracked = set(_git(root, "ls-files", "-z", "--recurse-submodules").split("\0"))
    known = [file.path in tracked for file in files]
    if not any(known):
        return ""
    is_dirty = described.endswith(_DIRTY) or not all(known)
    return described.removesuffix(_DIRTY) + (_DIRTY if is_dirty else "")


def _git(root: Path, *words: str) -> str:
    """Return what git answers in a directory; empty: nothing."""
    # A hook of git that starts this has variables that lead to its own repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            timeout=10,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
