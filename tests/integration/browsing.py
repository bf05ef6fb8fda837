"""What tests of the page in a browser share."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver.support.ui import WebDriverWait

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
"""Where tests leave pictures of the page, for people to look at."""
LIMIT_S = 60


@contextmanager
def served(cluster) -> Iterator[str]:
    """Serve the page of a cluster by ``ziggy console``; yield its address with token.

    Nothing may go wrong in the server meanwhile.
    """
    file = cluster._site.cluster.path
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file), "console"]
    with tempfile.TemporaryFile("w+") as told:
        options = {"stdout": subprocess.PIPE, "stderr": told, "text": True}
        with subprocess.Popen(command, **options) as process:
            try:
                yield process.stdout.readline().strip()
            finally:
                process.terminate()
        told.seek(0)
        assert "Traceback" not in (log := told.read()), log


def until(browser, holds):
    """Wait until something holds."""
    return WebDriverWait(browser, LIMIT_S).until(lambda _: holds())


def errors(browser):
    """Return what went wrong in the browser."""
    log = browser.get_log("browser")
    return [one["message"] for one in log if one["level"] == "SEVERE"]


def text(browser, panel):
    """Return what a panel says."""
    return browser.find_element("id", panel).text
