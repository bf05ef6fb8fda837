"""What delivered files are: which data type, which product, which item of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ziggy_dask.definitions import ModelType, Pipeline, ProductKind
from ziggy_dask.errors import DeliveryError

MODELS = "models"
"""Directory of a delivery that holds models."""


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
    """Label of the item that it is; empty if it is the whole product.

    For a file: its path below the product."""
    key: str
    """Files with the same key belong to the same subtask."""


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
        for one in self.files:
            groups.setdefault((one.data_type, one.path), []).append(one)
        return {key: tuple(group) for key, group in groups.items()}


def sort_files(pipeline: Pipeline, names: Iterable[str]) -> SortedDelivery:
    """Find out what every file of a delivery is.

    Raises
    ------
    DeliveryError
        If a file belongs to no type, or two are the same item.
    """
    files: list[SortedFile] = []
    models: list[SortedModel] = []
    for name in names:
        if PurePosixPath(name).parts[0] == MODELS:
            models.append(_sort_model(pipeline, name))
        else:
            files.append(_sort_file(pipeline, name))
    _refuse_clashes(files)
    return SortedDelivery(files=tuple(files), models=tuple(models))


def _sort_file(pipeline: Pipeline, name: str) -> SortedFile:
    receivable = pipeline.delivered
    for one in receivable:
        depth = len(one.location.segments)
        parts = name.split("/")
        path, below = "/".join(parts[:depth]), "/".join(parts[depth:])
        if one.location.match(path, pipeline.patterns) is None:
            continue
        found = one.file_pattern(pipeline.patterns).match(below)
        if found is not None:
            key = found.key
            if one.kind is ProductKind.COLLECTION:
                key = key or below
            item = below if one.kind is ProductKind.FILE else key
            return SortedFile(
                name=name, data_type=one.name, path=path, item=item, key=key
            )
    places = "; ".join(f"'{d.location}/{d.files}' ({d.name})" for d in receivable)
    raise DeliveryError(
        f"the delivered file {name!r} belongs to no data type of pipeline "
        f"{pipeline.name!r}, which takes: {places or 'nothing'}"
    )


def _sort_model(pipeline: Pipeline, name: str) -> SortedModel:
    parts = PurePosixPath(name).parts
    for one in pipeline.model_types:
        if len(parts) == 2 and matches_model(one, parts[1]):
            return SortedModel(name=name, model_type=one.name)
    known = ", ".join(f"'{one.files}' ({one.name})" for one in pipeline.model_types)
    raise DeliveryError(
        f"the delivered model {name!r} belongs to no model type of pipeline "
        f"{pipeline.name!r}, which takes, directly in 'models': {known or 'nothing'}"
    )


def matches_model(model_type: ModelType, file_name: str) -> bool:
    """Tell whether a file name is that of a model of some type."""
    return re.fullmatch(model_type.files, file_name) is not None


def _refuse_clashes(files: Iterable[SortedFile]) -> None:
    seen: dict[tuple[str, str], SortedFile] = {}
    for one in files:
        other = seen.setdefault((one.path, one.item), one)
        if other is not one:
            what = f"item {one.item!r} of '{one.path}'" if one.item else f"'{one.path}'"
            raise DeliveryError(
                f"the delivered files {other.name!r} and {one.name!r} are both {what}"
            )
