"""Reports on an instance: one file that needs nothing else."""

from ziggy_dask.interface.report.page import report_html
from ziggy_dask.interface.report.writing import write_report

__all__ = ["report_html", "write_report"]
