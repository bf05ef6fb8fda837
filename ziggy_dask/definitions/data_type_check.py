"""What is wrong with the data types of a pipeline: places, storage, delivery."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points

from ziggy_dask.definitions.location import Location
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import DataType, Pipeline, ProductKind
from ziggy_dask.definitions.problem import Problem, compiles, pattern_problems
from ziggy_dask.errors import DefinitionError

COMPRESSIONS = ("zstd", "blosc", "none")
FILE_FORMATS = ("netcdf", "zarr")


def reader_names() -> tuple[str, ...]:
    """Return the names of all installed readers."""
    return tuple(sorted({one.name for one in entry_points(group="ziggy_dask.readers")}))


def data_type_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield what is wrong with data types, each for itself."""
    for one in pipeline.data_types:
        where = ("data_types", one.name)
        for key, location in (
            ("location", one.location),
            ("files", deeper_location(one)),
        ):
            for name in location.placeholders if location else ():
                if name not in pipeline.patterns:
                    yield Problem(
                        (*where, key),
                        f"location '{location}' uses the unknown placeholder {name!r}"
                        + suggestion(name, pipeline.patterns),
                    )
            if location:
                yield from _pins(pipeline, one, location)
        yield from _storage(one)
        yield from _delivery(one)


def deeper_location(one: DataType) -> Location | None:
    """Return where files are that lie below their product; None also if that is faulty."""
    try:
        return one.deeper
    except DefinitionError:
        return None


def _pins(pipeline: Pipeline, one: DataType, location: Location) -> Iterator[Problem]:
    for part in (part for segment in location.segments for part in segment):
        pattern = pipeline.patterns.get(part.placeholder, "")
        if part.pin is None or not pattern or not compiles(pattern):
            continue
        if re.fullmatch(pattern, part.pin) is None:
            yield Problem(
                ("data_types", one.name, "location"),
                f"location '{location}' pins {part.placeholder!r} to {part.pin!r}, "
                f"which does not match its pattern {pattern!r}",
            )


def _storage(one: DataType) -> Iterator[Problem]:
    where = ("data_types", one.name)
    if one.chunk < 1:
        yield Problem(
            (*where, "chunk"), f"chunk is {one.chunk}, but must be at least 1"
        )
    if one.chunk > 1 and not one.subtask:
        yield Problem(
            (*where, "chunk"), "chunk needs 'subtask', the dimension that is cut"
        )
    if one.chunk > 1 and one.kind is not ProductKind.ARRAY:
        yield Problem(
            (*where, "chunk"), f"a {one.kind.value} product has one item per subtask"
        )
    for dimension, size in one.chunks:
        if size < 1 or dimension == one.subtask:
            yield Problem(
                (*where, "chunks"),
                f"chunks: {dimension}: {size} is not a valid size of a stored chunk along "
                "another dimension than 'subtask' (which has 'chunk')",
            )
    if one.compression not in COMPRESSIONS:
        yield Problem(
            (*where, "compression"),
            f"unknown compression {one.compression!r}"
            + suggestion(one.compression, COMPRESSIONS),
        )


def _delivery(one: DataType) -> Iterator[Problem]:
    where = ("data_types", one.name)
    is_file = one.kind is ProductKind.FILE
    if one.files:
        yield from _files(where, one)
    if bool(one.files) is not bool(one.reader) and not (is_file and one.files):
        has, lacks = ("files", "reader") if one.files else ("reader", "files")
        yield Problem(
            (*where, has),
            f"{has!r} needs {lacks!r}: deliveries want both the pattern of the file "
            "names and the reader",
        )
    if one.reader and one.reader not in reader_names():
        yield Problem(
            (*where, "reader"),
            f"no reader is called {one.reader!r}"
            + suggestion(one.reader, reader_names()),
        )
    elif one.reader_options:
        for option, message in _option_problems(one):
            yield Problem((*where, "reader", one.reader, option), message)
    yield from _types(where, one)
    if one.file_format not in FILE_FORMATS:
        yield Problem(
            (*where, "file_format"),
            f"unknown file format {one.file_format!r}"
            + suggestion(one.file_format, FILE_FORMATS),
        )
    needs_names = one.kind is ProductKind.COLLECTION or _is_unlabelled(one)
    if one.files and needs_names and one.subtask and compiles(one.files):
        groups = re.compile(one.files).groups
        if not groups:
            yield Problem(
                (*where, "files"),
                f"{one.files!r} has no group, so files can't be told apart along "
                f"{one.subtask!r}; put parentheses around what names the item",
            )


def _is_unlabelled(one: DataType) -> bool:
    """Tell whether files can't name items themselves: images have no coordinates."""
    return one.reader == "image" and one.subtask != "page"


def _option_problems(one: DataType) -> Iterator[tuple[str, str]]:
    """Yield each option that the reader does not take, with what is wrong about it."""
    (entry,) = entry_points(group="ziggy_dask.readers", name=one.reader)
    known = inspect.signature(entry.load()).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    names = [name for name, it in known.items() if it.kind is it.KEYWORD_ONLY]
    for option, _ in one.reader_options:
        if option not in names:
            yield (
                option,
                f"the reader {one.reader!r} has no option {option!r}"
                + (suggestion(option, names) if names else "; it takes none"),
            )


def _types(where: tuple[str, ...], one: DataType) -> Iterator[Problem]:
    for variable, text in one.dtypes:
        if not _is_type(text):
            yield Problem(
                (*where, "dtypes", variable),
                f"{text!r} is not a valid type; write e.g. 'int32', 'float64', 'str' or "
                "'datetime64[ns]'",
            )


def _is_type(text: str) -> bool:
    import numpy as np

    try:
        return np.dtype(text).kind in "biufcMmU"
    except TypeError:
        return False


def _files(where: tuple[str, ...], one: DataType) -> Iterator[Problem]:
    directory, slash, name = one.files.rpartition("/")
    yield from pattern_problems((*where, "files"), name)
    if not slash:
        return
    if one.kind is not ProductKind.FILE:
        yield Problem(
            (*where, "files"),
            f"{one.files!r}: only files of 'kind: file' can be in directories below "
            "their product",
        )
    try:
        Location(directory)
    except DefinitionError as error:
        yield Problem((*where, "files"), str(error))


def place_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield data types that would have their products in the same place."""
    for number, one in enumerate(pipeline.data_types):
        for other in pipeline.data_types[:number]:
            pair = sorted((_shape(pipeline, one), _shape(pipeline, other)), key=len)
            if pair[1][: len(pair[0])] != pair[0] or _are_different_files(one, other):
                continue
            same = len(pair[0]) == len(pair[1])
            yield Problem(
                ("data_types", one.name, "location"),
                f"location '{one.location}' of {one.name!r} "
                f"{'is also that' if same else 'is nested with that'} of "
                f"{other.name!r} ('{other.location}'); each product needs its own place",
            )


def _are_different_files(one: DataType, other: DataType) -> bool:
    """Tell whether two types can share a directory, or lie within each other's."""
    if {one.kind, other.kind} != {ProductKind.FILE}:
        return False
    return (one.location, one.files) != (other.location, other.files)


def _shape(pipeline: Pipeline, one: DataType) -> tuple[str, ...]:
    """Return the location with patterns in place of placeholders' names."""
    return tuple(
        "".join(
            part.text
            or (f"{{={part.pin}}}" if part.pin is not None else "")
            or f"{{{pipeline.patterns.get(part.placeholder, part.placeholder)}}}"
            for part in segment
        )
        for segment in one.location.segments
    )
