"""Files in the datastore: directories are groups, files are arrays of bytes.

Data types look at files by their names. Several can share a directory, and one
can have its files in directories below its product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import icechunk
import zarr

from ziggy_dask.datastore.labels import Labels
from ziggy_dask.definitions.location import FilePattern


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of some data type below a product."""

    path: str
    """Path below the product."""
    key: str
    """Files with the same key belong to the same subtask."""
    values: Mapping[str, str]
    """Values of the placeholders in the path."""
    members: tuple[str, ...] = ()
    """If it is a directory that stands for a file: what is in it."""

    @property
    def name(self) -> str:
        """File name without directories."""
        return self.path.rpartition("/")[2]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths, below the product, of the files that it is made of."""
        return tuple(f"{self.path}/{one}" for one in self.members) or (self.path,)


def list_files(
    session: icechunk.Session, path: str, pattern: FilePattern
) -> list[StoredFile]:
    """Return the files of a data type below a product, by path.

    Parameters
    ----------
    session
        Where to look.
    path
        The product; if it is not there, there are no files.
    pattern
        Which files.
    """
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return []
    return sorted(_matching(group, pattern), key=lambda one: one.path)


def keys_of(files: Iterable[StoredFile]) -> Labels:
    """Return the keys of some files, in order, each once."""
    return Labels.of(list(dict.fromkeys(one.key for one in files)))


def tasks_of_files(session: icechunk.Session, path: str) -> set[int]:
    """Return the tasks that the files of a product say they are of."""
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return set()
    members = (one for _, one in group.members(max_depth=None))
    said = (one.attrs.get("task") for one in members if isinstance(one, zarr.Array))
    return {task for task in said if isinstance(task, int)}


def files_of_task(session: icechunk.Session, path: str, task: int) -> set[str]:
    """Return the paths, below a product, of the files that say that a task made them."""
    try:
        group = zarr.open_group(session.store, path=path, mode="r")
    except FileNotFoundError:
        return set()
    return {
        name
        for name, one in group.members(max_depth=None)
        if isinstance(one, zarr.Array) and one.attrs.get("task") == task
    }


def _matching(group: zarr.Group, pattern: FilePattern) -> Iterator[StoredFile]:
    for directory, inner in _directories("", group, pattern.depth):
        for name, member in inner.members():
            path = f"{directory}{name}"
            found = pattern.match(path)
            if found is None:
                continue
            members: tuple[str, ...] = ()
            if isinstance(member, zarr.Group):
                below = member.members(max_depth=None)
                members = tuple(
                    sorted(n for n, one in below if isinstance(one, zarr.Array))
                )
                if not members or not pattern.name:
                    continue
            yield StoredFile(
                path=path, key=found.key, values=found.values, members=members
            )


def _directories(
    above: str, group: zarr.Group, depth: int
) -> Iterator[tuple[str, zarr.Group]]:
    """Yield the directories so many levels below a group, by path."""
    if depth == 0:
        yield above, group
        return
    for name, child in group.groups():
        yield from _directories(f"{above}{name}/", child, depth - 1)
