"""Public names of a package that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what a package has as its ``__getattr__``.

    Parameters
    ----------
    package
        Name of the package.
    homes
        By public name: a module of the package that has it, ``module:attribute`` of
        any, or nothing, for a module of the package itself.

    Raises
    ------
    ValueError
        If a name is that of the module that has it: as soon as anybody imports the module,
        the name stands for the module.
    """
    if both := [name for name, module in homes.items() if name == module]:
        raise ValueError(f"{package}: names of modules, too: {', '.join(both)}")

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        home = import_module(module if attribute else f"{package}.{module or name}")
        value = getattr(home, attribute or name) if module else home
        setattr(import_module(package), name, value)
        return value

    return find
