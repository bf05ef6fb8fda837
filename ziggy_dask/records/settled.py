"""Units of work in which nodes had nothing left to do, as plans have found out.

A plan passes over them as long as nothing is published of their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.tables import SettledRow


@patiently
def settled_units(database: Database, pipeline: str, node: str) -> dict[str, int]:
    """Return the units in which a node had nothing left to do, with the publication.

    Parameters
    ----------
    database
        The records.
    pipeline
        Name and digest of the pipeline's definition.
    node
        Name of the node.

    Returns
    -------
    dict
        Number of the publication as of which that was so, by the inputs of the unit.
    """
    query = select(SettledRow.inputs, SettledRow.publication).where(
        SettledRow.pipeline == pipeline, SettledRow.node == node
    )
    with database.reading() as connection:
        return {row.inputs: row.publication for row in connection.execute(query)}


@patiently
def keep_settled(
    database: Database, pipeline: str, number: int, units: Sequence[tuple[str, str]]
) -> None:
    """Note in which units nothing is left to do as of a publication.

    Parameters
    ----------
    database
        The records.
    pipeline
        Name and digest of the pipeline's definition.
    number
        Number of the publication.
    units
        Node and inputs of each unit.
    """
    if not units:
        return
    by_node: dict[str, list[str]] = {}
    for node, inputs in units:
        by_node.setdefault(node, []).append(inputs)
    with database.writing() as connection:
        for node, texts in by_node.items():
            for some in pieces(texts):
                connection.execute(
                    delete(SettledRow).where(
                        SettledRow.pipeline == pipeline,
                        SettledRow.node == node,
                        SettledRow.inputs.in_(some),
                    )
                )
        rows = [
            {
                "pipeline": pipeline,
                "node": node,
                "inputs": inputs,
                "publication": number,
            }
            for node, inputs in dict.fromkeys(units)
        ]
        connection.execute(insert(SettledRow), rows)


def forget_settled(connection: Connection, nodes: Sequence[str]) -> None:
    """Look anew at all units of some nodes: what they made is taken back."""
    if nodes:
        connection.execute(delete(SettledRow).where(SettledRow.node.in_(nodes)))
