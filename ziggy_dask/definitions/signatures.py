"""What kinds of callables can be algorithms, and what arguments they take."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ziggy_dask.errors import DefinitionError

_ANY = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def arguments_of(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of an algorithm by name.

    Parameters
    ----------
    function
        A function, a partial, a method, or an object that can be called.

    Raises
    ------
    DefinitionError
        If it can't be an algorithm: a class, a generator, or something whose arguments
        nobody can tell.
    """
    if isinstance(function, type):
        raise DefinitionError(
            "it is a class; name a function, or an object of the class"
        )
    if _yields(function) or _yields(getattr(function, "__call__", function)):  # noqa: B004
        raise DefinitionError(
            "it is a generator; return a Dataset or a dict instead of yielding"
        )
    try:
        arguments = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise DefinitionError(
            "Python can't tell its arguments, as of many functions written in C; "
            "call it in a function of your own"
        ) from None
    if {one.kind for one in arguments.values()} != _ANY:
        return arguments
    wrapped = _wrapped_by(function)
    if len(wrapped) > 1:
        raise DefinitionError(
            "a decorator hides its arguments; use functools.wraps in the decorator"
        )
    return arguments_of(wrapped[0]) if wrapped else arguments


def as_function(function: Callable[..., object]) -> Callable[..., Any]:
    """Return a function that takes all arguments by name and returns a result.

    Coroutines are run, and what is positional only is passed by position.
    """
    by_position = [
        name
        for name, one in arguments_of(function).items()
        if one.kind is inspect.Parameter.POSITIONAL_ONLY
    ]

    @functools.wraps(function)
    def call(**given: object) -> object:
        positional = [given.pop(name) for name in by_position if name in given]
        returned = function(*positional, **given)
        return asyncio.run(returned) if inspect.iscoroutine(returned) else returned

    return call


def _yields(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _wrapped_by(function: Callable[..., object]) -> list[Callable[..., object]]:
    """Return what a decorator without `functools.wraps` has wrapped.

    A decorator that is a function has it in a closure, one that is a class in an attribute.
    """
    cells = getattr(function, "__closure__", None) or ()
    contents = [cell.cell_contents for cell in cells if cell != type(cell)()]
    if not inspect.isroutine(function):
        contents += getattr(function, "__dict__", {}).values()
    return [one for one in contents if inspect.isroutine(one)]
