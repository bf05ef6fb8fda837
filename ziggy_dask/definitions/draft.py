"""A pipeline in the making: its functions are defined in a notebook."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ziggy_dask.definitions.card import pipeline_card
from ziggy_dask.definitions.names import argument_name
from ziggy_dask.definitions.pipeline import Pipeline
from ziggy_dask.definitions.source import module_text
from ziggy_dask.definitions.text import DEFINITION_FILE, pipeline_from_yaml
from ziggy_dask.errors import DefinitionError

MODULE = "algorithms"

F = TypeVar("F", bound=Callable[..., object])


class Draft:
    """A pipeline whose algorithms are functions of a notebook.

    Parameters
    ----------
    name
        Name of the pipeline.
    **content
        What else a definition file has, by the same keys: ``placeholders``,
        ``data_types``, ``parameter_sets``, ``nodes`` that have no function, …

    Examples
    --------
    >>> draft = Draft(
    ...     "brightness",
    ...     placeholders={"night": "night-[0-9]+"},
    ...     data_types={
    ...         "frame": {"location": "{night}/frames", "subtask": "frame", "external": True},
    ...         "level": {"location": "{night}/levels", "subtask": "frame"},
    ...     },
    ... )
    >>> @draft.node(outputs=["level"])
    ... def measure(frame):
    ...     return frame.mean(("y", "x"))
    >>> draft.pipeline.by_name["measure"].inputs
    (Input(data_type='frame', all_subtasks=False),)
    """

    def __init__(self, name: str, **content: Any) -> None:
        self.name = name
        self._content = content
        self._functions: dict[str, Callable[..., object]] = {}
        self._nodes: dict[str, dict[str, Any]] = {}

    def node(
        self,
        *,
        outputs: Sequence[str],
        inputs: Sequence[str] | None = None,
        name: str | None = None,
        is_dask: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        """Make a node of the function that follows; it stays as it is.

        Doing so again replaces the node of that name.

        Parameters
        ----------
        outputs
            Data types that it writes.
        inputs
            Data types that it reads; by default those that its arguments name.
        name
            Name of the node; by default that of the function.
        is_dask
            Whether it takes the whole unit of work lazily and returns it so.
        **options
            What else a node can have in a definition file, by the same keys.
        """

        def made(function: F) -> F:
            key = "dask_function" if is_dask else "function"
            chosen = self._named_by(function) if inputs is None else list(inputs)
            node = name or function.__name__
            self._functions[node] = function
            self._nodes[node] = {
                key: f"{MODULE}:{function.__name__}",
                "inputs": chosen,
                "outputs": list(outputs),
                **options,
            }
            return function

        return made

    @property
    def pipeline(self) -> Pipeline:
        """The definition, as far as it goes.

        Raises
        ------
        DefinitionError
            With everything that is wrong.
        """
        return pipeline_from_yaml(self.to_yaml(), file=f"draft {self.name!r}")

    def to_yaml(self) -> str:
        """Return the text of the definition file."""
        nodes = {**self._content.get("nodes", {}), **self._nodes}
        content = {"pipeline": self.name, **self._content, "nodes": nodes}
        try:
            return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        except yaml.YAMLError as error:
            raise DefinitionError(
                f"draft {self.name!r}: holds what a definition file can't: {error}"
            ) from error

    def to_module(self) -> str:
        """Return the text of the module of its functions."""
        title = f"Algorithms of the pipeline {self.name}, as defined in a notebook."
        return module_text(title, list(self._functions.values()))

    def save(self, directory: str | Path) -> Path:
        """Write definition and module into a directory, for ``ziggy import``.

        Raises
        ------
        DefinitionError
            If something is wrong, or other files of these names are there.
        """
        place = Path(directory)
        files = self._files()
        for name, text in files.items():
            file = place / name
            if file.exists() and file.read_text(encoding="utf-8") != text:
                raise DefinitionError(
                    f"{file}: is there and says something else; remove it, or save "
                    "elsewhere"
                )
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text, encoding="utf-8")
        return place

    def keep(self, above: Path) -> Path:
        """Save it below a directory, under its name and a digest of all its text.

        What was kept before stays as it is, so instances can tell for ever what ran.
        """
        digest = hashlib.sha256("\0".join(self._files().values()).encode()).hexdigest()
        return self.save(above / argument_name(self.name) / digest[:16])

    def _files(self) -> dict[str, str]:
        self.pipeline  # noqa: B018  # raises if something is wrong
        return {
            f"{MODULE}.py": self.to_module(),
            DEFINITION_FILE: self.to_yaml(),
        }

    def _named_by(self, function: Callable[..., object]) -> list[str]:
        arguments = inspect.signature(function).parameters
        types = self._content.get("data_types", {})
        return [name for name in types if argument_name(name) in arguments]

    def __repr__(self) -> str:
        """Say what it has."""
        nodes = ", ".join([*self._content.get("nodes", {}), *self._nodes]) or "-"
        return f"<ziggy_dask.Draft {self.name!r}: nodes {nodes}>"

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        return pipeline_card(self.pipeline, "draft")
