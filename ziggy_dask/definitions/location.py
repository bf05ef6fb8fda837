"""Where products live: paths with named placeholders, such as ``{sector}/L0``.

A placeholder stands for a regular expression that a whole part of a path must
match; it may be pinned to one value with ``{camera=1}``. Locations find units of
work in the datastore and name the places where outputs go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ziggy_dask.definitions.matching import fullmatch
from ziggy_dask.errors import DefinitionError

_PART = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:=([^{}]*))?\}|([^{}]+)|([{}])")
_LITERAL = re.compile(r"[^\s/\\\x00-\x1f{}][^/\\\x00-\x1f{}]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of one path segment: literal text, or a placeholder."""

    text: str = ""
    """Literal text; empty for a placeholder."""
    placeholder: str = ""
    """Name of the placeholder; empty for literal text."""
    pin: str | None = None
    """The one value that a pinned placeholder takes."""


@dataclass(frozen=True, slots=True)
class Location:
    """A path in the datastore with placeholders.

    Parameters
    ----------
    template
        Segments separated by ``/``; in each, literal text and placeholders.

    Raises
    ------
    DefinitionError
        If the template is not well formed.

    Examples
    --------
    >>> place = Location("{dataset}/L0")
    >>> place.fill({"dataset": "set-1"})
    'set-1/L0'
    >>> place.match("set-1/L0", {"dataset": "set-[0-9]"})
    {'dataset': 'set-1'}
    """

    template: str

    def __post_init__(self) -> None:
        """Refuse templates that are not well formed."""
        parse(self.template)

    def __str__(self) -> str:
        """Return the template."""
        return self.template

    @property
    def segments(self) -> tuple[tuple[Part, ...], ...]:
        """The parts of each path segment, from the root."""
        return parse(self.template)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names of all placeholders, in order of appearance."""
        parts = (part for segment in self.segments for part in segment)
        return tuple(dict.fromkeys(p.placeholder for p in parts if p.placeholder))

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the placeholders that are not pinned, in order."""
        parts = (part for segment in self.segments for part in segment)
        return tuple(
            dict.fromkeys(
                p.placeholder for p in parts if p.placeholder and p.pin is None
            )
        )

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the path for `values`; pinned placeholders take their pin.

        Raises
        ------
        DefinitionError
            If `values` lacks a placeholder that is not pinned.
        """
        segments = []
        for segment in self.segments:
            text = ""
            for part in segment:
                if part.placeholder and part.pin is None:
                    if part.placeholder not in values:
                        raise DefinitionError(
                            f"location '{self.template}' needs a value for "
                            f"'{{{part.placeholder}}}', which its inputs do not give"
                        )
                    text += values[part.placeholder]
                else:
                    text += part.pin if part.pin is not None else part.text
            segments.append(text)
        return "/".join(segments)

    def match(self, path: str, patterns: Mapping[str, str]) -> dict[str, str] | None:
        """Return the placeholder values for which this location is `path`, or None."""
        expression = _compile(self.template, tuple(sorted(patterns.items())))
        found = fullmatch(expression.pattern, path)
        if found is None:
            return None
        return {name: found[f"p_{name}"] for name in self.placeholders}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMatch:
    """What the path of a file, below its product, tells."""

    key: str
    """Files with the same key belong to the same subtask."""
    values: Mapping[str, str]
    """Values of the placeholders in the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePattern:
    """Which files below a product are of one data type, and what sets them apart."""

    deeper: str
    """Template of the directory below the product; empty: the product itself."""
    name: str
    """Expression that the whole file name must match; empty: any."""
    patterns: tuple[tuple[str, str], ...]
    """Expressions of the placeholders, by name."""

    @property
    def depth(self) -> int:
        """How many directories down the files are."""
        return len(parse(self.deeper)) if self.deeper else 0

    def match(self, path: str) -> FileMatch | None:
        """Return what the path of a file below the product tells, or None.

        Notes
        -----
        As in the original, files belong together if the values of placeholders in
        their directories and all groups of the expression agree; without any of
        them, all files do. Where there is no expression, each file is alone. Unlike
        there, several parts are kept apart: ``1`` and ``12`` are not ``11`` and ``2``.
        """
        directory, _, name = path.rpartition("/")
        values = self._directory(directory)
        found = fullmatch(self.name or "(.+)", name, re.DOTALL)
        if values is None or found is None:
            return None
        free = Location(self.deeper).free if self.deeper else ()
        parts = [*(values[one] for one in free), *found.groups()]
        return FileMatch(key=joined(parts), values=values)

    def matches_name(self, name: str) -> bool:
        """Tell whether a file name, whatever its directory, is of the type."""
        return fullmatch(self.name or "(.+)", name, re.DOTALL) is not None

    def item(self, name: str) -> str:
        """Return what the groups of the expression find in a name, or the name."""
        found = fullmatch(self.name or "(.+)", name, re.DOTALL)
        return joined(found.groups() if found else ()) or name

    def place(self, values: Mapping[str, str], name: str) -> str:
        """Return the path below the product of a file with a name."""
        return f"{Location(self.deeper).fill(values)}/{name}" if self.deeper else name

    def _directory(self, directory: str) -> dict[str, str] | None:
        if not self.deeper:
            return None if directory else {}
        return Location(self.deeper).match(directory, dict(self.patterns))


def joined(parts: Sequence[str | None]) -> str:
    """Return one text for several, such that others give another one.

    A single part stays as it is. Parts that are None did not take part; those at the
    end are left out.

    Examples
    --------
    >>> joined(["1", "12"]), joined(["11", "2"]), joined(["frame-3"]), joined([])
    ('1+12', '11+2', 'frame-3', '')
    >>> joined(["a", None]), joined([None, "a"]), joined(["a+b", "c"])
    ('a', '+a', 'a%2Bb+c')
    """
    if len(parts) == 1:
        return parts[0] or ""
    texts = [(part or "").replace("%", "%25").replace("+", "%2B") for part in parts]
    while texts and not texts[-1]:
        texts.pop()
    return "+".join(texts)


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[tuple[Part, ...], ...]:
    """Split a location template into the parts of its segments."""
    if not template:
        raise DefinitionError("a location can't be empty; write e.g. '{dataset}/L0'")
    return tuple(_parse_segment(template, segment) for segment in template.split("/"))


def _parse_segment(template: str, segment: str) -> tuple[Part, ...]:
    if segment in ("", ".", ".."):
        raise DefinitionError(
            f"location '{template}' has an empty segment, '.' or '..'; "
            "a location is relative, with single slashes, e.g. '{dataset}/L0'"
        )
    parts: list[Part] = []
    for name, pin, text, brace in (m.groups() for m in _PART.finditer(segment)):
        if brace:
            raise DefinitionError(
                f"location '{template}' has an unpaired '{brace}' or a bad placeholder "
                f"in '{segment}'; a placeholder is an identifier, e.g. '{{dataset}}'"
            )
        if text is not None and _LITERAL.fullmatch(text) is None and not parts:
            raise DefinitionError(
                f"location '{template}' has white space or a control character at "
                f"the start of '{segment}'"
            )
        parts.append(Part(text=text or "", placeholder=name or "", pin=pin))
    return tuple(parts)


@lru_cache(maxsize=4096)
def _compile(template: str, patterns: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    known = dict(patterns)
    seen: set[str] = set()
    expression = ""
    for number, segment in enumerate(parse(template)):
        expression += "/" if number else ""
        for part in segment:
            if not part.placeholder:
                expression += re.escape(part.text)
            elif part.placeholder in seen:
                expression += f"(?P=p_{part.placeholder})"
            else:
                seen.add(part.placeholder)
                body = known.get(part.placeholder, "[^/]+")
                body = re.escape(part.pin) if part.pin is not None else body
                expression += f"(?P<p_{part.placeholder}>{body})"
    return re.compile(expression)
