"""Finding users' algorithms: ``module:function`` to a Python function.

A definition that was read from a file brings its algorithms along, in its own
directory. They are loaded under a package name made of that directory, so that
two pipelines can both have an ``algorithms.py``.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

from ziggy_dask.definitions.code_import import is_own, make_package
from ziggy_dask.definitions.code_tree import is_visible, read_code
from ziggy_dask.definitions.names import argument_name, suggestion
from ziggy_dask.definitions.pipeline import (
    DaskFunctionStep,
    FunctionStep,
    Node,
    Pipeline,
)
from ziggy_dask.definitions.problem import Problem
from ziggy_dask.definitions.signatures import arguments_of
from ziggy_dask.errors import DefinitionError

EXTRA_ARGUMENTS = frozenset({"parameters", "models", "context"})
_places: dict[Path, tuple[Path, str]] = {}
"""Where this process reads the code of a directory from, and the digest of it."""
_origins: dict[Path, Path] = {}
"""Where the code of a directory comes from; what lies beside it there is not copied."""


def load_function(
    root: Path | None, target: str, version: str = ""
) -> Callable[..., object]:
    """Return the function that ``module:function`` names.

    Parameters
    ----------
    root
        Directory whose modules come first; None: only what Python can import.
    target
        Module, colon, function.
    version
        Version of the code below `root`; another version is loaded anew.

    Raises
    ------
    DefinitionError
        If there is no such module or function, or the module fails to import.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise DefinitionError(
            f"{target!r} names no function; write 'module:function', e.g. 'algorithms:flip'"
        )
    try:
        module = importlib.import_module(_full_name(root, module_name, version))
    except Exception as error:
        raise DefinitionError(
            _why_not_imported(root, module_name, version, error)
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            key for key, value in vars(module).items() if inspect.isfunction(value)
        ]
        raise DefinitionError(
            f"module {module_name!r} has no function {name!r}" + suggestion(name, known)
        )
    return function  # type: ignore[no-any-return]  # callable() narrows to object


def check_code(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield what is wrong with the functions that the steps of a pipeline name."""
    version = code_version(pipeline.root)
    for node in pipeline.nodes:
        if not isinstance(node.step, FunctionStep | DaskFunctionStep):
            continue
        key = "function" if isinstance(node.step, FunctionStep) else "dask_function"
        where = ("nodes", node.name, key)
        try:
            function = load_function(pipeline.root, node.step.function, version)
        except DefinitionError as error:
            yield Problem(where, str(error))
            continue
        yield from _check_signature(where, node, function)


def code_version(root: Path | None) -> str:
    """Return the version of the code below `root`: content hash, and git's word for it."""
    return "installed" if root is None else read_code(root).version


def use_code(root: Path, place: Path, digest: str, origin: Path | None = None) -> None:
    """Have the code of a directory be read from a place of this process.

    Its modules are named by `root` and `digest`, so that a function that one process
    pickled is found by every other one that was told the same. If the code was copied
    from an `origin` that is there, ``__file__`` of its modules leads to that, where
    algorithms find what lies beside them.
    """
    _places[root] = place, digest
    if origin is not None and is_visible(origin):
        _origins[root] = origin
    code_package(root, "")


def code_place(root: Path) -> Path:
    """Return where this process reads the code of a directory from."""
    return _places[root][0] if root in _places else root


def code_origin(root: Path) -> Path:
    """Return the directory from which the code of a directory was copied, if it was."""
    return _origins.get(root, root)


def code_package(root: Path, version: str) -> str:
    """Return the name of the package in which the modules of a directory are."""
    place, digest = _places.get(root, (root, version))
    key = f"{root} {digest}".encode("utf-8", "surrogateescape")
    name = hashlib.sha256(key).hexdigest()[:16]
    return make_package(name, place, _origins.get(root, place))


def _full_name(root: Path | None, module_name: str, version: str) -> str:
    if root is None:
        return module_name
    package = code_package(root, version)
    if not is_own(package, module_name.partition(".")[0]):
        return module_name
    return f"{package}.{module_name}"


def _why_not_imported(
    root: Path | None, module_name: str, version: str, error: Exception
) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in (
        module_name,
        _full_name(root, module_name, version),
    ):
        here = sorted(path.stem for path in root.glob("*.py")) if root else []
        place = f" in {root}" if root else ""
        return f"no module {module_name!r}{place}" + suggestion(module_name, here)
    reason = (
        str(error).replace(f"{code_package(root, version)}.", "") if root else error
    )
    return (
        f"module {module_name!r} can't be imported: {type(error).__name__}: {reason}; "
        f"try: python -c 'import {module_name}'" + (f" in {root}" if root else "")
    )


def _check_signature(
    where: tuple[str, ...], node: Node, function: Callable[..., object]
) -> Iterator[Problem]:
    target = getattr(node.step, "function", "")
    try:
        parameters = arguments_of(function)
    except DefinitionError as error:
        yield Problem(where, f"{target!r} can't be an algorithm: {error}")
        return
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    inputs = [argument_name(one.data_type) for one in node.inputs]
    for name in inputs:
        if name not in parameters:
            yield Problem(
                where,
                f"function {target!r} has no argument {name!r} for the input of that name"
                + suggestion(name, [p for p in parameters if p not in EXTRA_ARGUMENTS]),
            )
    for name, one in parameters.items():
        required = one.default is inspect.Parameter.empty
        if required and name not in inputs and name not in EXTRA_ARGUMENTS:
            yield Problem(
                where,
                f"function {target!r} wants the argument {name!r}, which is neither an "
                f"input of node {node.name!r} nor one of: "
                + ", ".join(sorted(EXTRA_ARGUMENTS)),
            )
