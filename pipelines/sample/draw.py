"""Draw the sample's images: two sets of four, as a delivery without manifest.

Usage: python draw.py DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 200
"""Width and height, in pixels."""


def planet(number: int, tint: tuple[float, float, float]) -> np.ndarray:
    """Return a picture of a ringed planet in front of stars.

    Parameters
    ----------
    number
        Which one, from 0; moves the planet and turns the light.
    tint
        Red, green and blue of the planet, 0 to 1.

    Returns
    -------
    numpy.ndarray
        (y, x, channel), uint8.
    """
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    x, y = x + 0.25 * (number - 1.5), y + 0.15 * (number % 2) - 0.1
    radius = np.hypot(x, y)
    height = np.sqrt(np.clip(0.2 - radius**2, 0, None))
    turn = 0.5 + number
    light = np.clip(np.cos(turn) * x + np.sin(turn) * y + height, 0, None) / 0.45
    bands = 0.8 + 0.2 * np.sin(22 * y)
    picture = np.zeros((SIZE, SIZE, 3))
    stars = np.random.default_rng(number).random((SIZE, SIZE)) > 0.997
    picture[stars] = 0.9
    ring = np.abs(np.hypot(x, 3.2 * (y + 0.3 * x)) - 0.72) < 0.06
    picture[ring] = (0.75, 0.7, 0.6)
    disc = (radius**2 < 0.2) & ~(ring & (y + 0.3 * x > 0))
    shaded = (light * bands)[..., None] * np.asarray(tint)
    picture[disc] = shaded[disc]
    return np.rint(255 * np.clip(picture, 0, 1)).astype("uint8")


def draw(directory: Path) -> None:
    """Write the images of both sets below `directory`."""
    tints = {"set-1": (1.0, 0.6, 0.3), "set-2": (0.35, 0.65, 1.0)}
    for name, tint in tints.items():
        place = directory / name / "L0"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(4):
            image = Image.fromarray(planet(number, tint))
            image.save(place / f"image-{number}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
