"""Working directories: inputs and models as files, outputs from files."""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ziggy_dask.datastore import FileItem
from ziggy_dask.datastore.netcdf import write_netcdf, write_zarr
from ziggy_dask.datastore.readers import open_file
from ziggy_dask.datastore.spelling import spelled
from ziggy_dask.datastore.storable import with_dimension
from ziggy_dask.definitions import Keep, ProductKind
from ziggy_dask.definitions.access import is_trusted, owner_of, use
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.description import describe, described_in, interface_name
from ziggy_dask.workers.inputs import Inputs
from ziggy_dask.workers.work import Sink, Source, Work

_SHARED = ".shared-"
_NO_FILE = {"/", "\0"}
"""What names of items may have, and names of files may not."""
_TASK = re.compile(r"([0-9]+)-([0-9]+)-.+")
_INNER = re.compile(r"st-[0-9]+|\.shared-[0-9]+")
_Signature = tuple[int, int, int]
_shared_files: dict[Path, _Signature] = {}
_shared_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory:
    """A directory in which a program is going to run."""

    path: Path
    """Where it is."""
    before: Mapping[str, _Signature]
    """What was put there, by name, with what tells whether it was changed."""
    shared: Mapping[Path, _Signature]
    """Files that its inputs share disk blocks with, likewise."""


def task_directory(work: Work) -> Path:
    """Return the directory that holds the working directories of a task."""
    name = f"{work.instance}-{work.task}-{interface_name(work.node)}"
    return work.programs.work / name


def working_path(work: Work, subtask: int) -> Path:
    """Return the working directory of a subtask."""
    return task_directory(work) / f"st-{subtask}"


def make_directory(
    work: Work, subtask: int, inputs: Inputs, models: Mapping[str, FileItem]
) -> WorkingDirectory:
    """Make the working directory of a subtask, with all that its program gets.

    What an earlier attempt left there is removed.

    Raises
    ------
    TaskError
        If two of its files have one name, or somebody else made the directory.
    """
    path = working_path(work, subtask)
    _require_own(work, path.parent)
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
    path.mkdir()
    given: dict[str, list[str]] = {}
    for source in work.sources:
        given[source.data_type] = list(_place(work, source, subtask, inputs, path))
    for name, model in models.items():
        _link(work, path / model.name, f"models-{name}", model)
    _refuse_clashes(work.node, given, models)
    named = {name: model.name for name, model in models.items()}
    describe(work, subtask, path, given, named)
    before = {one.name: _signature(one) for one in path.iterdir()}
    inodes = {signature[0] for signature in before.values()}
    home = _shared_home(work)  # inodes of other tasks may long be used for other files
    with _shared_lock:
        shared = {
            place: known
            for place, known in _shared_files.items()
            if known[0] in inodes and place.is_relative_to(home)
        }
    return WorkingDirectory(path=path, before=before, shared=shared)


def take_outputs(
    work: Work, directory: WorkingDirectory, own: Collection[str], files: ExitStack
) -> dict[str, object]:
    """Return what a program left in its working directory, by output name.

    Files are not read yet, and those that a reader opened may still be open.

    Parameters
    ----------
    work
        The task.
    directory
        Where it ran.
    own
        Names of files that are ours.
    files
        Closes what a reader opened.

    Raises
    ------
    TaskError
        If a file that matches an output is a link that leads out, or can't be read.
    """
    for place, known in directory.shared.items():
        if not place.exists() or _signature(place) != known:
            raise TaskError(
                f"the input {place.name!r}, which all subtasks share, was written to, "
                "here or in a subtask that ran at the same time; let the program work "
                "on a copy"
            )
    entries = sorted(directory.path.iterdir())
    made = [
        one
        for one in entries
        if one.name not in own
        and not one.name.startswith(".")
        and directory.before.get(one.name) != _signature(one)
    ]
    outputs: dict[str, object] = {}
    for sink in work.sinks:
        matching = [one for one in made if _matches(sink, one.name)]
        if matching:
            outputs[sink.name] = _output(sink, directory.path, matching, files)
    return outputs


def end_directory(work: Work, directory: Path, *, has_failed: bool) -> None:
    """Remove a working directory, unless it is to stay."""
    keep = work.programs.keep
    if keep is Keep.ALL or (has_failed and keep is Keep.FAILED):
        return
    shutil.rmtree(directory, ignore_errors=True)


def tidy(root: Path, instance: int, kept: Collection[tuple[int, int]]) -> None:
    """Remove what is left of an instance's working directories.

    Parameters
    ----------
    root
        Directory of working directories.
    instance
        Number of the instance.
    kept
        Task and number of the subtasks whose directories stay.
    """
    for path, of_instance, task in task_directories(root):
        if of_instance != instance:
            continue
        for inner in path.iterdir():
            number = inner.name.removeprefix("st-")
            if not number.isdigit() or (task, int(number)) not in kept:
                shutil.rmtree(inner, ignore_errors=True)
        if not any(path.iterdir()):
            path.rmdir()


def task_directories(root: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield the directories of tasks below a directory, with instance and task.

    Others may keep things there too: only what is named and filled as `task_directory`
    says is one.
    """
    for path in sorted(root.iterdir()):
        named = _TASK.fullmatch(path.name)
        if named and not path.is_symlink() and _holds_ours(path):
            yield path, int(named[1]), int(named[2])


def _holds_ours(path: Path) -> bool:
    try:
        return all(_INNER.fullmatch(one.name) for one in path.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # it may just have been removed
        return False


def _require_own(work: Work, directory: Path) -> None:
    """Make the directory of a task, and refuse one that somebody else had a hand in.

    Names are known beforehand, and places of programs may be open to everybody: who made
    such a directory could put outputs there.
    """
    use(work.programs.access)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir()
    status = directory.lstat()
    if not is_trusted(work.programs.access, status):
        raise TaskError(
            f"working directory {directory}: was made by {owner_of(status)} with mode "
            f"{stat.S_IMODE(status.st_mode):o}, so what is in it can't be trusted; remove "
            "it, or put 'work' of 'programs' where others may not write"
        )


def _place(
    work: Work, source: Source, subtask: int, inputs: Inputs, directory: Path
) -> Iterator[str]:
    """Put an input into a working directory; yield the names of its files."""
    if source.kind is not ProductKind.FILE:
        given = inputs.given(source, subtask)
        yield from _write_datasets(source, given, directory)
        return
    for stored in inputs.files(source, subtask):
        for path in stored.files:
            name = path.split("/", source.pattern.depth)[-1]
            target = directory / name
            if source.is_whole and work.count > 1:
                _link_stored(work, source, inputs, path, target)
            else:
                inputs.read_file(source, path).copy_to(target)
        yield stored.name


def _write_datasets(source: Source, given: object, directory: Path) -> Iterator[str]:
    items = given if isinstance(given, Mapping) else {source.name: given}
    if isinstance(given, xr.Dataset):
        items = {source.name: given}
    for name, dataset in items.items():
        assert isinstance(dataset, xr.Dataset)
        stem = spelled(name) if _NO_FILE & set(name) else name
        if source.file_format == "zarr":
            write_zarr(dataset, directory / f"{stem}.zarr")
            yield f"{stem}.zarr"
        else:
            write_netcdf(dataset, directory / f"{stem}.nc")
            yield f"{stem}.nc"


def _link_stored(
    work: Work, source: Source, inputs: Inputs, path: str, target: Path
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    place = f"{source.name}/{path}"
    if not _linked(work, place, target):
        _link(work, target, source.name, inputs.read_file(source, path), path)


def _link(work: Work, target: Path, group: str, item: FileItem, path: str = "") -> None:
    """Put a stored file into a file that shares its disk blocks with other subtasks' files."""
    place = f"{group}/{path or target.name}"
    if _linked(work, place, target):
        return
    shared = _shared_path(work, place)
    shared.parent.mkdir(parents=True, exist_ok=True)
    partial = shared.with_name(f".{shared.name}.{threading.get_ident()}")
    item.copy_to(partial)
    partial.chmod(0o444)
    with _shared_lock:
        if _is_sound(shared):  # another subtask was quicker, and uses it
            partial.unlink()
        else:
            partial.replace(shared)
            _shared_files[shared] = _signature(shared)
    if not _linked(work, place, target):
        item.copy_to(target)


def _linked(work: Work, place: str, target: Path) -> bool:
    """Link a shared file to `target` if it is there, and as it was written."""
    shared = _shared_path(work, place)
    with _shared_lock:
        if not _is_sound(shared):
            return False
        try:
            os.link(shared, target)
        except OSError:
            return False
    return True


def _is_sound(shared: Path) -> bool:
    """Tell whether a shared file is there, as it was written; the lock is held."""
    try:
        return _signature(shared) == _shared_files.get(shared)
    except OSError:
        return False


def _shared_home(work: Work) -> Path:
    return task_directory(work) / f"{_SHARED}{os.getpid()}"


def _shared_path(work: Work, place: str) -> Path:
    return _shared_home(work) / place


def _signature(path: Path) -> _Signature:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_clashes(
    node: str, given: Mapping[str, Sequence[str]], models: Mapping[str, FileItem]
) -> None:
    seen = dict.fromkeys(described_in(node), "what tells the program of its inputs")
    groups = [*given.items(), *((name, [one.name]) for name, one in models.items())]
    for what, names in groups:
        for name in names:
            if name in seen:
                raise TaskError(
                    f"two of its files are called {name!r}: one of {seen[name]} and "
                    f"one of {what!r}; files that meet in a subtask need different names"
                )
            seen[name] = repr(what)


def _matches(sink: Sink, name: str) -> bool:
    return bool(sink.pattern.name) and sink.pattern.matches_name(name)


def _output(
    sink: Sink, directory: Path, matching: Sequence[Path], files: ExitStack
) -> object:
    if sink.kind is ProductKind.FILE:
        return {
            str(path.relative_to(directory)): FileItem.from_path(
                _inside(sink, directory, path), str(path.relative_to(directory))
            )
            for one in matching
            for path in _files_of(one)
        }
    if sink.kind is ProductKind.COLLECTION:
        named = _by_item(sink, matching)
        return {
            item: _read(sink, _inside(sink, directory, one), files)
            for item, one in named.items()
        }
    datasets = [
        _with_dimension(sink, one, _one_dataset(sink, one, content))
        for one in matching
        for content in [_read(sink, _inside(sink, directory, one), files)]
    ]
    if len(datasets) == 1:
        return datasets[0]
    if not sink.storage.dimension:
        raise TaskError(
            f"output {sink.data_type!r}: {len(matching)} files match, where one is "
            f"wanted: {', '.join(one.name for one in matching)}"
        )
    return _along(sink, matching, datasets)


def _by_item(sink: Sink, matching: Sequence[Path]) -> dict[str, Path]:
    """Return files by the items that they are; no two are the same one."""
    named: dict[str, Path] = {}
    for one in matching:
        item = sink.pattern.item(one.name)
        if item in named:
            raise TaskError(
                f"output {sink.data_type!r}: {named[item].name!r} and {one.name!r} are "
                f"both item {item!r}; write one file for each item, or put parentheses "
                f"in 'files' around what tells them apart"
            )
        named[item] = one
    return named


def _along(
    sink: Sink, matching: Sequence[Path], datasets: Sequence[xr.Dataset]
) -> xr.Dataset:
    """Return files one after the other along the subtask dimension, with nothing changed."""
    dimension = sink.storage.dimension
    try:
        return xr.concat(
            datasets,
            dimension,
            data_vars="minimal",
            coords="minimal",
            compat="identical",
            join="exact",
            combine_attrs="identical",
        )
    except ValueError as error:
        names = ", ".join(one.name for one in matching)
        raise TaskError(
            f"output {sink.data_type!r}: {len(matching)} files match, {names}, and do not "
            f"fit one after the other along {dimension!r}: {error}; write one file, or "
            "give the data type 'kind: collection'"
        ) from error


def _files_of(entry: Path) -> list[Path]:
    """Return a file, or the files below a directory that stands for one."""
    if entry.is_symlink() or not entry.is_dir():
        return [entry]
    return sorted(p for p in entry.rglob("*") if p.is_symlink() or not p.is_dir())


def _inside(sink: Sink, directory: Path, path: Path) -> Path:
    """Return where a file really is, unless that is outside the working directory."""
    real = path.resolve()
    if not real.is_relative_to(directory.resolve()) or not real.exists():
        raise TaskError(
            f"output {sink.data_type!r}: {path.name!r} is a link to {real}, which is "
            "not in the working directory; write the file itself"
        )
    is_directory = real.is_dir() and not path.is_symlink()
    if not real.is_file() and not is_directory:
        raise TaskError(f"output {sink.data_type!r}: {path.name!r} is not a file")
    return real


def _read(sink: Sink, path: Path, files: ExitStack) -> xr.Dataset | xr.DataTree:
    reading = files.enter_context(open_file(sink.reader, path, sink.reader_options))
    for text in reading.warnings:
        warnings.warn(f"{path.name}: {text}", stacklevel=2)
    content = reading.content
    if isinstance(content, FileItem):
        raise TaskError(
            f"the reader {sink.reader!r} of output {sink.data_type!r} takes files as "
            "they are; give the data type 'kind: file', or another reader"
        )
    return content


def _one_dataset(
    sink: Sink, path: Path, content: xr.Dataset | xr.DataTree
) -> xr.Dataset:
    if isinstance(content, xr.DataTree):
        raise TaskError(
            f"output {sink.data_type!r}: {path.name!r} is read as a tree of groups, "
            "which only a collection can hold; name the group to read"
        )
    return content


def _with_dimension(sink: Sink, path: Path, dataset: xr.Dataset) -> xr.Dataset:
    dimension = sink.storage.dimension
    if not dimension or dimension in dataset.dims:
        return dataset
    return with_dimension(
        dataset, dimension, f"output {sink.data_type!r}: {path.name!r}"
    )
