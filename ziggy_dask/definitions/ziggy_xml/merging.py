"""What importing definition files does to the definitions that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ziggy_dask.definitions.parameters import ParameterSet
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyDirectory,
    ZiggySet,
)
from ziggy_dask.errors import DefinitionError

_NEW_ONLY = ("steps", "pipelines", "environments")
"""Definitions that an import leaves alone if they are there; an update replaces them."""
_ALWAYS = ("regexps", "file_types", "model_types", "events")
"""Definitions that are replaced either way."""


def merge_libraries(stored: Library, new: Library, *, updates: bool) -> Library:
    """Return the definitions after files were imported.

    Parameters
    ----------
    stored
        What is there.
    new
        What the files say.
    updates
        Whether definitions that are there are replaced.

    Raises
    ------
    DefinitionError
        If a partial parameter set does not fit the one that is there.
    """
    merged: dict[str, Any] = {}
    for key in _NEW_ONLY:
        first, last = (stored, new) if updates else (new, stored)
        merged[key] = {**getattr(first, key), **getattr(last, key)}
    for key in _ALWAYS:
        merged[key] = {**getattr(stored, key), **getattr(new, key)}
    merged["directories"] = _directories(stored.directories, new.directories)
    merged["parameter_sets"] = {
        **stored.parameter_sets,
        **dict(_sets(stored, new, updates=updates)),
    }
    return replace(stored, **merged)


def _directories(
    stored: Mapping[str, ZiggyDirectory], new: Mapping[str, ZiggyDirectory]
) -> dict[str, ZiggyDirectory]:
    """Return the directories; what a tree no longer lists is gone."""
    trees = {path.partition("/")[0] for path in new}
    kept = {p: one for p, one in stored.items() if p.partition("/")[0] not in trees}
    return {**kept, **new}


def _sets(
    stored: Library, new: Library, *, updates: bool
) -> Iterator[tuple[str, ZiggySet]]:
    for name, one in new.parameter_sets.items():
        before = stored.parameter_sets.get(name)
        if one.is_partial and before is None:
            raise DefinitionError(
                f"the partial parameter set {name!r} changes one that is not there"
            )
        if before is None or (updates and not one.is_partial):
            yield name, one
        elif updates:
            yield name, ZiggySet(content=overridden(before.content, one))


def overridden(content: ParameterSet, partial: ZiggySet) -> ParameterSet:
    """Return a set with the values of a partial one; types stay as they are."""
    return content.with_values(dict(partial.texts))
