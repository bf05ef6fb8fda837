"""The source of functions that were defined in a notebook, as text of a module.

What is kept of an instance must say how its numbers were made, so it is text that
people can read, never a pickle. A function brings along what it uses of the
notebook: other functions and classes as source, modules as imports, plain values
as they are. What can't be written down is refused.
"""

from __future__ import annotations

import ast
import inspect
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ziggy_dask.errors import DefinitionError


def module_text(title: str, functions: Sequence[Callable[..., object]]) -> str:
    """Return the text of a module that holds functions and all that they use.

    Parameters
    ----------
    title
        Its docstring.
    functions
        The functions.

    Raises
    ------
    DefinitionError
        If one has no source, or uses something that can't be written down.
    """
    found = _Gathered()
    for function in functions:
        found.take(function)
    head = f"{_quoted(title)}\n\nfrom __future__ import annotations\n"
    parts = [head, "\n".join(sorted(found.imports)), "\n".join(found.values)]
    text = "\n\n".join(part.rstrip() for part in parts if part)
    return "\n\n\n".join([text, *found.sources]) + "\n"


class _Gathered:
    """What has been found so far."""

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.values: list[str] = []
        self.sources: list[str] = []
        self._known: dict[str, object] = {}

    def take(self, one: Any) -> None:
        """Take a function or class, and before it what it uses."""
        if self._is_known(one.__name__, one):
            return
        text = _source(one)
        around = getattr(one, "__globals__", None) or vars(sys.modules[one.__module__])
        for name in _used_names(text):
            if name in around:
                self._take_used(name, around[name], one.__name__)
        self.sources.append(text)

    def _take_used(self, name: str, value: Any, user: str) -> None:
        if isinstance(value, types.ModuleType):
            if not self._is_known(name, value):
                same = name == value.__name__
                self.imports.append(
                    f"import {value.__name__}" + ("" if same else f" as {name}")
                )
        elif _is_importable(value):
            if not self._is_known(name, value):
                same = name == value.__name__
                self.imports.append(
                    f"from {value.__module__} import {value.__name__}"
                    + ("" if same else f" as {name}")
                )
        elif isinstance(value, types.FunctionType | type) and value.__name__ == name:
            self.take(value)
        elif _is_plain(value):
            if not self._is_known(name, value):
                self.values.append(f"{name} = {value!r}")
        else:
            raise DefinitionError(
                f"function {user!r} uses {name!r}, a {type(value).__name__} of the "
                "notebook, which can't be kept as text; make it inside the function, or "
                "make it a parameter or an input"
            )

    def _is_known(self, name: str, value: object) -> bool:
        """Tell whether a name was taken before; if not, it is now."""
        if name in self._known and self._known[name] is not value:
            raise DefinitionError(
                f"{name!r} stands for two things in the functions of this pipeline; "
                "give one of them another name"
            )
        is_known = name in self._known
        self._known[name] = value
        return is_known


def _source(one: Any) -> str:
    """Return the source of a function or class, without what a draft did to it."""
    if getattr(one, "__closure__", None):
        names = ", ".join(one.__code__.co_freevars)
        raise DefinitionError(
            f"function {one.__name__!r} uses {names} of the function around it; define "
            "it at the top of a cell"
        )
    try:
        text = textwrap.dedent(inspect.getsource(one))
        tree = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise DefinitionError(
            f"the source of {one.__name__!r} can't be found ({error}); define it in a "
            "cell of its own, or in a module"
        ) from error
    if (
        not isinstance(tree, ast.FunctionDef | ast.ClassDef)
        or tree.name != one.__name__
    ):
        raise DefinitionError(f"{one.__name__!r} is not a function that 'def' defines")
    marks = [n for n, d in enumerate(tree.decorator_list) if _is_draft_mark(d)]
    kept = tree.decorator_list[marks[-1] + 1 :] if marks else tree.decorator_list
    first = kept[0].lineno if kept else tree.lineno
    return "\n".join(text.splitlines()[first - 1 : tree.end_lineno])


def _is_draft_mark(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, ast.Attribute) and target.attr == "node"


def _used_names(text: str) -> list[str]:
    """Return the names that a piece of source takes from the module around it."""
    top = symtable.symtable(text, "source", "exec")
    names = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    return sorted(names.union(*map(set, map(_global_names, top.get_children()))))


def _global_names(table: symtable.SymbolTable) -> Iterator[str]:
    for one in table.get_symbols():
        if one.is_global() and one.is_referenced():
            yield one.get_name()
    for child in table.get_children():
        yield from _global_names(child)


def _is_importable(value: Any) -> bool:
    """Tell whether other processes can import a value by its name."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    name = getattr(value, "__name__", None)
    if module is None or module.__name__ == "__main__" or not isinstance(name, str):
        return False
    return getattr(module, name, None) is value


def _is_plain(value: object) -> bool:
    """Tell whether a value is what its text says."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _quoted(title: str) -> str:
    return '"""' + title.replace("\\", "/").replace('"""', "'''").rstrip('"') + '"""'
