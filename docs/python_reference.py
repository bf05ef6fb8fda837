"""The reference of Python, made of the public names and their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

import ziggy_dask as z

_TOP = """# Python

Everything that the command line does is one call in Python. These are all names of
`import ziggy_dask as z`; they are documented where they are defined.
"""


def _sections() -> dict[str, list[str]]:
    """Return all public names by what they are for."""
    found: dict[str, list[str]] = {
        "Clusters": [],
        "What runs, and what it made": [],
        "Definitions": [],
        "Errors": [],
    }
    for name in z.__all__:
        value = getattr(z, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            found["Errors"].append(name)
        elif value.__module__.startswith("ziggy_dask.definitions"):
            found["Definitions"].append(name)
        elif name == "Cluster" or inspect.isfunction(value):
            found["Clusters"].append(name)
        else:
            found["What runs, and what it made"].append(name)
    return found


def _entry(name: str) -> list[str]:
    value = getattr(z, name)
    if inspect.isfunction(value):
        return [f".. autofunction:: {name}", ""]
    lines = [f".. autoclass:: {name}", "   :members:"]
    if any(base.__module__.startswith("ziggy_dask") for base in value.__bases__):
        lines.append("   :inherited-members: Exception")
    return [*lines, ""]


def _text(sections: dict[str, list[str]]) -> Iterable[str]:
    yield _TOP
    for title, names in sections.items():
        yield f"## {title}\n"
        yield "```{eval-rst}\n.. currentmodule:: ziggy_dask\n"
        yield "\n".join(line for name in names for line in _entry(name))
        yield "```\n"


def write_python_reference(file: Path) -> None:
    """Write the reference, if it is not there as it should be."""
    text = "\n".join(_text(_sections()))
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
