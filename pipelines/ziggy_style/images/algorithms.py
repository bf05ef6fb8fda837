"""Three small algorithms on image files, each a function of one dict."""

import re
import time
from pathlib import Path

import numpy as np
from PIL import Image


def permuter(inputs):
    """Move every colour one channel on: red to green, green to blue, blue to red."""
    wanted = _parameters(inputs)
    subtask = re.fullmatch("st-([0-9]+)", Path.cwd().name)[1]
    if wanted["throw_exception_subtask_0"] and subtask == "0":
        raise ValueError("subtask 0 was asked to fail")
    if not wanted["produce_output_subtask_1"] and subtask == "1":
        return
    print("with model", inputs["modelFilenames"])
    for name in _names(inputs):
        _save(np.roll(_load(name), 1, axis=2), name.replace(".png", ".perm.png"))


def flip(inputs):
    """Mirror images left to right and upside down."""
    _parameters(inputs)
    for name in _names(inputs):
        pixels = _load(name)
        _save(pixels[:, ::-1], name.replace(".perm", ".fliplr"))
        _save(pixels[::-1], name.replace(".perm", ".flipud"))


def averaging(inputs):
    """Average all images that there are, of both kinds."""
    _parameters(inputs)
    pixels = np.array([_load(name) for name in _names(inputs)], dtype="f8")
    _save(np.rint(pixels.mean(0)), "averaged-image.png")


def _parameters(inputs):
    wanted = inputs["algorithmParameters"]["Algorithm_Parameters"]
    time.sleep(float(wanted["execution_pause_seconds"]))
    return wanted


def _names(inputs):
    names = inputs["dataFilenames"]
    return (names,) if isinstance(names, str) else names


def _load(name):
    return np.asarray(Image.open(name).convert("RGB"))


def _save(pixels, name):
    Image.fromarray(np.asarray(pixels, dtype="u1")).save(name)
