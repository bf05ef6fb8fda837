"""What delivered files are: which data type, which product, which item of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ziggy_dask.definitions import DataType, ModelType, Pipeline, ProductKind
from ziggy_dask.definitions.matching import fullmatch
from ziggy_dask.errors import DeliveryError

MODELS = "models"
"""Directory of a delivery that holds models."""
_SINGLE_FILES = ("image", "csv", "parquet", "netcdf", "fits", "geotiff", "bytes")
"""Readers that take no directories."""
_MOST_TOLD = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedFile:
    """A delivered file that belongs to a data type."""

    name: str
    """Path relative to the delivery."""
    data_type: str
    """Name of the data type."""
    path: str
    """Product that it goes into."""
    item: str
    """Label of the item that it is; empty if it is the whole product, or brings labels.

    For a file: its path below the product."""
    key: str
    """Files with the same key belong to the same subtask."""
    members: tuple[str, ...] = ()
    """If it is a directory that is read as one: the files in it."""

    @property
    def files(self) -> tuple[str, ...]:
        """The delivered files that it is made of."""
        return self.members or (self.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedModel:
    """A delivered file that is a model."""

    name: str
    """Path relative to the delivery."""
    model_type: str
    """Name of the model type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedDelivery:
    """All files of a delivery."""

    files: tuple[SortedFile, ...]
    """Those that hold data."""
    models: tuple[SortedModel, ...]
    """Those that are models."""

    @property
    def products(self) -> Mapping[tuple[str, str], tuple[SortedFile, ...]]:
        """The data files by data type and path of product."""
        groups: dict[tuple[str, str], list[SortedFile]] = {}
        for file in self.files:
            groups.setdefault((file.data_type, file.path), []).append(file)
        return {key: tuple(group) for key, group in groups.items()}


def sort_files(pipeline: Pipeline, names: Iterable[str]) -> SortedDelivery:
    """Find out what every file of a delivery is.

    Raises
    ------
    DeliveryError
        If files belong to no type, or several are the same item; with all of them.
    """
    files: dict[str, SortedFile] = {}
    models: list[SortedModel] = []
    faults: dict[str, str] = {}
    for name in names:
        try:
            if PurePosixPath(name).parts[0] == MODELS:
                models.append(_sort_model(pipeline, name))
                continue
            file = _sort_file(pipeline, name)
        except DeliveryError as error:
            faults[name] = str(error)
            continue
        known = files.get(file.name, file)
        members = (*known.members, *file.members) if known is not file else file.members
        files[file.name] = replace(file, members=members)
    faults |= _clashes(pipeline, files.values())
    if faults:
        raise refusal(faults)
    return SortedDelivery(files=tuple(files.values()), models=tuple(models))


def refusal(faults: Mapping[str, str]) -> DeliveryError:
    """Return the error that names all faults of a delivery, by file.

    Examples
    --------
    >>> print(refusal({"a.png": "the delivered file 'a.png' is not an image", "b.png": "b"}))
    2 files can't be taken in:
      the delivered file 'a.png' is not an image
      'b.png': b
    """
    texts = [
        text if name in text else f"{name!r}: {text}" for name, text in faults.items()
    ]
    if len(texts) == 1:
        return DeliveryError(texts[0], faults)
    shown = [f"  {text}" for text in texts[:_MOST_TOLD]]
    if len(texts) > _MOST_TOLD:
        shown.append(f"  and {len(texts) - _MOST_TOLD} more")
    head = f"{len(texts)} files can't be taken in:"
    return DeliveryError("\n".join([head, *shown]), faults)


def _sort_file(pipeline: Pipeline, name: str) -> SortedFile:
    receivable = pipeline.delivered
    for data_type in receivable:
        found = _as_one(pipeline, data_type, name)
        if found is not None:
            return found
    parts = name.split("/")
    for depth in range(1, len(parts)):
        for data_type in receivable:
            if data_type.reader in _SINGLE_FILES or data_type.kind is ProductKind.FILE:
                continue
            found = _as_one(pipeline, data_type, "/".join(parts[:depth]))
            if found is not None:
                return replace(found, members=(name,))
    places = "; ".join(f"'{d.location}/{d.files}' ({d.name})" for d in receivable)
    raise DeliveryError(
        f"the delivered file {name!r} belongs to no data type of pipeline "
        f"{pipeline.name!r}, which takes: {places or 'nothing'}"
    )


def _as_one(pipeline: Pipeline, data_type: DataType, name: str) -> SortedFile | None:
    """Return a file as one of some type, or None if it is not."""
    depth = len(data_type.location.segments)
    parts = name.split("/")
    path, below = "/".join(parts[:depth]), "/".join(parts[depth:])
    if data_type.location.match(path, pipeline.patterns) is None:
        return None
    found = data_type.file_pattern(pipeline.patterns).match(below)
    if found is None:
        return None
    key = found.key
    if data_type.kind is ProductKind.COLLECTION:
        key = key or below
    item = below if data_type.kind is ProductKind.FILE else key
    if data_type.kind is ProductKind.ARRAY and not data_type.subtask:
        item = ""
    return SortedFile(
        name=name, data_type=data_type.name, path=path, item=item, key=key
    )


def _sort_model(pipeline: Pipeline, name: str) -> SortedModel:
    parts = PurePosixPath(name).parts
    for model_type in pipeline.model_types:
        if len(parts) == 2 and matches_model(model_type, parts[1]):
            return SortedModel(name=name, model_type=model_type.name)
    known = ", ".join(f"'{one.files}' ({one.name})" for one in pipeline.model_types)
    raise DeliveryError(
        f"the delivered model {name!r} belongs to no model type of pipeline "
        f"{pipeline.name!r}, which takes, directly in 'models': {known or 'nothing'}"
    )


def matches_model(model_type: ModelType, file_name: str) -> bool:
    """Tell whether a file name is that of a model of some type."""
    return fullmatch(model_type.files, file_name) is not None


def _clashes(pipeline: Pipeline, files: Iterable[SortedFile]) -> dict[str, str]:
    """Return what is wrong with files that are the same item as another one."""
    seen: dict[tuple[str, str], SortedFile] = {}
    faults: dict[str, str] = {}
    for file in files:
        data_type = pipeline.types[file.data_type]
        if data_type.is_series:
            continue
        first = seen.setdefault((file.path, file.item), file)
        if first is file:
            continue
        where = (
            f"item {file.item!r} of '{file.path}'" if file.item else f"'{file.path}'"
        )
        fix = (
            ""
            if data_type.has_items
            else f"; {data_type.name!r} is an array without items: give it 'subtask', the "
            "dimension along which files follow each other, or 'kind: collection'"
        )
        faults[file.name] = (
            f"the delivered files {first.name!r} and {file.name!r} are both {where}{fix}"
        )
    return faults
