"""Importing the modules of a pipeline's directory, in a package of their own.

Many pipelines have an ``algorithms.py``, and two versions of one can be in use in a process at
the same time, so the modules of each directory get a package whose name tells them apart. Inside
it, ``import helpers`` finds the ``helpers.py`` beside, as it would if the directory came first in
``sys.path``: each module of the package imports by a function of its own, which looks there
before it asks Python.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from typing import Any

from ziggy_dask.definitions.code_tree import is_visible

_PREFIX = "ziggy_code_"
_origins: dict[str, Path] = {}
"""Where the modules of each package come from."""


def make_package(key: str, place: Path, origin: Path) -> str:
    """Return the name of the package of a directory; it is there afterwards.

    Parameters
    ----------
    key
        Tells it from others.
    place
        Where its modules are read from.
    origin
        Directory to which ``__file__`` of its modules leads.
    """
    name = _PREFIX + key
    if name not in sys.modules:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        sys.modules[name] = types.ModuleType(name)
    package = sys.modules[name]
    _origins[name] = origin
    if list(getattr(package, "__path__", ())) != [str(place)]:
        package.__path__ = [str(place)]
        importlib.invalidate_caches()
        is_own.cache_clear()
    return name


def script_for_children() -> str:
    """Return a Python script that makes all such packages in a new process, too."""
    lines = ["from pathlib import Path", f"from {__name__} import make_package"]
    for name, origin in sorted(_origins.items()):
        (place,) = sys.modules[name].__path__
        key = name.removeprefix(_PREFIX)
        lines.append(f"make_package({key!r}, Path({place!r}), Path({str(origin)!r}))")
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=4096)
def is_own(package: str, first: str) -> bool:
    """Tell whether a module, or a package above it, is one of a pipeline's directory.

    A directory without ``__init__.py`` counts if nothing of that name can be imported
    otherwise, as in Python.
    """
    if first in sys.builtin_module_names:
        return False
    (place,) = sys.modules[package].__path__
    base = Path(place, first)
    names = [f"{first}{ending}" for ending in (".py", *EXTENSION_SUFFIXES)]
    if (base / "__init__.py").is_file() or any(Path(place, n).is_file() for n in names):
        return True
    if not base.is_dir() or first in sys.modules:
        return False
    try:
        return importlib.util.find_spec(first) is None
    except (ImportError, ValueError):
        return True


class _Finder(MetaPathFinder):
    """Finds the modules of such packages."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith(_PREFIX):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Lets a module find what lies beside it."""

    def exec_module(self, module: types.ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        own = {**vars(builtins), "__import__": _importer(package)}
        module.__dict__["__builtins__"] = own
        (place,) = sys.modules[package].__path__
        beside = _origins[package] / Path(self.path).relative_to(place)
        if is_visible(beside.parent):
            module.__file__ = str(beside)
        super().exec_module(module)


def _importer(package: str) -> Any:
    """Return what ``import`` calls in the modules of a package."""

    def own_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        first = name.partition(".")[0]
        if level or not is_own(package, first):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        full = f"{package}.{name}"
        if fromlist:
            return builtins.__import__(full, globals, locals, fromlist, 0)
        importlib.import_module(full)
        return sys.modules[f"{package}.{first}"]

    return own_import
