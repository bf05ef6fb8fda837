"""Names and revisions of instrument models.

Model files never replace each other: where a file name has no version of its own,
the name in the datastore is given a date and a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ziggy_dask.definitions import ModelType
from ziggy_dask.errors import DeliveryError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A version of a model."""

    original: str
    """File name as it was delivered, under which algorithms see it."""
    stored: str
    """File name in the datastore."""
    revision: str
    """Version text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model type, with the version that is current."""

    model_type: str
    """Name of the model type."""
    current: ModelVersion
    """The version that algorithms get."""


def name_models(
    model_type: ModelType,
    current: ModelVersion | None,
    file_names: Sequence[str],
    today: date,
) -> tuple[ModelVersion, ...]:
    """Return the versions that some delivered files become, the current one last.

    Parameters
    ----------
    model_type
        Their type.
    current
        The version that is current; None: there is none.
    file_names
        Names of the delivered files; all match the type.
    today
        Date of the import.

    Raises
    ------
    DeliveryError
        If a version is not greater than the one before, or files can't be told
        apart.
    """
    named = sorted((_version_text(model_type, name), name) for name in file_names)
    if len({version for version, _ in named}) < len(named):
        raise DeliveryError(
            f"the delivery has {len(named)} files of model type {model_type.name!r} of "
            f"one version: {', '.join(sorted(file_names))}"
        )
    if model_type.version_group > 0:
        named.sort(key=lambda pair: _order(model_type, pair[0]))
    made: list[ModelVersion] = []
    for version, name in named:
        before = made[-1] if made else current
        made.append(_named(model_type, before, version, name, today))
    return tuple(made)


def _named(
    model_type: ModelType,
    before: ModelVersion | None,
    version: str,
    name: str,
    today: date,
) -> ModelVersion:
    if model_type.version_group > 0:
        _require_greater(model_type, before, version, name)
        revision, number = version, ""
    else:
        revision = str(int(before.revision) + 1) if before else "1"
        number = f"{int(revision):04d}-"
    day = "" if model_type.timestamp_group > 0 else f"{today.isoformat()}."
    return ModelVersion(original=name, stored=f"{day}{number}{name}", revision=revision)


def _require_greater(
    model_type: ModelType, before: ModelVersion | None, version: str, name: str
) -> None:
    if before is None:
        return
    if _order(model_type, version) <= _order(model_type, before.revision):
        raise DeliveryError(
            f"model {name!r} is of version {version}, but version {before.revision} of "
            f"{model_type.name!r} is here already; a new version must be greater"
        )


def _version_text(model_type: ModelType, name: str) -> str:
    if model_type.version_group < 1:
        return ""
    found = re.fullmatch(model_type.files, name)
    return found[model_type.version_group] if found else ""


def _order(model_type: ModelType, version: str) -> tuple[int, ...]:
    try:
        pieces = version.split(".") if model_type.semantic_version else [version]
        return tuple(int(piece) for piece in pieces)
    except ValueError:
        raise DeliveryError(
            f"version {version!r} of model type {model_type.name!r} is no number"
            + (" of the form 1.2.3" if model_type.semantic_version else "")
        ) from None
