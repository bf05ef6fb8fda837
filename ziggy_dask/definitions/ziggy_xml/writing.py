"""Writing definitions as the original Ziggy reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ziggy_dask.definitions.parameters import ParameterType
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyDirectory,
    ZiggyEnvironment,
    ZiggyNode,
    ZiggyPipeline,
    ZiggySet,
)


def ziggy_xml(library: Library) -> str:
    """Return the text of a definition file."""
    top = Element("pipelineDefinition")
    for element in _elements(library):
        top.append(element)
    ElementTree.indent(top, "  ")
    text = ElementTree.tostring(top, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _elements(library: Library) -> Iterator[Element]:
    for step in library.steps.values():
        yield _element(
            "step",
            {"name": step.name, "file": step.file, "description": step.description}
            | dict(step.classes),
        )
    yield from (_set(one) for one in library.parameter_sets.values())
    for regexp in library.regexps.values():
        yield Element("datastoreRegexp", {"name": regexp.name, "value": regexp.value})
    yield from _directories(library.directories)
    for one in library.file_types.values():
        yield _element(
            "dataFileType",
            {
                "name": one.name,
                "location": one.location,
                "fileNameRegexp": one.files,
                "includeAllFilesInAllSubtasks": "true" if one.all_subtasks else "",
            },
        )
    for model in library.model_types.values():
        yield _element(
            "modelType",
            {
                "type": model.name,
                "fileNameRegex": model.files,
                "versionNumberGroup": _above(model.version_group, 0),
                "timestampGroup": _above(model.timestamp_group, 0),
                "semanticVersionNumber": "true" if model.semantic_version else "",
            },
        )
    yield from (_pipeline(one) for one in library.pipelines.values())
    for event in library.events.values():
        yield Element(
            "pipelineEvent",
            {
                "name": event.name,
                "pipelineName": event.pipeline,
                "directory": event.directory,
                "enableOnClusterStart": str(event.is_enabled).lower(),
            },
        )
    yield from (_environment(one) for one in library.environments.values())


def _element(tag: str, attributes: Mapping[str, str]) -> Element:
    return Element(tag, {name: text for name, text in attributes.items() if text})


def _above(number: float, least: float) -> str:
    return f"{number:g}" if number > least else ""


def _set(one: ZiggySet) -> Element:
    element = _element(
        "parameterSet",
        {
            "name": one.name,
            "algorithmInterfaceName": one.content.interface_name,
            "partial": "true" if one.is_partial else "",
        },
    )
    for parameter in one.content.parameters:
        attributes = {"name": parameter.name, "value": parameter.text}
        is_plain = parameter.type is ParameterType.STRING and not parameter.is_array
        if not is_plain and not one.is_partial:
            attributes["type"] = parameter.type_text
        element.append(Element("parameter", attributes))
    return element


def _pipeline(one: ZiggyPipeline) -> Element:
    element = Element(
        "pipeline",
        {
            "name": one.name,
            "description": one.description,
            "rootNodeNames": ", ".join(one.roots),
        },
    )
    if one.priority:
        element.set("instancePriority", one.priority)
    element.extend(_named("parameterSet", one.parameter_sets))
    element.extend(_node(node) for node in one.nodes)
    return element


def _node(one: ZiggyNode) -> Element:
    element = _element(
        "node",
        {
            "name": one.name,
            "childNodeNames": ", ".join(one.children),
            "singleSubtask": "true" if one.single_subtask else "",
            "maxWorkers": _above(one.max_workers, 0),
            "heapSizeGigabytes": _above(one.heap_gigabytes, 0),
        },
    )
    element.extend(_named("parameterSet", one.parameter_sets))
    element.extend(_named("inputDataFileType", one.inputs))
    element.extend(_named("outputDataFileType", one.outputs))
    element.extend(_named("modelType", one.models))
    return element


def _named(tag: str, names: Iterable[str]) -> list[Element]:
    return [Element(tag, {"name": name}) for name in names]


def _directories(directories: Mapping[str, ZiggyDirectory]) -> Iterator[Element]:
    made: dict[str, Element] = {}
    for path in sorted(directories):
        above, _, name = path.rpartition("/")
        element = Element("datastoreNode", {"name": name})
        if directories[path].is_regexp:
            element.set("isRegexp", "true")
        made[path] = element
        if above in made:
            made[above].append(element)
            children = (child.get("name", "") for child in made[above])
            made[above].set("nodes", ", ".join(children))
    yield from (made[path] for path in made if path.rpartition("/")[0] not in made)


def _environment(one: ZiggyEnvironment) -> Element:
    element = _element(
        "remoteEnvironment",
        {
            "name": one.name,
            "batchSystem": one.batch_system,
            "queueTimeMetricsClass": one.metrics_class,
        },
    )
    element.set("description", one.description)
    element.set("costUnit", one.cost_unit)
    for machine in one.architectures:
        attributes = {
            "name": machine.name,
            "cores": str(machine.cores),
            "ramGigabytes": str(machine.ram_gigabytes),
            "cost": f"{machine.cost:g}",
            "bandwidthGbps": _above(machine.bandwidth_gbps, 0),
            "nodeCollectionNamesFile": machine.node_names_file,
        }
        element.append(_element("architecture", attributes))
        element[-1].set("description", machine.description)
    for queue in one.queues:
        attributes = {
            "name": queue.name,
            "maxWallTimeHours": _above(queue.max_hours, 0),
            "maxNodes": _above(queue.max_nodes, 0),
            "reserved": "true" if queue.is_reserved else "",
            "autoSelectable": "" if queue.is_auto else "false",
        }
        element.append(_element("queue", attributes))
        element[-1].set("description", queue.description)
    return element
