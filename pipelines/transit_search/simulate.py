"""Make light curves of stars with and without planets, like those of Kepler's K2.

Usage: python simulate.py DIRECTORY [--stars 20] [--seed 0] [--truth FILE]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

DAYS = 80.0
CADENCE_DAYS = 0.5 / 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What was put into a light curve; times in days. Period 0: no planet."""

    star: str
    period: float
    epoch: float
    duration: float
    depth: float
    noise: float
    snr: float


def simulate(
    star: str, seed: int, *, has_planet: bool
) -> tuple[np.ndarray, np.ndarray, Truth]:
    """Return times (days), relative flux and the truth of one star.

    White noise, two modes of rotation, slow instrument drift, two gaps, flares and
    single outliers; transits with ingress and a limb-darkened bottom.
    """
    dice = np.random.default_rng(seed)
    time = np.arange(0.0, DAYS, CADENCE_DAYS)
    noise = float(np.exp(dice.uniform(np.log(8e-5), np.log(4e-4))))
    flux = 1 + _variability(dice, time)
    truth = (
        _truth(dice, star, noise)
        if has_planet
        else Truth(
            star=star, period=0, epoch=0, duration=0, depth=0, noise=noise, snr=0
        )
    )
    if has_planet:
        flux *= 1 - transits(time, truth)
    flux += dice.normal(0, noise, time.size)
    kept = np.ones(time.size, bool)
    for start in dice.uniform(5, DAYS - 8, 2):
        kept &= (time < start) | (time > start + dice.uniform(0.5, 2))
    strange = dice.random(time.size) < 0.002
    flux[strange] += np.abs(dice.normal(0, 15 * noise, int(strange.sum())))
    if has_planet:
        inside = transits(time[kept], truth) > 0.5 * truth.depth
        snr = truth.depth / noise * float(np.sqrt(inside.sum()))
        truth = Truth(**{**asdict(truth), "snr": snr})
    return time[kept], flux[kept], truth


def transits(time: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the relative loss of light; zero outside transits."""
    phase = (time - truth.epoch + truth.period / 2) % truth.period - truth.period / 2
    place = np.abs(phase) / (truth.duration / 2)
    ingress = 0.12
    shape = np.clip((1 - place) / ingress, 0, 1)
    bottom = 0.9 + 0.1 * np.sqrt(np.clip(1 - place**2, 0, 1))
    return truth.depth * shape * bottom


def write(directory: Path, stars: int, seed: int) -> list[Truth]:
    """Write light curves as CSV files, every other one with a planet."""
    place = directory / "campaign-01" / "light-curves"
    place.mkdir(parents=True, exist_ok=True)
    truths = []
    for number in range(stars):
        name = f"SIM-{number:04d}"
        time, flux, truth = simulate(name, seed + number, has_planet=number % 2 == 0)
        rows = "".join(f"{t:.8f},{f:.8f}\n" for t, f in zip(time, flux, strict=True))
        (place / f"{name}.csv").write_text(rows)
        truths.append(truth)
    return truths


def _variability(dice: np.random.Generator, time: np.ndarray) -> np.ndarray:
    rotation = dice.uniform(8, 30)
    size = np.exp(dice.uniform(np.log(2e-4), np.log(5e-3)))
    slow = 2e-3 * (time / DAYS - 0.5) ** 2 * dice.normal()
    return slow + sum(
        size / n * np.sin(2 * np.pi * n * time / rotation + dice.uniform(0, 7))
        for n in (1, 2)
    )


def _truth(dice: np.random.Generator, star: str, noise: float) -> Truth:
    period = float(np.exp(dice.uniform(np.log(1), np.log(25))))
    return Truth(
        star=star,
        period=period,
        epoch=float(dice.uniform(0, period)),
        duration=float(2.6 / 24 * (period / 5) ** (1 / 3) * dice.uniform(0.7, 1.3)),
        depth=float(noise * np.exp(dice.uniform(np.log(1), np.log(12)))),
        noise=noise,
        snr=0.0,
    )


def main() -> None:
    """Read the command line and write files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--stars", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", type=Path, help="table of what was put in")
    chosen = parser.parse_args()
    truths = write(chosen.directory, chosen.stars, chosen.seed)
    if chosen.truth:
        lines = [",".join(asdict(truths[0]))]
        lines += [",".join(map(str, asdict(one).values())) for one in truths]
        chosen.truth.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
