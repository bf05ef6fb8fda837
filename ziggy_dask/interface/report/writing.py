"""Writing a report to a file: HTML, or the same pages as PDF."""

from __future__ import annotations

from pathlib import Path

from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.objects import Instance
from ziggy_dask.interface.report.page import report_html
from ziggy_dask.interface.whole_files import write_file


def write_report(instance: Instance, cluster: str, path: Path) -> None:
    """Write the report on an instance.

    Parameters
    ----------
    instance
        The instance.
    cluster
        Name of the cluster that it belongs to.
    path
        File to write: ``.html`` or ``.pdf``.

    Raises
    ------
    DefinitionError
        If it is another kind of file, its directory is not there, or PDF can't be
        made here.
    """
    if path.suffix not in (".html", ".pdf"):
        raise DefinitionError(
            f"{path}: can't write a report of that kind; use one of: .html, .pdf"
        )
    if not path.parent.is_dir():
        raise DefinitionError(f"{path}: there is no directory {path.parent}")
    text = report_html(instance, cluster)
    if path.suffix == ".html":
        write_file(path, text)
    else:
        write_file(path, _as_pdf(text))


def _as_pdf(text: str) -> bytes:
    try:
        from weasyprint import HTML
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        raise DefinitionError(
            f"PDF can't be made here: {error}; install it with: "
            "pip install 'ziggy-dask[report]' and, on Debian, apt-get install "
            "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
        ) from error
    return bytes(HTML(string=text).write_pdf())
