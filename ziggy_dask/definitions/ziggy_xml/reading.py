"""Reading definition files of the original Ziggy, with all their faults at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.parameters import (
    ParameterSet,
    parameter_from_text,
    trim_list,
)
from ziggy_dask.definitions.ziggy_xml.elements import (
    Element,
    parse_element,
    read_element,
)
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyArchitecture,
    ZiggyDirectory,
    ZiggyEnvironment,
    ZiggyEvent,
    ZiggyFileType,
    ZiggyModelType,
    ZiggyNode,
    ZiggyPipeline,
    ZiggyQueue,
    ZiggyRegexp,
    ZiggySet,
    ZiggyStep,
)
from ziggy_dask.errors import DefinitionError, Fault

CLASSES = ("uowGenerator", "pipelineStepExecutorClass", "inputsClass", "outputsClass")
PRIORITIES = ("HIGHEST", "HIGH", "NORMAL", "LOW", "LOWEST")
_NAMED = ("name",)


@dataclass(frozen=True, slots=True)
class _Form:
    """What an element may hold."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


_NODE_CHILDREN = (
    "parameterSet",
    "inputDataFileType",
    "outputDataFileType",
    "modelType",
)
_TOP = _Form(
    (),
    (),
    (
        "step",
        "pipeline",
        "parameterSet",
        "dataFileType",
        "modelType",
        "datastoreRegexp",
        "datastoreNode",
        "remoteEnvironment",
        "pipelineEvent",
    ),
)
_FORMS: Mapping[str, _Form] = {
    "pipelineDefinition": _TOP,
    "pipelineDefinition/step": _Form(_NAMED, ("file", "description", *CLASSES)),
    "pipelineDefinition/pipeline": _Form(
        ("name", "description", "rootNodeNames"),
        ("instancePriority",),
        ("node", "parameterSet"),
    ),
    "pipeline/node": _Form(
        _NAMED,
        ("childNodeNames", "singleSubtask", "maxWorkers", "heapSizeGigabytes"),
        _NODE_CHILDREN,
    ),
    "pipeline/parameterSet": _Form(_NAMED),
    **{f"node/{tag}": _Form(_NAMED) for tag in _NODE_CHILDREN},
    "pipelineDefinition/parameterSet": _Form(
        _NAMED, ("algorithmInterfaceName", "partial"), ("parameter",)
    ),
    "parameterSet/parameter": _Form(("name", "value"), ("type",)),
    "pipelineDefinition/dataFileType": _Form(
        ("name", "location", "fileNameRegexp"), ("includeAllFilesInAllSubtasks",)
    ),
    "pipelineDefinition/modelType": _Form(
        ("type", "fileNameRegex"),
        ("versionNumberGroup", "timestampGroup", "semanticVersionNumber"),
    ),
    "pipelineDefinition/datastoreRegexp": _Form(("name", "value")),
    "pipelineDefinition/datastoreNode": _Form(
        _NAMED, ("isRegexp", "nodes"), ("datastoreNode",)
    ),
    "datastoreNode/datastoreNode": _Form(
        _NAMED, ("isRegexp", "nodes"), ("datastoreNode",)
    ),
    "pipelineDefinition/remoteEnvironment": _Form(
        ("name", "description", "batchSystem", "costUnit"),
        ("queueTimeMetricsClass",),
        ("architecture", "queue"),
    ),
    "remoteEnvironment/architecture": _Form(
        ("name", "description", "cores", "ramGigabytes", "cost"),
        ("bandwidthGbps", "nodeCollectionNamesFile"),
    ),
    "remoteEnvironment/queue": _Form(
        ("name", "description"),
        ("maxWallTimeHours", "maxNodes", "reserved", "autoSelectable"),
    ),
    "pipelineDefinition/pipelineEvent": _Form(
        ("name", "pipelineName", "directory", "enableOnClusterStart")
    ),
}


def read_ziggy_xml(paths: Iterable[Path]) -> Library:
    """Read definition files; what is in them is pooled.

    Parameters
    ----------
    paths
        The files; they are taken in the order of their names.

    Raises
    ------
    DefinitionError
        With everything that is wrong in any of them, each with file and line.
    """
    reading = _Reading()
    tops = []
    for path in sorted(paths, key=lambda path: path.name):
        try:
            tops.append(read_element(path))
        except DefinitionError as error:
            reading.faults.extend(error.faults)
    return _finish(reading, tops)


def parse_ziggy_xml(text: str) -> Library:
    """Return the definitions that `ziggy_xml` wrote."""
    return _finish(_Reading(), [parse_element(text.encode(), "registered definitions")])


def _finish(reading: _Reading, tops: Iterable[Element]) -> Library:
    for top in tops:
        if top.tag != "pipelineDefinition":
            reading.fault(top, f"expected <pipelineDefinition>, found <{top.tag[:80]}>")
            continue
        reading.require_form(top, "pipelineDefinition")
        reading.elements.extend(top.children)
    library = reading.library()
    if reading.faults:
        raise DefinitionError(
            sorted(set(reading.faults), key=lambda one: (one.file, one.line))
        )
    return library


T = TypeVar("T")


@dataclass
class _Reading:
    """Elements that are being read, and what is wrong with them."""

    elements: list[Element] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, element: Element, message: str) -> None:
        self.faults.append(element.fault(message))

    def require_form(self, element: Element, form_name: str) -> None:
        """Note all that the grammar does not allow in an element."""
        form = _FORMS[form_name]
        known = (*form.required, *form.optional)
        for name in element.attributes:
            if name not in known:
                self.fault(
                    element,
                    f"<{element.tag}> has the unknown attribute {name[:80]!r}"
                    + suggestion(name, known),
                )
        for name in form.required:
            if name not in element.attributes:
                self.fault(element, f"<{element.tag}> lacks the attribute {name!r}")
        for child in element.children:
            if child.tag not in form.children:
                self.fault(
                    child,
                    f"<{child.tag[:80]}> can't be in <{element.tag}>"
                    + suggestion(child.tag, form.children),
                )
            else:
                self.require_form(child, f"{element.tag}/{child.tag}")

    def library(self) -> Library:
        """Return the definitions."""
        return Library(
            steps=self._each("step", "name", self._step),
            pipelines=self._each("pipeline", "name", self._pipeline),
            parameter_sets=self._each("parameterSet", "name", self._set),
            file_types=self._each("dataFileType", "name", self._file_type),
            model_types=self._each("modelType", "type", self._model_type),
            regexps=self._each("datastoreRegexp", "name", self._regexp),
            directories={
                one.path: one for one in _directories(self, self._of("datastoreNode"))
            },
            events=self._each("pipelineEvent", "name", self._event),
            environments=self._each("remoteEnvironment", "name", self._environment),
        )

    def _of(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]

    def _each(self, tag: str, key: str, make: Callable[[Element], T]) -> dict[str, T]:
        found: dict[str, T] = {}
        first: dict[str, Element] = {}
        for element in self._of(tag):
            name = element.attributes.get(key, "")
            if name in first:
                other = first[name]
                self.fault(
                    element,
                    f"a second <{tag}> is called {name!r}; the first is at "
                    f"{other.file}:{other.line}",
                )
                continue
            first[name] = element
            try:
                found[name] = make(element)
            except DefinitionError as error:
                self.fault(element, str(error))
        return found

    def text(self, element: Element, name: str, default: str = "") -> str:
        """Return an attribute without white space at its ends."""
        return element.attributes.get(name, default).strip()

    def names(self, element: Element, name: str) -> tuple[str, ...]:
        """Return a list of names."""
        text = trim_list(element.attributes.get(name))
        return tuple(one for one in text.split(",") if one)

    def flag(self, element: Element, name: str, *, default: bool = False) -> bool:
        """Return true or false."""
        text = self.text(element, name, str(default).lower())
        if text not in ("true", "false", "1", "0"):
            self.fault(element, f"{name!r} is {text!r}, but must be true or false")
        return text in ("true", "1")

    def integer(self, element: Element, name: str, default: int) -> int:
        """Return a whole number."""
        text = self.text(element, name, str(default))
        if re.fullmatch(r"[+-]?[0-9]+", text) is None:
            self.fault(element, f"{name!r} is {text!r}, but must be a whole number")
            return default
        return int(text)

    def number(self, element: Element, name: str, default: float) -> float:
        """Return a number."""
        text = self.text(element, name, str(default))
        try:
            return float(text)
        except ValueError:
            self.fault(element, f"{name!r} is {text!r}, but must be a number")
            return default

    def inside(self, element: Element, tag: str) -> tuple[str, ...]:
        """Return the names of the elements of a kind inside an element."""
        found = (self.text(c, "name") for c in element.children if c.tag == tag)
        return tuple(dict.fromkeys(found))

    def _step(self, element: Element) -> ZiggyStep:
        name = self.text(element, "name")
        return ZiggyStep(
            name=name,
            file=self.text(element, "file") or name,
            description=self.text(element, "description"),
            classes=tuple(
                (key, self.text(element, key))
                for key in CLASSES
                if key in element.attributes
            ),
        )

    def _pipeline(self, element: Element) -> ZiggyPipeline:
        priority = self.text(element, "instancePriority")
        if priority and priority not in PRIORITIES:
            self.fault(
                element,
                f"'instancePriority' is {priority!r}"
                + suggestion(priority, PRIORITIES),
            )
        nodes = [self._node(one) for one in element.children if one.tag == "node"]
        pipeline = ZiggyPipeline(
            name=self.text(element, "name"),
            description=self.text(element, "description"),
            roots=self.names(element, "rootNodeNames"),
            priority=priority,
            parameter_sets=self.inside(element, "parameterSet"),
            nodes=tuple(nodes),
        )
        self._require_tree(element, pipeline)
        return pipeline

    def _require_tree(self, element: Element, pipeline: ZiggyPipeline) -> None:
        known = [one.name for one in pipeline.nodes]
        for name in sorted({one for one in known if known.count(one) > 1}):
            self.fault(element, f"pipeline {pipeline.name!r} has two nodes {name!r}")
        named = [*pipeline.roots, *(c for one in pipeline.nodes for c in one.children)]
        for name in dict.fromkeys(named):
            if name not in known:
                self.fault(
                    element,
                    f"pipeline {pipeline.name!r} names the node {name!r}, which it "
                    f"does not have{suggestion(name, known)}",
                )
        if not pipeline.roots:
            self.fault(element, f"pipeline {pipeline.name!r} has no root node")

    def _node(self, element: Element) -> ZiggyNode:
        return ZiggyNode(
            name=self.text(element, "name"),
            children=self.names(element, "childNodeNames"),
            single_subtask=self.flag(element, "singleSubtask"),
            max_workers=self.integer(element, "maxWorkers", 0),
            heap_gigabytes=self.integer(element, "heapSizeGigabytes", 0),
            parameter_sets=self.inside(element, "parameterSet"),
            inputs=self.inside(element, "inputDataFileType"),
            outputs=self.inside(element, "outputDataFileType"),
            models=self.inside(element, "modelType"),
        )

    def _set(self, element: Element) -> ZiggySet:
        is_partial = self.flag(element, "partial")
        parameters = {}
        texts = {}
        for one in element.children:
            name, value = self.text(one, "name"), one.attributes.get("value", "")
            texts[name] = value
            kind = "" if is_partial else self.text(one, "type")
            try:
                parameters[name] = parameter_from_text(name, value, kind)
            except DefinitionError as error:
                self.fault(one, str(error))
        return ZiggySet(
            content=ParameterSet(
                name=self.text(element, "name"),
                parameters=tuple(parameters.values()),
                interface_name=self.text(element, "algorithmInterfaceName"),
            ),
            is_partial=is_partial,
            texts=tuple(texts.items()) if is_partial else (),
        )

    def _file_type(self, element: Element) -> ZiggyFileType:
        return ZiggyFileType(
            name=self.text(element, "name"),
            location=self.text(element, "location"),
            files=self.text(element, "fileNameRegexp"),
            all_subtasks=self.flag(element, "includeAllFilesInAllSubtasks"),
        )

    def _model_type(self, element: Element) -> ZiggyModelType:
        return ZiggyModelType(
            name=self.text(element, "type"),
            files=self.text(element, "fileNameRegex").replace("\\\\", "\\"),
            version_group=self.integer(element, "versionNumberGroup", -1),
            timestamp_group=self.integer(element, "timestampGroup", -1),
            semantic_version=self.flag(element, "semanticVersionNumber"),
        )

    def _regexp(self, element: Element) -> ZiggyRegexp:
        return ZiggyRegexp(
            name=self.text(element, "name"), value=self.text(element, "value")
        )

    def _event(self, element: Element) -> ZiggyEvent:
        return ZiggyEvent(
            name=self.text(element, "name"),
            pipeline=self.text(element, "pipelineName"),
            directory=self.text(element, "directory"),
            is_enabled=self.flag(element, "enableOnClusterStart"),
        )

    def _environment(self, element: Element) -> ZiggyEnvironment:
        system = self.text(element, "batchSystem").lower()
        if system not in ("pbs", "none"):
            self.fault(
                element,
                f"'batchSystem' is {system!r}" + suggestion(system, ("pbs", "none")),
            )
        return ZiggyEnvironment(
            name=self.text(element, "name"),
            description=self.text(element, "description"),
            batch_system=system,
            cost_unit=self.text(element, "costUnit"),
            metrics_class=self.text(element, "queueTimeMetricsClass"),
            architectures=tuple(
                self._different(element, "architecture", self._architecture)
            ),
            queues=tuple(self._different(element, "queue", self._queue)),
        )

    def _different(
        self, element: Element, tag: str, make: Callable[[Element], T]
    ) -> Iterator[T]:
        seen: set[str] = set()
        for one in element.children:
            if one.tag != tag:
                continue
            name = self.text(one, "name")
            if name in seen:
                self.fault(one, f"a second <{tag}> is called {name!r}")
            seen.add(name)
            yield make(one)

    def _architecture(self, element: Element) -> ZiggyArchitecture:
        return ZiggyArchitecture(
            name=self.text(element, "name"),
            description=self.text(element, "description"),
            cores=self.integer(element, "cores", 0),
            ram_gigabytes=self.integer(element, "ramGigabytes", 0),
            cost=self.number(element, "cost", 0.0),
            bandwidth_gbps=self.number(element, "bandwidthGbps", 0.0),
            node_names_file=self.text(element, "nodeCollectionNamesFile"),
        )

    def _queue(self, element: Element) -> ZiggyQueue:
        return ZiggyQueue(
            name=self.text(element, "name"),
            description=self.text(element, "description"),
            max_hours=self.number(element, "maxWallTimeHours", 0.0),
            max_nodes=self.integer(element, "maxNodes", 0),
            is_reserved=self.flag(element, "reserved"),
            is_auto=self.flag(element, "autoSelectable", default=True),
        )


def _directories(
    reading: _Reading, tops: Sequence[Element]
) -> Iterator[ZiggyDirectory]:
    """Yield the directories of trees of nodes, outer ones first.

    A node's children are those that its ``nodes`` names: elements inside it, inside
    those around it, or at the top of a file.
    """
    offered = {reading.text(one, "name"): one for one in tops}
    for top in tops:
        yield from _tree(reading, top, "", offered, ())


def _tree(
    reading: _Reading,
    element: Element,
    above: str,
    offered: Mapping[str, Element],
    around: tuple[int, ...],
) -> Iterator[ZiggyDirectory]:
    name = reading.text(element, "name")
    path = f"{above}/{name}".lstrip("/")
    if id(element) in around:
        reading.fault(element, f"the datastore node {path!r} contains itself")
        return
    if not name or "/" in name or "$" in name:
        reading.fault(element, f"{name!r} can't name a datastore node")
    yield ZiggyDirectory(path=path, is_regexp=reading.flag(element, "isRegexp"))
    own: dict[str, Element] = {}
    for child in element.children:
        inner = reading.text(child, "name")
        if inner in own:
            reading.fault(child, f"{path!r} holds two nodes {inner!r}")
        own[inner] = child
    listed = reading.names(element, "nodes")
    for inner in sorted({one for one in listed if listed.count(one) > 1}):
        reading.fault(element, f"the 'nodes' of {path!r} name {inner!r} twice")
    candidates = {**offered, **own}
    for inner in dict.fromkeys(listed):
        if inner not in candidates:
            reading.fault(
                element,
                f"the 'nodes' of {path!r} name {inner!r}, which is defined nowhere"
                + suggestion(inner, candidates),
            )
            continue
        inside = (*around, id(element))
        yield from _tree(reading, candidates[inner], path, candidates, inside)
