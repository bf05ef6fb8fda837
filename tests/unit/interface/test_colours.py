"""Colours are told apart by people who see few of them."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import ziggy_dask.interface.page as page
from ziggy_dask.definitions.drawing import PALETTE
from ziggy_dask.interface.page.drawings import PROGRESS
from ziggy_dask.interface.report.drawings import FAILED

SIGHT = {
    "usual": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
"""Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291, severity 1.0."""
APART = 15
"""Distance in CIE Lab; about 2 can be seen when two colours touch."""


def lab(colour: str, sight: str) -> np.ndarray:
    """Return a colour in CIE Lab (D65), as it is seen."""
    given = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    linear = np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    seen = np.clip(np.asarray(SIGHT[sight]) @ linear, 0, 1)
    xyz = to_xyz @ seen / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array(
        [116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])]
    )


def lights() -> list[str]:
    """Return the colours of lights, as the page gives them."""
    text = (Path(page.__file__).parent / "page.html").read_text()
    return re.findall(r"\.(?:grey|green|yellow|red) b \{ color: (#\w{6})", text)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    "colours", [(*PALETTE, FAILED), tuple(PROGRESS.values()), tuple(lights())]
)
def test_colours_are_told_apart(colours, sight):
    assert len(colours) >= 4
    for one, other in combinations(colours, 2):
        distance = np.linalg.norm(lab(one, sight) - lab(other, sight))
        assert distance > APART, (one, other, distance)


def test_colours_that_look_alike_to_some_are_noticed():
    red, green = lab("#b05a00", "deuteranopia"), lab("#6f7a00", "deuteranopia")
    assert np.linalg.norm(red - green) < APART
    assert np.linalg.norm(lab("#b05a00", "usual") - lab("#6f7a00", "usual")) > APART
