"""What a site tells of its queues: the table of NASA's Advanced Supercomputing division."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ClusterError

DIRECTORATES = ("ARMD", "HEOMD", "SMD", "Total")
"""In the order of their columns."""
_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How much waits for one sort of nodes."""

    nodes: float
    """Nodes that the directorate has."""
    backlog: float
    """Work that waits."""
    run_out_h: float
    """Hours after which it has run."""
    expansion: float
    """Time from submission to end over time of running."""


@dataclass(frozen=True, slots=True)
class NasMetrics:
    """`QueueMetrics` of NAS: rows by the first three letters of architectures."""

    states: dict[str, QueueState]
    """States of queues by those letters."""

    def state(self, architecture: str) -> QueueState:
        """Return the state for an architecture.

        Raises
        ------
        ClusterError
            If the table has no row for it.
        """
        try:
            return self.states[architecture[:3]]
        except KeyError:
            raise ClusterError(
                f"the site's table of queues has no row {architecture[:3]!r} for "
                f"architecture {architecture!r}" + suggestion(architecture, self.states)
            ) from None

    def run_out_h(self, architecture: str) -> float:
        """Return the hours after which what is queued for an architecture has run."""
        return self.state(architecture).run_out_h

    def expansion(self, architecture: str) -> float:
        """Return the time from submission to end over the time of running."""
        return self.state(architecture).expansion


def read_nas_metrics(path: Path, directorate: str = "SMD") -> NasMetrics:
    """Read the table that the site's ``qs`` tool writes as CSV.

    Parameters
    ----------
    directorate
        Whose columns to use: one of `DIRECTORATES`.

    Raises
    ------
    ClusterError
        If the file can't be read, or a row is not a row of that table.
    """
    if directorate not in DIRECTORATES:
        raise ClusterError(
            f"unknown directorate {directorate!r}{suggestion(directorate, DIRECTORATES)}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"{path}: can't be read: {error}") from error
    first = 1 + _COLUMNS * DIRECTORATES.index(directorate)
    states = {}
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row or not row[0] or row[0].startswith("#"):
            continue
        if number == 1 and not row[-1][:1].isdigit():  # the columns' names
            continue
        try:
            values = [float(cell) for cell in row[first : first + _COLUMNS]]
        except ValueError:
            raise ClusterError(f"{path}:{number}: expected numbers in {row}") from None
        if len(values) < _COLUMNS:
            raise ClusterError(
                f"{path}:{number}: has {len(row)} columns, too few for {directorate}"
            )
        nodes, backlog, run_out_h, expansion = values
        states[row[0][:3]] = QueueState(
            nodes=nodes, backlog=backlog, run_out_h=run_out_h, expansion=expansion
        )
    return NasMetrics(states)
