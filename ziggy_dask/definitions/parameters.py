"""Parameter sets: named, typed values that algorithms are run with.

Types and the reading of text follow the original Ziggy, so that its definition
files keep their meaning: letter case of a type does not matter, blanks around
commas vanish, a blank number is zero, and the stored text is canonical.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from ziggy_dask.definitions.names import is_name, suggestion
from ziggy_dask.errors import DefinitionError

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]


class ParameterType(Enum):
    """Type of one parameter, or of the elements of an array parameter."""

    BOOLEAN = "boolean"
    BYTE = "byte"
    SHORT = "short"
    INT = "int"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"


_BITS = {
    ParameterType.BYTE: 8,
    ParameterType.SHORT: 16,
    ParameterType.INT: 32,
    ParameterType.LONG: 64,
}
_FLOATS = {ParameterType.FLOAT, ParameterType.DOUBLE}
_WHOLE = {ParameterType.INT, ParameterType.LONG}
_ACCEPTS = {
    ParameterType.BOOLEAN: {ParameterType.BOOLEAN},
    ParameterType.STRING: {ParameterType.STRING},
    **dict.fromkeys(_BITS, _WHOLE),
    **dict.fromkeys(_FLOATS, _WHOLE | {ParameterType.DOUBLE}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One typed value."""

    name: str
    """Name inside its set."""
    type: ParameterType
    """Type of the value or of its elements."""
    is_array: bool = False
    """Whether the value is a tuple of elements."""
    value: Value
    """A scalar, or a tuple of scalars for an array."""

    @property
    def type_text(self) -> str:
        """The type as it is written in definitions, e.g. ``doublearray``."""
        return self.type.value + ("array" if self.is_array else "")

    @property
    def text(self) -> str:
        """The value as canonical text, e.g. ``100.0,200.0``."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return ",".join(_scalar_text(value) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSet:
    """A named group of parameters, versioned as a whole."""

    name: str
    """Name of the set, e.g. ``Algorithm Parameters``."""
    parameters: tuple[Parameter, ...] = ()
    """The parameters, with different names."""
    interface_name: str = ""
    """Name under which algorithms see the set; empty: its own name."""

    def __post_init__(self) -> None:
        """Refuse bad names and keep the last of parameters with one name."""
        if not is_name(self.name):
            raise DefinitionError(f"{self.name!r} can't name a parameter set")
        last = {parameter.name: parameter for parameter in self.parameters}
        object.__setattr__(self, "parameters", tuple(last.values()))

    @property
    def values(self) -> dict[str, Value]:
        """The values by parameter name."""
        return {parameter.name: parameter.value for parameter in self.parameters}

    @property
    def digest(self) -> str:
        """Identity by content: SHA-256 of names, types and canonical texts."""
        content = [[p.name, p.type_text, p.text] for p in self.parameters]
        whole = json.dumps([self.name, self.interface_name, sorted(content)])
        return hashlib.sha256(whole.encode()).hexdigest()

    def with_values(self, changes: Mapping[str, object]) -> ParameterSet:
        """Return this set with some values changed; types stay as they are.

        Parameters
        ----------
        changes
            New values by parameter name: text as in a definition file, or
            Python values of the right type.

        Raises
        ------
        DefinitionError
            If a name is unknown or a value does not fit its parameter's type.
        """
        if not isinstance(changes, Mapping):
            raise DefinitionError(
                f"parameter set {self.name!r}: {changes!r} names no parameter; write "
                "{name: value}"
            )
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, value in changes.items():
            if name not in known:
                raise DefinitionError(
                    f"parameter set {self.name!r} has no parameter {name!r}"
                    + suggestion(name, known)
                )
            known[name] = _changed(known[name], value)
        return dataclasses.replace(self, parameters=tuple(known.values()))


def parameter_from_text(name: str, text: str | None, type_text: str = "") -> Parameter:
    """Read a parameter from the text of its value and of its type.

    Parameters
    ----------
    name
        Name of the parameter.
    text
        Value; elements of an array are separated by commas.
    type_text
        ``boolean byte short int long float double string``, each also with the
        suffix ``array``; letter case and a leading ``ziggy_`` do not matter.
        Empty: string.

    Raises
    ------
    DefinitionError
        If the type is unknown or the text is not a value of it.

    Examples
    --------
    >>> parameter_from_text("x", "100, 200", "doubleArRaY").text
    '100.0,200.0'
    """
    kind, is_array = _type_from_text(name, type_text or "string")
    trimmed = trim_list(text)
    if is_array:
        value: Value = tuple(_scalar(name, kind, piece) for piece in _pieces(trimmed))
    elif kind is ParameterType.STRING:
        value = trimmed
    else:
        pieces = _pieces(trimmed) or [""]
        if len(pieces) > 1:
            raise DefinitionError(
                f"parameter {name!r} is a single {kind.value} but has "
                f"{len(pieces)} values: {trimmed!r}; use type '{kind.value}array'"
            )
        value = _scalar(name, kind, pieces[0])
    return Parameter(name=name, type=kind, is_array=is_array, value=value)


def parameter_from_value(name: str, value: object, type_text: str = "") -> Parameter:
    """Make a parameter of a Python value; the type follows from it if not given.

    Raises
    ------
    DefinitionError
        If the value is not a scalar or a list of scalars of one type.
    """
    if type_text:
        return parameter_from_text(name, _text_of(name, value), type_text)
    is_array = isinstance(value, list | tuple)
    elements = list(value) if isinstance(value, list | tuple) else [value]
    kinds = {_type_of(name, element) for element in elements} or {ParameterType.DOUBLE}
    if kinds <= {ParameterType.INT, ParameterType.LONG, ParameterType.DOUBLE}:
        order = [ParameterType.INT, ParameterType.LONG, ParameterType.DOUBLE]
        kinds = {max(kinds, key=order.index)}
    if len(kinds) > 1:
        raise DefinitionError(
            f"parameter {name!r} mixes types: {value!r}; "
            "the elements of an array must have one type"
        )
    return _checked(name, kinds.pop(), is_array, elements)


def trim_list(text: str | None) -> str:
    """Trim both ends and the white space around commas; None becomes empty.

    Examples
    --------
    >>> trim_list("  1  ,  2  ")
    '1,2'
    """
    return re.sub(r"\s*,\s*", ",", (text or "").strip())


def merged_values(sets: Iterable[ParameterSet]) -> dict[str, dict[str, Value]]:
    """Return the values of several sets by set name and parameter name."""
    return {one.name: one.values for one in sets}


def _pieces(text: str) -> list[str]:
    pieces = text.split(",")
    while pieces and not pieces[-1]:
        pieces.pop()
    return pieces


def _type_from_text(name: str, type_text: str) -> tuple[ParameterType, bool]:
    word = type_text.strip().lower().removeprefix("ziggy_")
    is_array = word.endswith("array")
    word = word.removesuffix("array").rstrip("_ ")
    known = {kind.value: kind for kind in ParameterType}
    if word not in known:
        raise DefinitionError(
            f"parameter {name!r} has the unknown type {type_text!r}"
            + suggestion(type_text.lower(), known)
        )
    return known[word], is_array


def _scalar(name: str, kind: ParameterType, text: str) -> Scalar:
    if kind is ParameterType.STRING:
        return text
    if kind is ParameterType.BOOLEAN:
        return text.lower() == "true"
    if kind in _FLOATS:
        return _float(name, text)
    if text and re.fullmatch(r"[+-]?[0-9]+", text) is None:
        raise DefinitionError(
            f"parameter {name!r} is of type {kind.value}, but {text!r} is not a whole number"
        )
    return _in_range(name, kind, int(text or 0))


def _float(name: str, text: str) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise DefinitionError(f"parameter {name!r}: {text!r} is not a number") from None


def _in_range(name: str, kind: ParameterType, number: int) -> int:
    limit = 1 << (_BITS[kind] - 1)
    if not -limit <= number < limit:
        raise DefinitionError(
            f"parameter {name!r}: {number} is out of the range of type {kind.value} "
            f"({-limit} to {limit - 1})"
        )
    return number


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = repr(value)
    return text.replace("e", "E") if "e" in text else text


def _type_of(name: str, value: object) -> ParameterType:
    if isinstance(value, bool):
        return ParameterType.BOOLEAN
    if isinstance(value, int):
        small = -(1 << 31) <= value < 1 << 31
        return ParameterType.INT if small else ParameterType.LONG
    if isinstance(value, float):
        return ParameterType.DOUBLE
    if isinstance(value, str):
        return ParameterType.STRING
    raise DefinitionError(
        f"parameter {name!r} has the value {value!r}, which is not text, a number, "
        "true/false, or list of those"
    )


def _checked(
    name: str, kind: ParameterType, is_array: bool, elements: list[object]
) -> Parameter:
    values: list[Scalar] = []
    for element in elements:
        if kind in _FLOATS:
            values.append(float(str(element)))
        elif kind in _BITS:
            values.append(_in_range(name, kind, int(str(element))))
        else:
            values.append(element if isinstance(element, bool) else str(element))
    value = tuple(values) if is_array else values[0]
    return Parameter(name=name, type=kind, is_array=is_array, value=value)


def _text_of(name: str, value: object) -> str:
    elements = value if isinstance(value, list | tuple) else [value]
    return ",".join(_scalar_text(_scalar_value(name, element)) for element in elements)


def _scalar_value(name: str, value: object) -> Scalar:
    _type_of(name, value)
    return value if isinstance(value, bool | int | float) else str(value)


def _changed(old: Parameter, value: object) -> Parameter:
    if isinstance(value, str):
        if old.type is ParameterType.BOOLEAN:
            _refuse_unclear_flags(old, value)
        return parameter_from_text(old.name, value, old.type_text)
    new = parameter_from_value(old.name, value)
    if new.type not in _ACCEPTS[old.type] or new.is_array > old.is_array:
        raise DefinitionError(
            f"parameter {old.name!r} is of type {old.type_text}, but got {value!r}"
        )
    elements = list(value) if isinstance(value, list | tuple) else [value]
    return _checked(old.name, old.type, old.is_array, elements)


def _refuse_unclear_flags(parameter: Parameter, text: str) -> None:
    for piece in _pieces(trim_list(text)):
        if piece.lower() not in ("true", "false"):
            raise DefinitionError(
                f"parameter {parameter.name!r} is of type {parameter.type_text}; "
                f"{piece!r} is neither 'true' nor 'false'"
            )
