"""Simulate K2-like light curves, some with a transiting planet.

Usage: python simulate.py DIRECTORY --stars N --seed S

Each star has white noise, rotation, granulation, gaps and bad points; every
second one (see ``--planets``) has a planet. The curves are what data receipt
takes, ``campaign-01/light-curves/SIM-0001.csv`` and so on; ``truth.csv`` says
what is in them.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

START = 1977.0
"""Time of the first exposure, in days (K2 campaign 1 began near this one)."""
BASELINE = 80.0
"""Time from first to last exposure, in days."""
CADENCE = 29.4243904 / 60 / 24
"""Time between exposures, in days (Kepler Archive Manual, section 2.1)."""
LIMB_DARKENING = (0.45, 0.20)
"""Quadratic coefficients of a Sun-like star in the Kepler band (Claret 2011)."""
EXPOSURE_STEPS = 15
"""Points at which the light of one exposure is evaluated."""
FOLDER = "campaign-01/light-curves"
"""Where the curves go, below the delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planet:
    """A transiting planet on a circular orbit."""

    period: float
    """Orbital period, in days."""
    epoch: float
    """Middle of the first transit at or after `START`, in days."""
    duration: float
    """From first to last contact, in hours."""
    depth: float
    """Relative loss of light in mid-transit."""
    impact: float
    """Impact parameter, in stellar radii."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Star:
    """A simulated star: what is true, and what is seen."""

    name: str
    """Name, e.g. ``SIM-0001``."""
    planet: Planet | None
    """Its planet, if it has one."""
    snr: float
    """Signal-to-noise of all transits seen, in white noise; 0 without planet."""
    noise: float
    """Standard deviation of the white noise, relative."""
    rotation: float
    """Rotation period, in days."""
    time: FloatArray
    """(time,), days, of the exposures that were made."""
    flux: FloatArray
    """(time,), relative to the star's mean."""


def simulate(number: int, seed: int, *, with_planet: bool) -> Star:
    """Simulate a star.

    Parameters
    ----------
    number
        Which one, from 1. A star does not depend on how many others there are.
    seed
        Seed of all random numbers.
    with_planet
        Whether a planet transits.

    Notes
    -----
    The planet's period is uniform between 1 and 25 days; its duration is 0.5 to
    1.5 times that of a central transit of the Sun, 13 h (P / 1 yr)^(1/3) (Winn
    2010, eq. 19); its depth is log-uniform between 100 and 5000 ppm.
    """
    random = np.random.default_rng([seed, number])
    time = START + CADENCE * np.arange(int(BASELINE / CADENCE))
    noise = float(np.exp(random.uniform(np.log(40e-6), np.log(300e-6))))
    rotation = float(np.exp(random.uniform(np.log(4.0), np.log(40.0))))
    flux = 1.0 + _spots(time, rotation, random) + _granulation(time, noise, random)
    planet = _planet(random) if with_planet else None
    dip = transit(time, planet) if planet else np.zeros_like(time)
    flux = flux * (1.0 - dip) + noise * random.standard_normal(time.size)
    flux += _bad_points(time.size, noise, random)
    seen = _seen(time, random)
    return Star(
        name=f"SIM-{number:04d}",
        planet=planet,
        snr=float(np.sqrt(np.sum(dip[seen] ** 2)) / noise),
        noise=noise,
        rotation=rotation,
        time=time[seen],
        flux=flux[seen],
    )


def transit(time: FloatArray, planet: Planet) -> FloatArray:
    """Return the relative loss of light to transits, averaged over exposures.

    Parameters
    ----------
    time
        (time,), days, the middles of exposures as long as `CADENCE`.
    planet
        The planet.

    Returns
    -------
    numpy.ndarray
        (time,), float64, 0 outside transits and at most ``planet.depth``.

    Notes
    -----
    Small-planet approximation of Mandel & Agol (2002), section 5, with uniform
    motion across the disc; exposures as in Kipping (2010).
    """
    fractions = (np.arange(EXPOSURE_STEPS) + 0.5) / EXPOSURE_STEPS - 0.5
    when = time[:, None] + CADENCE * fractions
    half = planet.period / 2
    offset = (when - planet.epoch + half) % planet.period - half
    radius = _radius(planet)
    chord = np.sqrt((1 + radius) ** 2 - planet.impact**2)
    along = offset / (planet.duration / 24 / 2) * chord
    distance = np.hypot(along, planet.impact)
    dip = _dip(distance, radius) / _dip(np.array(planet.impact), radius)
    return np.asarray(planet.depth * dip.mean(axis=1), dtype=np.float64)


def write_stars(stars: Sequence[Star], directory: Path, truth: Path) -> None:
    """Write a delivery of light curves, and the truth about them.

    Parameters
    ----------
    stars
        What to write.
    directory
        Top of the delivery; made if absent.
    truth
        File of one line per star; planet columns are empty without planet.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for star in stars:
        table = np.column_stack([star.time, star.flux])
        np.savetxt(folder / f"{star.name}.csv", table, fmt="%.8f", delimiter=",")
    truth.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in dataclasses.fields(Planet)]
    with truth.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["star", *names, "snr", "noise", "rotation"])
        for star in stars:
            planet = [getattr(star.planet, name, "") for name in names]
            rows.writerow([star.name, *planet, star.snr, star.noise, star.rotation])


def _planet(random: np.random.Generator) -> Planet:
    period = random.uniform(1.0, 25.0)
    return Planet(
        period=period,
        epoch=START + random.uniform(0.0, period),
        duration=13.0 * (period / 365.25) ** (1 / 3) * random.uniform(0.5, 1.5),
        depth=float(np.exp(random.uniform(np.log(100e-6), np.log(5000e-6)))),
        impact=random.uniform(0.0, 0.7),
    )


def _radius(planet: Planet) -> float:
    """Return the radius that gives a planet's depth, in stellar radii."""
    first, second = LIMB_DARKENING
    darker = 1 - np.sqrt(1 - planet.impact**2)
    local = 1 - first * darker - second * darker**2
    return float(np.sqrt(planet.depth * (1 - first / 3 - second / 6) / local))


def _dip(distance: FloatArray, radius: float) -> FloatArray:
    """Return the light that a small disc hides: its area on the star times the
    brightness of what it covers, on any scale.
    """  # noqa: D205
    first, second = LIMB_DARKENING
    covered = np.clip((1 + radius - distance) / (2 * radius), 0, 1)
    area = covered**2 * (3 - 2 * covered)
    middle = np.minimum(distance, 1 - radius * covered * 0.5)
    darker = 1 - np.sqrt(np.clip(1 - middle**2, 0, None))
    return np.asarray(area * (1 - first * darker - second * darker**2))


def _spots(
    time: FloatArray, rotation: float, random: np.random.Generator
) -> FloatArray:
    """Return spots that turn with the star and change: two harmonics, drifting."""
    size = np.exp(random.uniform(np.log(2e-4), np.log(1e-2)))
    signal = np.zeros_like(time)
    for harmonic, share in ((1, 1.0), (2, 0.4)):
        knots = np.linspace(time[0], time[-1], max(3, int(BASELINE / (2 * rotation))))
        height = np.interp(time, knots, random.uniform(0.5, 1.5, knots.size))
        drift = np.interp(time, knots, random.normal(0.0, 0.4, knots.size))
        turn = 2 * np.pi * harmonic * (time - time[0]) / rotation
        start = random.uniform(0, 2 * np.pi)
        signal += share * height * np.sin(turn + drift + start)
    return size * signal


def _granulation(
    time: FloatArray, noise: float, random: np.random.Generator
) -> FloatArray:
    """Return red noise: a first-order autoregression with a memory of hours."""
    memory = random.uniform(2.0, 12.0) / 24
    keep = np.exp(-CADENCE / memory)
    size = noise * random.uniform(0.0, 0.4)
    kicks = size * np.sqrt(1 - keep**2) * random.standard_normal(time.size)
    values = np.empty_like(time)
    value = size * random.standard_normal()
    for i, kick in enumerate(kicks):
        value = keep * value + kick
        values[i] = value
    return values


def _bad_points(count: int, noise: float, random: np.random.Generator) -> FloatArray:
    """Return single bad points of either sign, about one in 300, 5 to 30 sigma."""
    values = np.zeros(count)
    bad = np.flatnonzero(random.random(count) < 1 / 300)
    values[bad] = noise * random.uniform(5, 30, bad.size)
    return values * random.choice([-1.0, 1.0], count)


def _seen(time: FloatArray, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which exposures were made: one long gap, short ones, lost exposures."""
    seen = random.random(time.size) > 0.01
    lengths = [
        random.uniform(1.0, 3.0),
        *random.uniform(0.1, 0.8, random.integers(2, 6)),
    ]
    for length in lengths:
        start = random.uniform(time[0], time[-1])
        seen &= (time < start) | (time > start + length)
    return np.asarray(seen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the light curves that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="top of the delivery")
    parser.add_argument("--stars", type=int, default=20, help="number of stars")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation")
    parser.add_argument(
        "--planets", type=float, default=0.5, help="share of stars with a planet"
    )
    parser.add_argument(
        "--truth", type=Path, help="truth table (default: DIRECTORY/truth.csv)"
    )
    given = parser.parse_args(arguments)
    stars = [
        simulate(number, given.seed, with_planet=_has_planet(number, given.planets))
        for number in range(1, given.stars + 1)
    ]
    write_stars(stars, given.directory, given.truth or given.directory / "truth.csv")
    print(f"{len(stars)} light curves in {given.directory / FOLDER}")


def _has_planet(number: int, share: float) -> bool:
    """Spread planets evenly: with a share of 1/2, every second star has one."""
    return int(number * share) > int((number - 1) * share)


if __name__ == "__main__":
    main()
