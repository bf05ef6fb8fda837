"""Units of work: which chunks of the datastore a node works on.

The products that exist, or will exist, at the locations of a node's inputs are
joined where their free placeholders agree. Each row of the join is a unit of
work, named by the placeholders that differ between the units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import Location
from ziggy_dask.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The chunk of the datastore that one task is in charge of."""

    name: str
    """Values that tell it from the others, e.g. ``[set-1;ffi]``, or ``[Single]``."""
    values: tuple[tuple[str, str], ...]
    """Placeholder values, by name; those on which its inputs agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A product that can be read: stored already, or to be made by a task."""

    path: str
    """Where it is."""
    values: Mapping[str, str]
    """Placeholder values of its location."""
    labels: Labels | None
    """Its items; None: one whole, or not known before it is stored."""
    task: int | None = None
    """Index of the planned task that makes it; None: it is stored."""
    labels_known: bool = True
    """Whether `labels` is final."""
    misfit: str = ""
    """Why it can't be read, though it is stored; empty: it can."""
    look: Callable[[], Labels | None] | None = None
    """Reads its items, if nobody has needed them yet; None: `labels` has them."""

    def seen(self) -> Holding:
        """Return it with its items."""
        if self.look is None:
            return self
        return replace(self, labels=self.look(), look=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A choice of units of work: expressions on placeholder values."""

    include: tuple[tuple[str, str], ...] = ()
    """Placeholder name and regular expression that the value must match."""
    exclude: tuple[tuple[str, str], ...] = ()
    """Placeholder name and regular expression that the value must not match."""

    @property
    def is_choice(self) -> bool:
        """Whether it has conditions."""
        return bool(self.include or self.exclude)

    def accepts(self, values: Mapping[str, str]) -> bool:
        """Tell whether placeholder values are among the chosen ones."""
        return all(
            name not in values or re.fullmatch(pattern, values[name])
            for name, pattern in self.include
        ) and not any(
            name in values and re.fullmatch(pattern, values[name])
            for name, pattern in self.exclude
        )

    @classmethod
    def parse(
        cls, include: Iterable[str], exclude: Iterable[str], known: Iterable[str]
    ) -> Where:
        """Read texts of the form ``name=expression``.

        Raises
        ------
        DefinitionError
            If a text has another form, an unknown name or a bad expression.
        """
        names = sorted(known)
        for texts in (include, exclude):
            if isinstance(texts, str):
                raise DefinitionError(f"write a list, as in [{texts!r}]")
        return cls(
            include=tuple(_condition(text, names) for text in include),
            exclude=tuple(_condition(text, names) for text in exclude),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One way to bring the inputs of a node together."""

    values: dict[str, str] = field(default_factory=dict)
    """Values of free placeholders."""
    holdings: tuple[Holding, ...] = ()
    """One product per input."""


def join_holdings(
    locations: Sequence[Location], holdings: Sequence[Sequence[Holding]], where: Where
) -> list[Row]:
    """Join the products of several inputs where their free placeholders agree."""
    rows = [Row()]
    for location, candidates in zip(locations, holdings, strict=True):
        chosen = [one for one in candidates if where.accepts(one.values)]
        shared = [n for n in location.free if rows and n in rows[0].values]
        by_shared: dict[tuple[str, ...], list[Holding]] = {}
        for one in chosen:
            key = tuple(one.values[name] for name in shared)
            by_shared.setdefault(key, []).append(one)
        rows = [
            Row(
                row.values | {name: one.values[name] for name in location.free},
                (*row.holdings, one),
            )
            for row in rows
            for one in by_shared.get(tuple(row.values[name] for name in shared), [])
        ]
    return rows


def name_units(
    locations: Sequence[Location], rows: Sequence[Row]
) -> list[tuple[Unit, Row]]:
    """Return the units of work of joined rows, sorted by name.

    Notes
    -----
    As in the original: with several units, the values that differ; with one, all
    values of free placeholders; without any, ``[Single]``.
    """
    names = list(dict.fromkeys(n for location in locations for n in location.free))
    if len(rows) > 1:
        names = [n for n in names if len({row.values[n] for row in rows}) > 1]
    named = []
    for row in rows:
        text = ";".join(row.values[n] for n in names)
        unit = Unit(
            name=f"[{text or 'Single'}]", values=tuple(sorted(_agreed(row).items()))
        )
        named.append((unit, row))
    return sorted(named, key=lambda pair: (pair[0].name, pair[0].values))


def _agreed(row: Row) -> dict[str, str]:
    """Return all placeholder values, pinned ones too, on which the inputs agree."""
    values: dict[str, str] = {}
    disputed = set()
    for holding in row.holdings:
        for name, value in holding.values.items():
            if values.setdefault(name, value) != value:
                disputed.add(name)
    return {name: value for name, value in values.items() if name not in disputed}


def _condition(text: str, names: Sequence[str]) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not equals or name not in names:
        raise DefinitionError(
            f"{text!r} chooses no units of work; write 'name=expression' with one of: "
            + (", ".join(names) or "(this pipeline has no placeholders)")
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise DefinitionError(
            f"{text!r}: {pattern!r} is not a valid regular expression: {error.msg}"
        ) from error
    return name, pattern
