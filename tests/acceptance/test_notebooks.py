"""The notebooks of the docs run as they stand, and show what they should.

Their own cells assert results; here it is what they show that counts.
"""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"

SHOWN = {
    "1-first-pipeline": ["First light", "COMPLETED", "night-2/levels", "def measure("],
    "2-results-and-failures": [
        "ERRORS_STALLED",
        "it fails here, too: mean",
        "is the bias right?",
        "COMPLETED",
    ],
    "3-scaling-out": ["#SBATCH", "COMPLETED", "node hours"],
}
PICTURES = {"1-first-pipeline": 2, "2-results-and-failures": 2, "3-scaling-out": 0}


def executed(name: str, directory: Path) -> list[dict]:
    """Run a notebook in a directory; return its outputs. An error of a cell raises."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(directory)}},
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs]


def test_all_notebooks_are_tested():
    assert {one.stem for one in NOTEBOOKS.glob("*.ipynb")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_notebooks_are_kept_without_outputs(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.integration
@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs_and_shows_what_it_should(name, tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    outputs = executed(name, tmp_path)
    texts = [output.get("text", "") for output in outputs]
    texts += [
        "".join(output.get("data", {}).get(kind, ""))
        for output in outputs
        for kind in ("text/plain", "text/html")
    ]
    whole = "\n".join(texts)
    for words in SHOWN[name]:
        assert words in whole, f"{name} does not show {words!r}"
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == PICTURES[name]
    cards = re.findall(r'<div class="zg-card">', whole)
    assert len(cards) >= 2, "objects show themselves"
    streams = [one.text for one in outputs if one.output_type == "stream"]
    assert "Traceback" not in "".join(streams)
