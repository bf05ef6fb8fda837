"""JSON schemas of definition files, for editors: what the readers ask for is the schema.

A `_Probe` stands where a reader expects a `Section`. It has nothing, answers every
question with a default, and notes what was asked. What a reader asks can depend on what
the file has, so it is read several times, each time with one thing more in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from ziggy_dask.definitions.cluster import STORE_OPTIONS, cluster_of
from ziggy_dask.definitions.compute import KINDS
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.section import Document, Section
from ziggy_dask.definitions.text import parameter_set_of, pipeline_of
from ziggy_dask.errors import DefinitionError

E = TypeVar("E", bound=Enum)
T = TypeVar("T")
Place = tuple[str, ...]
Shape = dict[str, Any]

_ANY: Final = "*"
"""Stands for every name that users choose."""
_TEXT: Final[Shape] = {"type": ["string", "number"]}
_VALUE: Final[Shape] = {"type": ["string", "number", "boolean", "null"]}


@dataclass
class _Asked:
    """What readers asked for, by place."""

    shapes: dict[Place, list[Shape]] = field(default_factory=lambda: defaultdict(list))
    """Of values; a section is there with no shape."""
    branches: set[Place] = field(default_factory=set)
    """What a reader asked whether it is there, or whether it is a mapping."""
    needed: dict[Place, set[str]] = field(default_factory=dict)
    """Keys of a section without default, in every reading of it."""

    def take(self, place: Place, shape: Shape) -> None:
        """Note a shape that is not known yet."""
        if shape not in self.shapes[place]:
            self.shapes[place].append(shape)

    def end_reading(self, opened: Mapping[Place, set[str]]) -> None:
        """Keep as needed what this reading needed as well."""
        for place, keys in opened.items():
            self.needed[place] = self.needed.get(place, keys) & keys


class _Probe(Section):
    """A section with nothing in it but one assumed place, which notes what is asked."""

    def __init__(
        self,
        asked: _Asked,
        where: Place,
        assumed: Mapping[Place, str],
        opened: dict[Place, set[str]],
    ) -> None:
        super().__init__(Document("schema"), where, None)
        self._asked_for = asked
        self._assumed = assumed
        self._opened = opened
        opened.setdefault(where, set())

    def __contains__(self, key: str) -> bool:
        self._asked_for.branches.add((*self.where, key))
        return self._has(key)

    def is_mapping(self, key: str) -> bool:
        return key in self

    def names(self) -> tuple[str, ...]:
        assumed = [
            place[len(self.where)]
            for place in self._assumed
            if place[:-1] == self.where and place[-1] in KINDS
        ]
        return (*assumed, _ANY)

    def done(self) -> None:
        pass

    def fault(self, key: str, message: str) -> None:
        pass

    def refuse_zero(self, *keys: str) -> None:
        pass

    def text(self, key: str, default: str | None = None) -> str:
        text = self._note(key, _TEXT, default, "x")
        return self._assumed.get((*self.where, key)) or text

    def integer(self, key: str, default: int | None = None) -> int:
        return self._note(key, {"type": "integer"}, default, 1)

    def number(self, key: str, default: float | None = None) -> float:
        return self._note(key, {"type": "number"}, default, 1.0)

    def size(self, key: str, default: str = "0") -> int:
        return self._note(key, _TEXT, 0, 0)

    def duration(self, key: str, default: float = 0.0) -> float:
        return self._note(key, _TEXT, default, 0.0)

    def flag(self, key: str, default: bool = False) -> bool:
        return self._note(key, {"type": "boolean"}, default, False)

    def choice(self, key: str, default: E, *, needed: bool = False) -> E:
        words = [member.value for member in type(default)]
        return self._note(key, {"enum": words}, None if needed else default, default)

    def texts(self, key: str) -> tuple[str, ...]:
        self.plain(key)
        return ()

    def plain(self, key: str) -> object:
        self._note(key, _VALUE, 0, 0)
        self._note(key, {"type": "array", "items": _VALUE}, 0, 0)
        return "x"

    def tree(self, key: str) -> dict[str, object]:
        self._note(key, {"type": ["object", "null"]}, 0, 0)
        return {}

    def section(self, key: str) -> Section:
        place = (*self.where, key)
        self._asked_for.shapes[place]
        return _Probe(self._asked_for, place, self._assumed, self._opened)

    def _has(self, key: str) -> bool:
        place = (*self.where, key)
        return any(one[: len(place)] == place for one in self._assumed)

    def _note(self, key: str, shape: Shape, default: T | None, harmless: T) -> T:
        self._asked_for.take((*self.where, key), shape)
        if default is None:
            self._opened[self.where].add(key)
        return harmless if default is None else default


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a kind of file, draft 2020-12.

    Editors that know it complete keys and underline mistakes. It knows less than
    ``ziggy import`` and ``ziggy cluster check``, which see how keys fit each other.

    Parameters
    ----------
    kind
        ``pipeline``, ``cluster`` or ``parameters`` (a file of parameter sets).

    Returns
    -------
    dict
        Ready for `json.dumps`.

    Raises
    ------
    DefinitionError
        If there is no such kind.

    Examples
    --------
    >>> schema("pipeline")["properties"]["priority"]
    {'enum': ['highest', 'high', 'normal', 'low', 'lowest']}
    """
    if kind not in _READERS:
        raise DefinitionError(
            f"{kind!r} files have no schema{suggestion(kind, list(_READERS))}"
        )
    read, further = _READERS[kind]
    asked = _Asked()
    tried: set[Place] = set()
    _read(read, asked, {})
    while new := asked.branches - tried:
        for place in sorted(new):
            _read(read, asked, {place: ""})
        tried |= new
    for assumed in further:
        _read(read, asked, assumed)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ziggy-dask {kind} file",
        **_shape(asked, ()),
    }


def _read(
    read: Callable[[Section], object], asked: _Asked, assumed: Mapping[Place, str]
) -> None:
    opened: dict[Place, set[str]] = {}
    with suppress(DefinitionError):  # a default that the reader does not like
        read(_Probe(asked, (), assumed, opened))
    asked.end_reading(opened)


def _shape(asked: _Asked, place: Place) -> Shape:
    """Return the schema of what may stand at a place."""
    shapes = list(asked.shapes.get(place, ()))
    below = [
        one[-1] for one in asked.shapes if len(one) > len(place) and one[:-1] == place
    ]
    if below or not shapes:
        shapes.append(_object(asked, place, below))
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _object(asked: _Asked, place: Place, below: Iterable[str]) -> Shape:
    keys = {key: _shape(asked, (*place, key)) for key in below}
    others = keys.pop(_ANY, False)
    needed = sorted(asked.needed.get(place, set()) & set(keys))
    return {
        "type": "object" if needed else ["object", "null"],
        **({"properties": keys} if keys else {}),
        "additionalProperties": others,
        **({"required": needed} if needed else {}),
    }


def _parameters(top: Section) -> None:
    for name in top.names():
        parameter_set_of(name, top.section(name))


_COMPUTE: Final[tuple[Place, ...]] = tuple(("compute", kind) for kind in KINDS)
_URL: Final[Place] = ("datastore", "url")

_READERS: Final[
    Mapping[str, tuple[Callable[[Section], object], tuple[Mapping[Place, str], ...]]]
] = {
    "pipeline": (lambda top: pipeline_of(top, None), ()),
    "cluster": (
        lambda top: cluster_of(top, Path("cluster.yaml")),
        (
            *({place: ""} for place in _COMPUTE),
            {("compute", "address"): "", ("compute", "security"): ""},
            *({_URL: f"{scheme}://x"} for scheme in STORE_OPTIONS),
        ),
    ),
    "parameters": (_parameters, ()),
}
"""What reads each kind of file, and what else is assumed to be in it, one after another."""
