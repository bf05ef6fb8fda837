"""How the site is built: ``make docs``."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from command_reference import write_command_reference  # noqa: E402
from python_reference import write_python_reference  # noqa: E402

project = "ziggy-dask"
author = "The ziggy-dask developers"
copyright = author
version = release = version_of("ziggy-dask")

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build", "_gallery", "notebooks"]
myst_heading_anchors = 3
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = "ziggy-dask"
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d7a",
        "color-brand-content": "#0b5d7a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cc3e0",
        "color-brand-content": "#6cc3e0",
    },
}

write_command_reference(HERE / "reference" / "commands.md")
write_python_reference(HERE / "reference" / "python.md")
if not (HERE / "_gallery").exists():  # make clean removes it
    subprocess.run(
        [sys.executable, HERE / "make_gallery.py", HERE / "_gallery"], check=True
    )
