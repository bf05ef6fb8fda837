"""Reading YAML key by key, with every fault kept along with its line.

A `Section` is one mapping of the file. Asking it for a key gives a value of the
wanted type; what is missing or wrong goes onto the document's list of faults and
a harmless value comes back, so that one pass over a file finds all its faults.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TypeVar

import yaml

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.problem import Problem
from ziggy_dask.errors import DefinitionError, Fault

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

_LARGEST_BYTES = 16 * 1024 * 1024
_MOST_VALUES = 1_000_000
_DEEPEST = 100
_DEEPEST_BRACKETS = 500
_MOST_BYTES = 2**63
_MOST_BITS = 1024
_TOO_DEEP = "has lists or mappings inside each other, too many levels deep"
_BRACKET = re.compile(r"[][{}]")
_ZERO = re.compile(r"[-+]?[0.:]*0[0.:]*\s*[A-Za-z]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_SHOWN = 200
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_FACTORS = {
    "": 1,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "t": 1e12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)")
_CLOCK = re.compile(r"([0-9]+):([0-5][0-9])(?::([0-5][0-9]))?")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_TRUE = ("true", "yes", "on")
_STANDARD = "tag:yaml.org,2002:"
_OF_PYTHON = f"{_STANDARD}python/"
_WORDS = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
}


class Document:
    """A YAML file that is being read: its lines by key path, and its faults."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.lines: dict[tuple[str, ...], int] = {}
        self._faulty: set[tuple[str, ...]] = set()

    def fault(self, where: tuple[str, ...], message: str) -> None:
        """Note that something is wrong at a place."""
        self._faulty.add(where)
        self.faults.append(
            Fault(message=message, file=self.file, line=self.line_of(where))
        )

    def take(self, problem: Problem) -> None:
        """Note a problem that a check found in values, unless they could not be read."""
        if problem.where not in self._faulty:
            self.fault(problem.where, problem.message)

    def line_of(self, where: tuple[str, ...]) -> int:
        """Return the line of a place, or of the nearest one around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def raise_faults(self) -> None:
        """Raise one error with all faults, in the order of the file, if any."""
        if self.faults:
            raise DefinitionError(sorted(set(self.faults), key=lambda f: f.line))


class Section:
    """One mapping in a YAML document."""

    def __init__(
        self, document: Document, where: tuple[str, ...], node: yaml.Node | None
    ) -> None:
        self.document = document
        self.where = where
        self._values: dict[str, yaml.Node] = {}
        self._asked: set[str] = set()
        if isinstance(node, yaml.MappingNode):
            self._read(node)
        elif node is not None and not _is_null(node):
            document.fault(
                where, f"expected a mapping of keys here, found {_what(node)}"
            )

    def __contains__(self, key: str) -> bool:
        """Tell whether the section has a key."""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a default the key must be there."""
        return self._scalar(key, default, "", str, ("str", "int", "float"))

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number."""
        return self._scalar(key, default, 0, int, ("int",))

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number."""
        return self._scalar(key, default, 0.0, float, ("int", "float"))

    def refuse_zero(self, *keys: str) -> None:
        """Refuse 0 where it would be taken for 'not given', which is another thing."""
        for key in keys:
            if key in self and _ZERO.fullmatch(str(self._values[key].value)):
                words = "write at least 1, or leave it out for the default"
                self._fault(key, f"{key!r} is 0; {words}")

    def size(self, key: str, default: str = "0") -> int:
        """Return a number of bytes."""
        text = self.text(key, default)
        size = size_in_bytes(text)
        if size is None:
            self._fault(key, f"{_short(text)} is not a valid size; write e.g. '4GiB'")
        return size or 0

    def duration(self, key: str, default: float = 0.0) -> float:
        """Return a time in seconds, given as a number or e.g. as ``30min``."""
        text = self.text(key, f"{default:g}")
        seconds = seconds_of(text)
        if seconds is None:
            self._fault(
                key, f"{_short(text)} is not a time; write e.g. '30min' or '4h'"
            )
        return seconds or 0.0

    def flag(self, key: str, default: bool = False) -> bool:
        """Return true or false."""
        return self._scalar(
            key, default, False, lambda text: text.lower() in _TRUE, ("bool",)
        )

    def choice(self, key: str, default: E, *, needed: bool = False) -> E:
        """Return the member of an enumeration that has the given value, in any case."""
        word = self.text(key, None if needed else str(default.value))
        for member in type(default):
            if member.value == word.lower():
                return member
        known = [str(member.value) for member in type(default)]
        if key in self:
            self._fault(
                key, f"{key!r} can't be {_short(word)}{suggestion(word, known)}"
            )
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; a single text counts as a list of one."""
        node = self._take(key)
        if node is None or _is_null(node):
            return ()
        if isinstance(node, yaml.ScalarNode):
            return (node.value,)
        return tuple(text for text in self._items(key, node) if text is not None)

    def plain(self, key: str) -> object:
        """Return a scalar, or a list of scalars, as the Python values YAML gives."""
        node = self._take(key)
        if isinstance(node, yaml.ScalarNode):
            return self._value(key, node)
        if isinstance(node, yaml.SequenceNode) and all(
            isinstance(item, yaml.ScalarNode) for item in node.value
        ):
            return [self._value(key, item) for item in node.value]
        self._fault(key, f"expected a value or a list of values, found {_what(node)}")
        return ""

    def tree(self, key: str) -> dict[str, object]:
        """Return a mapping of anything: values, lists and further mappings."""
        node = self._take(key)
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._fault(key, f"expected a mapping of keys here, found {_what(node)}")
            return {}
        inner = Section(self.document, (*self.where, key), node)
        return {name: inner._content(name) for name in inner.names()}

    def section(self, key: str) -> Section:
        """Return the mapping under a key, empty if it is not there."""
        return Section(self.document, (*self.where, key), self._take(key))

    def sections(self, key: str) -> Iterator[tuple[str, Section]]:
        """Yield the name and section of each entry of a mapping of mappings."""
        outer = self.section(key)
        for name in outer.names():
            yield name, outer.section(name)

    def names(self) -> tuple[str, ...]:
        """Return the keys of this section, in order."""
        return tuple(self._values)

    def is_mapping(self, key: str) -> bool:
        """Tell whether a mapping stands under a key."""
        return isinstance(self._values.get(key), yaml.MappingNode)

    def fault(self, key: str, message: str) -> None:
        """Note that something is wrong with a key."""
        self._fault(key, message)

    def done(self) -> None:
        """Note every key that nobody asked for as unknown."""
        for key in self._values:
            if key not in self._asked:
                self._fault(key, f"unknown key {key!r}{suggestion(key, self._asked)}")

    def _read(self, node: yaml.MappingNode) -> None:
        for key_node, value in node.value:
            key = str(key_node.value)
            if key in self._values:
                self._fault(key, f"the key {key!r} stands here twice")
            self._values[key] = value
            self.document.lines[(*self.where, key)] = key_node.start_mark.line + 1

    def _take(self, key: str) -> yaml.Node | None:
        self._asked.add(key)
        return self._values.get(key)

    def _fault(self, key: str, message: str) -> None:
        self.document.fault((*self.where, key), message)

    def _value(self, key: str, node: yaml.ScalarNode) -> object:
        """Return the value that YAML gives, unless Python has none for it."""
        try:
            value = _construct(node)
            if not isinstance(value, int) or value.bit_length() <= _MOST_BITS:
                return value
        except (ValueError, OverflowError, yaml.YAMLError):
            pass  # told below
        word = _WORDS.get(node.tag, node.tag.rpartition(":")[2])
        self._fault(
            key, f"{_short(node.value)} can't be taken as {word}; put quotes around"
        )
        return ""

    def _content(self, key: str) -> object:
        node = self._values[key]
        if isinstance(node, yaml.MappingNode):
            return self.tree(key)
        if isinstance(node, yaml.SequenceNode):
            places = [f"{key}[{number}]" for number in range(len(node.value))]
            self._values.update(zip(places, node.value, strict=True))
            return [self._content(place) for place in places]
        assert isinstance(node, yaml.ScalarNode)
        value = self._value(key, node)
        if value is None or isinstance(value, str | int | float):
            return value
        self._fault(
            key, f"{node.value!r} is a {type(value).__name__}; put quotes around"
        )
        return node.value

    def _items(self, key: str, node: yaml.Node) -> Iterator[str | None]:
        if not isinstance(node, yaml.SequenceNode):
            self._fault(key, f"{key!r} must be a list, found {_what(node)}")
            return
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                yield item.value
            else:
                self._fault(
                    key, f"{key!r} must be a list of texts, found {_what(item)}"
                )

    def _scalar(
        self,
        key: str,
        default: T | None,
        harmless: T,
        convert: Callable[[str], T],
        tags: tuple[str, ...],
    ) -> T:
        node = self._take(key)
        if node is None:
            if default is None:
                self._fault(key, f"{key!r} is missing")
            return harmless if default is None else default
        wanted = [f"tag:yaml.org,2002:{tag}" for tag in tags]
        if not isinstance(node, yaml.ScalarNode) or node.tag not in wanted:
            self._fault(
                key, f"{key!r} must be {_WORDS[wanted[0]]}, found {_what(node)}"
            )
            return harmless
        try:
            return convert(node.value)
        except (ValueError, OverflowError):
            self._fault(
                key, f"{key!r} must be {_WORDS[wanted[0]]}, found {_short(node.value)}"
            )
            return harmless


def open_document(path: Path) -> tuple[Document, Section]:
    """Read a YAML file.

    Returns
    -------
    Document, Section
        Where faults are kept, and the mapping at the top.

    Raises
    ------
    DefinitionError
        If the file can't be read, is not valid YAML, or is not a mapping.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DefinitionError(f"{path}: is not a regular file")
        if status.st_size > _LARGEST_BYTES:
            raise DefinitionError(f"{path}: larger than {_LARGEST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DefinitionError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{path}: is not UTF-8 text ({error.reason})") from error
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> tuple[Document, Section]:
    """Read YAML text; `file` is the name that faults are given."""
    document = Document(file)
    if _depth(text) > _DEEPEST_BRACKETS:  # which YAML would take long to find out
        raise DefinitionError([Fault(message=_TOO_DEEP, file=file, line=1)])
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 1
        fault = Fault(message=f"is not valid YAML: {what}", file=file, line=line)
        raise DefinitionError([fault]) from error
    except RecursionError:
        raise DefinitionError([Fault(message=_TOO_DEEP, file=file, line=1)]) from None
    _require_bounded(node, file)
    if not isinstance(node, yaml.MappingNode):
        raise DefinitionError(
            [Fault(message="holds no mapping of keys", file=file, line=1)]
        )
    return document, Section(document, (), node)


def _require_bounded(top: yaml.Node | None, file: str) -> None:
    """Refuse what would be endless, or absurdly large or deep, once aliases are followed.

    Raises
    ------
    DefinitionError
        With the line of the alias's anchor.
    """
    sizes: dict[int, tuple[int, int]] = {}
    open_: set[int] = set()
    waiting = [(top, False)]
    while waiting:
        node, is_left = waiting.pop()
        if node is None or id(node) in sizes:
            continue
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            message = f"{_short(node.value)} has half a character"
            raise DefinitionError([_fault_at(node, message, file)])
        if not node.tag.startswith(_STANDARD) or node.tag.startswith(_OF_PYTHON):
            message = (
                f"has the tag {node.tag!r}, which means nothing here; leave it out"
            )
            raise DefinitionError([_fault_at(node, message, file)])
        inner = _inner(node)
        if is_left:
            open_.discard(id(node))
            below = [sizes[id(one)] for one in inner]
            count = 1 + sum(count for count, _ in below)
            depth = 1 + max((depth for _, depth in below), default=0)
            sizes[id(node)] = count, depth
            if count > _MOST_VALUES or depth > _DEEPEST:
                message = (
                    f"stands for more than {_MOST_VALUES} values, or {_DEEPEST} levels, "
                    "once aliases ('*') are followed"
                )
                raise DefinitionError([_fault_at(node, message, file)])
        elif id(node) in open_:
            raise DefinitionError([_fault_at(node, "holds itself, by an alias", file)])
        else:
            open_.add(id(node))
            waiting.append((node, True))
            waiting.extend((one, False) for one in inner)


def _depth(text: str) -> int:
    """Return how many brackets are open at most, whatever they mean where they stand."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _fault_at(node: yaml.Node, message: str, file: str) -> Fault:
    return Fault(message=message, file=file, line=node.start_mark.line + 1)


def size_in_bytes(text: str) -> int | None:
    """Return the bytes that e.g. ``4GiB`` stands for, or None if it is not a valid size.

    Examples
    --------
    >>> size_in_bytes("1.5 GB"), size_in_bytes("2GiB"), size_in_bytes("much")
    (1500000000, 2147483648, None)
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    size = float(found[1]) * _FACTORS[(found[2] or "").lower()]
    return int(size) if size < _MOST_BYTES else None


def seconds_of(text: str) -> float | None:
    """Return the seconds that e.g. ``30min`` stands for, or None if it is not a time.

    A number alone is seconds; the units are s, min, h and d, one after another if need
    be; ``H:MM`` and ``H:MM:SS`` are as on a clock.

    Examples
    --------
    >>> seconds_of("0.15h"), seconds_of("1h30min"), seconds_of("4:30:00"), seconds_of("7")
    (540.0, 5400.0, 16200.0, 7.0)
    >>> seconds_of("soon")
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return _finite(hours * 3600 + minutes * 60 + seconds)
    parts = _TIME.findall(text)
    if parts and _TIME.sub("", text).strip() == "":
        total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return _finite(round(total, 6))
    try:
        number = float(text)
    except ValueError:
        return None
    return _finite(number)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _construct(node: yaml.ScalarNode) -> object:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    finally:
        loader.dispose()


def _is_null(node: yaml.Node | None) -> bool:
    return node is not None and node.tag == "tag:yaml.org,2002:null"


def _what(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node is None or _is_null(node) else _short(node.value)


def _short(text: object) -> str:
    """Return a value as it stands in messages: what is absurdly long is cut."""
    shown = repr(text)
    if len(shown) <= _LONGEST_SHOWN:
        return shown
    return f"{shown[:_LONGEST_SHOWN]}... ({len(shown)} characters)"
