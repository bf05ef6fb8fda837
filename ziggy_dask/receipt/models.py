"""Names and revisions of instrument models.

Model files never replace each other: where a file name has no version of its own,
the name in the datastore is given a date and a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from ziggy_dask.definitions import ModelType
from ziggy_dask.definitions.matching import fullmatch
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
    imported: str = ""
    """Date of the import, as year-month-day."""
    valid_from: str = ""
    """First time of observation at which it applies; empty: always."""
    valid_until: str = ""
    """Last one; empty: until another one begins."""


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
    named = sorted(
        (_group(model_type, model_type.version_group, name), name)
        for name in file_names
    )
    told_apart = {(version, *_validity(model_type, name)) for version, name in named}
    if len(told_apart) < len(named):
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


def applicable(
    model_type: ModelType, versions: Sequence[ModelVersion], values: Mapping[str, str]
) -> ModelVersion | None:
    """Return the version of a model that applies to a unit of work.

    Parameters
    ----------
    model_type
        Its type.
    versions
        All versions, in the order of their import.
    values
        Placeholder values of the unit of work.

    Returns
    -------
    ModelVersion or None
        The newest one, if the type does not depend on the time of observation. If it
        does, of those that apply the one that begins last, and of these the newest.
    """
    if not model_type.observed:
        return versions[-1] if versions else None
    time = moment(values[model_type.observed])
    chosen: ModelVersion | None = None
    for one in versions:
        begins = moment(one.valid_from)
        ends = moment(one.valid_until)
        applies = begins <= time and (not ends or time[: len(ends)] <= ends)
        if applies and (chosen is None or begins >= moment(chosen.valid_from)):
            chosen = one
    return chosen


def moment(text: str) -> tuple[float, ...]:
    """Return a text that tells a time as numbers that sort like times.

    Examples
    --------
    >>> moment("2024-03-01")
    (2024.0, 3.0, 1.0)
    >>> moment("sector-0012"), moment("59000.25")
    ((12.0,), (59000.25,))
    """
    return tuple(float(piece) for piece in re.findall(r"\d+(?:\.\d+)?", text))


def _validity(model_type: ModelType, name: str) -> tuple[str, str]:
    valid_from = _group(model_type, model_type.valid_from_group, name)
    valid_until = _group(model_type, model_type.valid_until_group, name)
    if model_type.observed and not moment(valid_from):
        raise DeliveryError(
            f"model {name!r} does not say from when on it applies: {valid_from!r} "
            "holds no number"
        )
    return valid_from, valid_until


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
    valid_from, valid_until = _validity(model_type, name)
    return ModelVersion(
        original=name,
        stored=f"{day}{number}{name}",
        revision=revision,
        imported=today.isoformat(),
        valid_from=valid_from,
        valid_until=valid_until,
    )


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


def _group(model_type: ModelType, group: int, name: str) -> str:
    """Return what a capture group holds in a file name; without the group, nothing."""
    if group < 1:
        return ""
    found = fullmatch(model_type.files, name)
    return (found[group] or "") if found else ""


def _order(model_type: ModelType, version: str) -> tuple[int, ...]:
    try:
        pieces = version.split(".") if model_type.semantic_version else [version]
        return tuple(int(piece) for piece in pieces)
    except ValueError:
        raise DeliveryError(
            f"version {version!r} of model type {model_type.name!r} is not a number"
            + (" of the form 1.2.3" if model_type.semantic_version else "")
        ) from None
