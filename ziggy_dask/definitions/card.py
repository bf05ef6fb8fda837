"""What a notebook shows of a pipeline."""

from __future__ import annotations

from ziggy_dask.definitions.drawing import lineage_svg
from ziggy_dask.definitions.pipeline import DataReceiptStep, Node, Pipeline
from ziggy_dask.display import Html, card, markup, section, table


def pipeline_card(pipeline: Pipeline, note: str = "") -> str:
    """Return a pipeline as HTML: its picture, and what it is made of, to be folded out."""
    picture = lineage_svg(pipeline, {}) if pipeline.nodes else Html("")
    types = [
        {"data type": one.name, "location": str(one.location), "kind": one.kind}
        for one in pipeline.data_types
    ]
    values = [
        {"set": one.name, "parameter": each.name, "value": str(each.value)}
        for one in pipeline.parameter_sets
        for each in one.parameters
    ]
    nodes = [_node(one) for one in pipeline.ordered]
    about = Html(f'<span class="zg-soft">{markup(note or pipeline.description)}</span>')
    return card(
        "Pipeline",
        pipeline.name,
        about,
        [
            picture,
            section("Nodes", table(nodes), f"({len(nodes)})"),
            section("Data types", table(types), f"({len(types)})"),
            section("Parameters", table(values), f"({len(values)})"),
        ],
    )


def _node(node: Node) -> dict[str, object]:
    step = node.step
    if isinstance(step, DataReceiptStep):
        runs = "data receipt"
    else:
        runs = getattr(step, "function", "") or getattr(step, "program", "")
    return {
        "node": node.name,
        "runs": Html(f"<code>{markup(runs)}</code>"),
        "reads": ", ".join(one.data_type for one in node.inputs),
        "writes": ", ".join(node.outputs),
        "parameters": ", ".join(node.parameters),
    }
