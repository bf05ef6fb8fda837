"""Names that users give to things, and help for names that they mistyped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

from ziggy_dask.errors import DefinitionError

E = TypeVar("E", bound=Enum)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[^\s/\\\x00-\x1f](?:[^/\\\x00-\x1f]*[^\s/\\\x00-\x1f])?")


def is_identifier(name: str) -> bool:
    """Tell whether `name` can be a placeholder or an argument name."""
    return _IDENTIFIER.fullmatch(name) is not None


def is_name(name: str) -> bool:
    """Tell whether `name` can name a pipeline, node, data type or parameter set.

    Spaces inside are fine; slashes, control characters and white space at the
    ends are not, nor more than 100 characters.
    """
    return len(name) <= 100 and _NAME.fullmatch(name) is not None


def is_line(text: str) -> bool:
    r"""Tell whether a text stays on one line, and says nothing that can't be seen.

    Examples
    --------
    >>> is_line("a queue"), is_line("a\nrm -r /"), is_line("a\x1b[2J")
    (True, False, False)
    """
    return text.isprintable()


def argument_name(name: str) -> str:
    """Return the name under which an algorithm sees `name`.

    Examples
    --------
    >>> argument_name("raw image")
    'raw_image'
    """
    return re.sub(r"\W", "_", name)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or what there is, or an empty string.

    Examples
    --------
    >>> suggestion("flix", ["flux", "time"])
    "; did you mean 'flux'?"
    >>> suggestion("zzz", ["flux", "time"])
    '; there are: flux, time'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    if 0 < len(names) <= 12:
        return f"; there are: {', '.join(names)}"
    return ""


def member(kind: type[E], word: E | str, what: str) -> E:
    """Return the member of an enumeration that has a value.

    Parameters
    ----------
    kind
        The enumeration.
    word
        The value, or the member itself.
    what
        What is chosen, for the message.

    Raises
    ------
    DefinitionError
        If there is no such member.
    """
    try:
        return kind(word)
    except ValueError:
        known = [str(one.value) for one in kind]
        raise DefinitionError(
            f"{what} can't be {word!r}{suggestion(str(word), known)}"
        ) from None
