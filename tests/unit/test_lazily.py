"""Names that are imported when they are first asked for."""

import importlib
import subprocess
import sys

import pytest

from ziggy_dask.lazily import names_from

PACKAGES = (
    "ziggy_dask",
    *(f"ziggy_dask.{p}" for p in ("definitions", "records", "workers")),
)
IMPORT_ALL = """
import importlib, pkgutil, sys
from types import ModuleType
package = importlib.import_module(sys.argv[1])
homes = package._HOMES
for module in {home for home in homes.values() if home and ":" not in home}:
    importlib.import_module(f"{package.__name__}.{module}")
wrong = [n for n, home in homes.items() if home and isinstance(getattr(package, n), ModuleType)]
assert not wrong, wrong
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_names_stay_what_they_are_whoever_imported_their_modules(package):
    assert importlib.import_module(package)._HOMES
    command = [sys.executable, "-c", IMPORT_ALL, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_that_its_module_would_hide_is_refused():
    with pytest.raises(ValueError, match="names of modules, too: some"):
        names_from("package", {"some": "some", "other": "some"})
