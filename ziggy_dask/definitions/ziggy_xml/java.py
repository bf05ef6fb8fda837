"""Java's regular expressions as Python's: translated, or refused."""

from __future__ import annotations

import re

from ziggy_dask.errors import DefinitionError

_CLASSES = {
    "d": "0-9",
    "w": "a-zA-Z0-9_",
    "s": r" \t\n\x0b\f\r",
    "h": r" \t\xa0",
    "v": r"\n\x0b\f\r\x85",
}
_PROPERTIES = {
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Upper": "A-Z",
    "Lower": "a-z",
    "XDigit": "0-9a-fA-F",
    "Space": r" \t\n\x0b\f\r",
    "Blank": r" \t",
    "Punct": r"!-/:-@\[-`{-~",
    "ASCII": r"\x00-\x7f",
}
_SAME = "tnrfae\\.[]{}()*+?^$|/-&~#@%,:;<=>!\"' _"
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|$)"
    r"|\\(?P<property>[pP])\{(?P<name>\w+)\}"
    r"|\\k<(?P<reference>\w+)>"
    r"|\\x\{(?P<code>[0-9a-fA-F]+)\}"
    r"|\\(?P<hex>x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
    r"|\\(?P<escape>.)"
    r"|\(\?<(?P<group>[A-Za-z]\w*)>"
    r"|\(\?(?P<flags>[a-zA-Z-]+)(?P<scope>[:)])"
    r"|(?P<both>&&)"
    r"|(?P<plain>.)",
    re.DOTALL,
)


def python_pattern(java: str) -> str:
    r"""Return the Python expression that means the same as a Java one.

    Raises
    ------
    DefinitionError
        If there is none, or it is not an expression.

    Examples
    --------
    >>> python_pattern(r"(?<day>\d+)-\p{Alpha}\.png")
    '(?P<day>[0-9]+)-[a-zA-Z]\\.png'
    """
    pieces: list[str] = []
    in_class = False
    class_start = -1
    for found in _TOKEN.finditer(java):
        plain = found["plain"]
        if in_class and plain == "[":
            raise _refusal(java, "a class inside a class", found.start())
        if in_class and found["both"]:
            raise _refusal(java, "an intersection of classes", found.start())
        if plain == "[" and not in_class:
            in_class, class_start = True, found.end()
        elif plain == "]" and in_class:
            at_start = java[class_start : found.start()] in ("", "^")
            if at_start:
                raise _refusal(java, "']' at the start of a class", found.start())
            in_class = False
        pieces.append(_piece(java, found, in_class))
    pattern = "".join(pieces)
    try:
        re.compile(pattern)
    except re.error as error:
        raise DefinitionError(
            f"{java!r} is not a valid regular expression: {error.msg}"
        ) from error
    return pattern


def _piece(java: str, found: re.Match[str], in_class: bool) -> str:
    if found["quoted"] is not None:
        return re.escape(found["quoted"])
    if found["property"]:
        return _property(java, found, in_class)
    if found["reference"]:
        return f"(?P={found['reference']})"
    if found["code"]:
        return re.escape(chr(int(found["code"], 16)))
    if found["hex"]:
        return found[0]
    if found["escape"]:
        return _escape(java, found, in_class)
    if found["group"]:
        return f"(?P<{found['group']}>"
    if found["flags"]:
        return _flags(java, found)
    return found[0]


def _property(java: str, found: re.Match[str], in_class: bool) -> str:
    body = _PROPERTIES.get(found["name"])
    if body is None:
        raise _refusal(java, f"the class {found[0]}", found.start())
    return _class(java, found, body, found["property"] == "P", in_class)


def _class(
    java: str, found: re.Match[str], body: str, is_negated: bool, in_class: bool
) -> str:
    if in_class and is_negated:
        raise _refusal(java, f"{found[0]} inside a class", found.start())
    if in_class:
        return body
    return f"[^{body}]" if is_negated else f"[{body}]"


def _escape(java: str, found: re.Match[str], in_class: bool) -> str:
    letter = found["escape"]
    if letter.lower() in _CLASSES:
        body = _CLASSES[letter.lower()]
        return _class(java, found, body, letter.isupper(), in_class)
    if letter == "z":
        return r"\Z"
    if letter == "Z":
        return r"(?=\n?\Z)"
    if letter == "e":
        return r"\x1b"
    if letter in "bBA" and not in_class:
        return found[0]
    if letter.isdigit() and letter != "0" and not in_class:
        return found[0]
    if letter in _SAME:
        return found[0]
    raise _refusal(java, found[0], found.start())


def _flags(java: str, found: re.Match[str]) -> str:
    if set(found["flags"]) <= set("imsx-") and (
        found["scope"] == ":" or found.start() == 0
    ):
        return found[0]
    raise _refusal(java, f"the flags {found[0]!r} here", found.start())


def _refusal(java: str, what: str, position: int) -> DefinitionError:
    return DefinitionError(
        f"the Java expression {java!r} has {what} at position {position}, for which "
        "there is no equal here; write it in another way"
    )
