"""What differs between two states of the datastore: what was run, and the values."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ziggy_dask.datastore.comparing import Difference, compare
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError, RecordsError
from ziggy_dask.interface.states_at import When, number_at, snapshot_of
from ziggy_dask.records.code import Kind, load_code
from ziggy_dask.records.reasons import Used, differences, used_by
from ziggy_dask.records.versions import Version, as_of, known_paths, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A product that differs between two states."""

    path: str
    """The product."""
    first: int | None
    """Number of its version in the first state; None: it is not there."""
    second: int | None
    """Number of its version in the second state; None: it is not there."""
    made_with: tuple[str, ...]
    """What differs in what it was made with: parameters, models, code, environment."""
    values: tuple[Difference, ...]
    """What differs in its values; empty: nothing, or that was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDifference:
    """What differs between two states of the datastore."""

    products: tuple[Changed, ...]
    """The products that have another version, or are in one of them alone."""
    same: int
    """So many products have the same version in both."""
    definitions: tuple[str, ...]
    """Lines that say what differs in the definitions of nodes, as ``diff -u`` has them."""
    code: tuple[str, ...]
    """Lines that say what differs in the code, as ``diff -u`` has them."""
    packages: tuple[str, ...]
    """Packages of other versions, where subtasks ran."""


def difference_of(
    site: OpenCluster,
    first: When,
    second: When,
    paths: Sequence[str],
    *,
    with_values: bool,
) -> StateDifference:
    """Return what differs between two states of the datastore.

    Raises
    ------
    DatastoreError
        If a product is in neither of them.
    """
    numbers = number_at(site, first), number_at(site, second)
    snapshots = snapshot_of(site, first), snapshot_of(site, second)
    known = known_paths(site.database)
    for path in paths:
        if path not in known:
            raise DatastoreError(
                f"the datastore never had a product at '{path}'{suggestion(path, known)}"
            )
    pairs: dict[str, tuple[Version | None, Version | None]] = {}
    for path in paths or known:
        versions = versions_of(site.database, path)
        pair = _there(versions, numbers[0]), _there(versions, numbers[1])
        if pair != (None, None):
            pairs[path] = pair
    differing = {
        path: pair
        for path, pair in pairs.items()
        if pair[0] is None or pair[1] is None or pair[0].number != pair[1].number
    }
    versions = [one for pair in differing.values() for one in pair if one is not None]
    used = used_by(site.database, versions)
    products = []
    before: dict[tuple[Kind, str], Used] = {}
    after: dict[tuple[Kind, str], Used] = {}
    for path, (old, new) in differing.items():
        was = used.get(old.key, []) if old else []
        now = used.get(new.key, []) if new else []
        values: list[Difference] = []
        if old and new:
            before.update({(u.kind, u.name): u for u in was if u.kind in _TOLD})
            after.update({(u.kind, u.name): u for u in now if u.kind in _TOLD})
            if with_values:
                one, other = (site.repository.session_of(path, s) for s in snapshots)
                values = list(compare(one, other, path))
        products.append(
            Changed(
                path=path,
                first=old.number if old else None,
                second=new.number if new else None,
                made_with=tuple(differences(was, now)) if old and new else (),
                values=tuple(values),
            )
        )
    return StateDifference(
        products=tuple(products),
        same=len(pairs) - len(differing),
        definitions=tuple(_definitions(before, after)),
        code=tuple(_code(site, before, after)),
        packages=tuple(_packages(before, after)),
    )


_TOLD = (Kind.NODE, Kind.CODE, Kind.ENVIRONMENT)
_Some = Mapping[tuple[Kind, str], Used]


def _there(versions: Sequence[Version], number: int) -> Version | None:
    found = as_of(versions, number)
    return None if found is None or found.is_removal else found


def _definitions(before: _Some, after: _Some) -> Iterator[str]:
    for key in sorted(before.keys() & after.keys(), key=lambda one: one[1]):
        if key[0] is Kind.NODE and before[key].digest != after[key].digest:
            yield from difflib.unified_diff(
                _lines(before[key].content),
                _lines(after[key].content),
                f"node {key[1]}",
                f"node {key[1]}",
                lineterm="",
                n=0,
            )


def _lines(content: Any) -> list[str]:
    """Return a definition as lines of text, one for each value."""
    if not isinstance(content, Mapping):
        return [str(content)]
    return [f"{name}: {value}" for name, value in sorted(content.items())]


def _code(site: OpenCluster, before: _Some, after: _Some) -> Iterator[str]:
    old = {one.digest for key, one in before.items() if key[0] is Kind.CODE}
    new = {one.digest for key, one in after.items() if key[0] is Kind.CODE}
    for was, now in zip(sorted(old - new), sorted(new - old), strict=False):
        try:
            files = [
                {
                    one.path: one.content
                    for one in load_code(site.database, digest).files
                }
                for digest in (was, now)
            ]
        except RecordsError as error:
            yield str(error)
            continue
        for path in sorted(files[0].keys() | files[1].keys()):
            one, other = (some.get(path, b"") for some in files)
            if one != other:
                yield from difflib.unified_diff(
                    one.decode("utf-8", "replace").splitlines(),
                    other.decode("utf-8", "replace").splitlines(),
                    f"{was[:12]}/{path}",
                    f"{now[:12]}/{path}",
                    lineterm="",
                )


def _packages(before: _Some, after: _Some) -> Iterator[str]:
    was, now = (_environment(some) for some in (before, after))
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"{name} {was.get(name, '-')} → {now.get(name, '-')}"


def _environment(some: _Some) -> dict[str, str]:
    found: dict[str, str] = {}
    for (kind, _), one in some.items():
        if kind is Kind.ENVIRONMENT and one.content:
            found |= {"python": one.content.get("python", "-")}
            found |= one.content.get("packages", {})
    return found
