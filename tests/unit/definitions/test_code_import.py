"""Modules beside ``algorithms.py``, imported as Python users write it."""

import sys

import pytest

from ziggy_dask.definitions import code_version, load_function


def write(root, **modules):
    root.mkdir(exist_ok=True)
    for name, text in modules.items():
        path = root / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return root


HELPERS = "FACTOR = {0}\nclass Scaled:\n    factor = FACTOR\n"


@pytest.mark.parametrize(
    "text",
    [
        "import helpers\ndef f(): return helpers.FACTOR",
        "import helpers as h\ndef f(): return h.FACTOR",
        "from helpers import FACTOR\ndef f(): return FACTOR",
        "from helpers import *\ndef f(): return FACTOR",
        "from . import helpers\ndef f(): return helpers.FACTOR",
        "from .helpers import FACTOR\ndef f(): return FACTOR",
        "def f():\n    import helpers\n    return helpers.FACTOR",
        "def f():\n    from helpers import FACTOR\n    return FACTOR",
        "import package.part\ndef f(): return package.part.helpers.FACTOR",
        "import package.part as p\ndef f(): return p.helpers.FACTOR",
        "from package import part\ndef f(): return part.helpers.FACTOR",
        "from package.part import helpers\ndef f(): return helpers.FACTOR",
        "import spaces.part\ndef f(): return spaces.part.FACTOR",
        "class A:\n    import helpers\ndef f(): return A.helpers.FACTOR",
        "import helpers, json, os.path\ndef f(): return helpers.FACTOR",
    ],
)
def test_what_lies_beside_is_found_and_two_pipelines_stay_apart(tmp_path, text):
    functions = [
        load_function(
            write(
                tmp_path / f"p{number}",
                algorithms=text,
                helpers=HELPERS.format(number),
                package__in____init__="",
                package__in__part="import helpers",
                spaces__in__part="from helpers import FACTOR",
            ),
            "algorithms:f",
        )
        for number in (1, 2)
    ]
    assert [function() for function in functions] == [1, 2]
    assert "helpers" not in sys.modules


def test_versions_of_one_directory_stay_apart(tmp_path):
    text = "def f():\n    import helpers\n    return helpers.FACTOR"
    root = write(tmp_path / "p", algorithms=text, helpers="FACTOR = 1")
    first = load_function(root, "algorithms:f", code_version(root))
    assert first() == 1
    write(root, helpers="FACTOR = 22")
    second = load_function(root, "algorithms:f", code_version(root))
    assert (first(), second()) == (1, 22)


def test_absolute_and_relative_imports_give_one_module(tmp_path):
    text = "import helpers\nfrom . import helpers as h\ndef f(): return helpers is h"
    root = write(tmp_path / "p", algorithms=text, helpers="")
    assert load_function(root, "algorithms:f")()


def test_a_module_beside_comes_before_an_installed_one_for_its_pipeline_only(tmp_path):
    text = "import colorsys\ndef f(): return colorsys.MINE"
    root = write(tmp_path / "p", algorithms=text, colorsys="MINE = 5")
    assert load_function(root, "algorithms:f")() == 5
    import colorsys

    assert not hasattr(colorsys, "MINE")


def test_a_directory_of_data_hides_no_package(tmp_path):
    text = "import xarray\ndef f(): return xarray.Dataset"
    root = write(tmp_path / "p", algorithms=text)
    (root / "xarray").mkdir()
    import xarray

    assert load_function(root, "algorithms:f")() is xarray.Dataset
