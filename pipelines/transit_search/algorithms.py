"""Planets in light curves: take out what the star does, then look for dips that repeat.

The search is the box least squares method of Kovács, Zucker & Mazeh (2002, A&A 391,
369), as implemented in Astropy. The signal-to-noise ratio allows for correlated
noise as proposed by Pont, Zucker & Queloz (2006, MNRAS 373, 231).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from astropy.timeseries import BoxLeastSquares
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter

Values = Mapping[str, Mapping[str, object]]
"""Parameter values by set and name, as the engine gives them."""

HOURS = 1 / 24
FEWEST_POINTS = 50
UNITS = {
    "period": "d",
    "epoch": "d",
    "duration": "d",
    "depth": "1",
    "snr": "1",
    "transits": "1",
    "baseline": "d",
}
MEANINGS = {
    "period": "time between transits",
    "epoch": "middle of the first transit, in the time of the light curve",
    "duration": "length of a transit",
    "depth": "relative loss of light in a transit",
    "snr": "depth over its uncertainty, with correlated noise",
    "transits": "number of transits with data",
    "baseline": "time from the first to the last measurement",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """The strongest box-shaped signal in a light curve; times in days."""

    period: float
    epoch: float
    duration: float
    depth: float
    snr: float
    transits: float
    baseline: float


def detrend(light_curve: xr.Dataset, parameters: Values) -> xr.Dataset:
    """Divide a light curve by its slow trend and drop what is not a measurement.

    Parameters
    ----------
    light_curve
        ``flux`` (time,), float64, relative or in any unit; coordinate ``time`` in days.
    parameters
        Set ``Detrending``: ``window_days``, width of the running median, much longer
        than a transit; ``outlier_sigma``, points so far above are dropped;
        ``gap_days``, breaks longer than this are trended apart.

    Returns
    -------
    xarray.Dataset
        ``flux`` (time,), float64, with median 1, without gaps in the array.

    Raises
    ------
    ValueError
        If fewer than 50 measurements are left.
    """
    wanted = parameters["Detrending"]
    time = np.asarray(light_curve["time"].values, dtype="float64")
    flux = np.asarray(light_curve["flux"].values, dtype="float64")
    good = np.isfinite(time) & np.isfinite(flux)
    time, flux = time[good], flux[good]
    if time.size < FEWEST_POINTS:
        raise ValueError(
            f"only {time.size} measurements are left, but a search needs {FEWEST_POINTS}"
        )
    order = np.argsort(time, kind="stable")
    time, flux = time[order], flux[order]
    flat = flux / _trend(
        time, flux, float(wanted["window_days"]), float(wanted["gap_days"])
    )
    scatter = _scatter(flat)
    kept = (
        flat < 1 + float(wanted["outlier_sigma"]) * scatter
        if scatter
        else flat < np.inf
    )
    return xr.Dataset(
        {"flux": (("time",), flat[kept] / np.median(flat[kept]), {"units": "1"})},
        coords={"time": ("time", time[kept], {"units": "d"})},
    )


def search(detrended: xr.Dataset, parameters: Values) -> xr.Dataset:
    """Find the strongest signal that repeats.

    Parameters
    ----------
    detrended
        ``flux`` (time,), float64, relative; coordinate ``time`` in days.
    parameters
        Set ``Search``: ``min_period_days``, ``max_period_days`` (at most half of the
        time that the light curve covers), ``durations_hours``, ``oversampling`` of
        the frequencies.

    Returns
    -------
    xarray.Dataset
        Of dimension ``star``, of length 1, float64: ``period``, ``epoch``,
        ``duration`` (days), ``depth``, ``snr``, ``transits``, ``baseline`` (days).
    """
    signal = strongest(
        detrended["time"].values, detrended["flux"].values, parameters["Search"]
    )
    return xr.Dataset(
        {
            name: (
                ("star",),
                np.array([value], dtype="float64"),
                {"units": UNITS[name], "long_name": MEANINGS[name]},
            )
            for name, value in asdict(signal).items()
        }
    )


def candidates(
    signal: xr.Dataset, detrended: Mapping[str, xr.Dataset], parameters: Values
) -> dict[str, object]:
    """List the significant signals, best first, and plot each folded at its period.

    Parameters
    ----------
    signal
        What `search` found, of dimension ``star`` with the stars' names.
    detrended
        Light curves by star.
    parameters
        Set ``Vetting``: ``least_snr``, ``fewest_transits``.

    Returns
    -------
    dict
        ``candidate_table``: Dataset of dimension ``candidate``, with the name in
        ``star``; ``folded_plot``: PNG pictures by file name.
    """
    wanted = parameters["Vetting"]
    good = (signal["snr"] >= float(wanted["least_snr"])) & (
        signal["transits"] >= float(wanted["fewest_transits"])
    )
    chosen = signal.load().isel(star=np.flatnonzero(good.values))
    chosen = chosen.isel(star=np.argsort(-chosen["snr"].values, kind="stable"))
    names = [str(name) for name in chosen["star"].values]
    table = chosen.drop_vars("star").rename_dims(star="candidate")
    table = table.assign(star=("candidate", np.array(names, dtype=str)))
    plots = {
        f"{name}.png": folded_plot(
            name, detrended[name].load(), chosen.isel(star=number)
        )
        for number, name in enumerate(names)
    }
    return {"candidate_table": table, "folded_plot": plots}


def strongest(
    time: np.ndarray, flux: np.ndarray, wanted: Mapping[str, object]
) -> Signal:
    """Return the strongest box-shaped signal of a flat light curve.

    Parameters
    ----------
    time, flux
        (time,), float64; days, and relative flux with median 1.
    wanted
        Parameter set ``Search``.

    Notes
    -----
    A coarse grid of periods first, then fine ones around its ten best peaks; the
    likeliest of those wins.
    """
    baseline = float(time[-1] - time[0])
    shortest = float(wanted["min_period_days"])
    longest = min(float(wanted["max_period_days"]), baseline / 2)
    durations = np.array(wanted["durations_hours"], dtype="float64") * HOURS
    durations = durations[durations < shortest / 2]
    model = BoxLeastSquares(time, flux, dy=_scatter(flux) or 1e-12)
    step = _step(baseline, float(wanted["oversampling"]))
    roots = np.arange(longest ** (-1 / 3), shortest ** (-1 / 3), step)
    coarse = model.power(roots**-3.0, durations, objective="likelihood", oversample=3)
    best: tuple[float, Signal] | None = None
    for root in _peaks(roots, np.asarray(coarse.power), step):
        near = np.linspace(root - 2 * step, root + 2 * step, 81)
        fine = model.power(near**-3.0, durations, objective="likelihood", oversample=10)
        top = int(np.argmax(fine.power))
        if best is None or fine.power[top] > best[0]:
            found = _measured(
                time,
                flux,
                period=float(fine.period[top]),
                epoch=float(fine.transit_time[top]),
                duration=float(fine.duration[top]),
            )
            best = (float(fine.power[top]), found)
    if best is None:
        raise ValueError("the light curve has no periods to search")
    return best[1]


def _step(baseline: float, oversampling: float) -> float:
    """Return the step of the search in (period / day) ** (-1/3).

    A transit must not move by more than its duration over the whole light curve from
    one trial period to the next. With durations that grow as the cube root of the
    period, 1.1 hours at one day, even steps in this measure are just right (Ofir
    2014, A&A 561, A138).
    """
    return 1.1 * HOURS / (3 * baseline * oversampling)


def in_transit(
    time: np.ndarray, period: float, epoch: float, duration: float
) -> np.ndarray:
    """Tell which times are in a transit; all in days."""
    phase = (time - epoch + period / 2) % period - period / 2
    return np.abs(phase) < duration / 2


def folded_plot(name: str, light_curve: xr.Dataset, signal: xr.Dataset) -> bytes:
    """Return a PNG picture of a light curve folded at the period of its signal."""
    from matplotlib.figure import Figure

    period, epoch = float(signal["period"]), float(signal["epoch"])
    duration, depth = float(signal["duration"]), float(signal["depth"])
    time, flux = light_curve["time"].values, light_curve["flux"].values
    hours = ((time - epoch + period / 2) % period - period / 2) / HOURS
    width = 4 * duration / HOURS
    near = np.abs(hours) < width
    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=100)
    axes = figure.subplots()
    axes.plot(hours[near], flux[near], ".", color="0.75", markersize=3)
    edges = np.linspace(-width, width, 41)
    place = np.digitize(hours[near], edges)
    bins = [n for n in range(1, edges.size) if np.any(place == n)]
    middles = [0.5 * (edges[n - 1] + edges[n]) for n in bins]
    means = [flux[near][place == n].mean() for n in bins]
    axes.plot(middles, means, "o", color="#0072b2", markersize=4)
    half = duration / HOURS / 2
    corners = [-width, -half, -half, half, half, width]
    box = [1, 1, 1 - depth, 1 - depth, 1, 1]
    axes.plot(corners, box, color="#d55e00", linewidth=1.5)
    axes.set(
        xlabel="hours from the middle of the transit",
        ylabel="relative flux",
        title=f"{name}   P = {period:.4f} d   depth {depth * 1e6:.0f} ppm   "
        f"S/N {float(signal['snr']):.1f}",
        xlim=(-width, width),
    )
    axes.ticklabel_format(axis="y", useOffset=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _trend(time: np.ndarray, flux: np.ndarray, window: float, gap: float) -> np.ndarray:
    """Return the slow trend, apart for each stretch without a long gap.

    Local parabolas (Savitzky & Golay 1964) through what is left when points far from
    the trend so far, transits above all, are put onto it; a running median begins.
    """
    cadence = float(np.median(np.diff(time)))
    trend = np.empty_like(flux)
    breaks = np.flatnonzero(np.diff(time) > gap) + 1
    for part in np.split(np.arange(time.size), breaks):
        longest = part.size - 1 + part.size % 2
        size = min(max(5, round(window / cadence) | 1), longest)
        if size < 5:
            trend[part] = np.median(flux[part])
            continue
        trend[part] = median_filter(flux[part], max(3, size // 2 | 1), mode="nearest")
        for _ in range(5):
            rest = flux[part] - trend[part]
            far = np.abs(rest) > 2.5 * _scatter(rest)
            smooth = np.where(far, trend[part], flux[part])
            trend[part] = savgol_filter(smooth, size, polyorder=2)
    return trend


def _scatter(flux: np.ndarray) -> float:
    """Return the standard deviation that the median absolute deviation stands for."""
    return float(1.4826 * np.median(np.abs(flux - np.median(flux))))


def _peaks(roots: np.ndarray, power: np.ndarray, step: float) -> list[float]:
    """Return where the ten highest peaks are that are not neighbours."""
    left = np.where(np.isfinite(power), power, -np.inf)
    peaks = []
    while len(peaks) < 10 and np.isfinite(left.max(initial=-np.inf)):
        top = int(np.argmax(left))
        peaks.append(float(roots[top]))
        left[np.abs(roots - roots[top]) < 4 * step] = -np.inf
    return peaks


def _measured(
    time: np.ndarray, flux: np.ndarray, *, period: float, epoch: float, duration: float
) -> Signal:
    """Return a signal with its depth and an honest signal-to-noise ratio."""
    inside = in_transit(time, period, epoch, duration)
    around = in_transit(time, period, epoch, 3 * duration)
    level = float(np.median(flux[~around])) if (~around).any() else 1.0
    numbers = np.round((time[inside] - epoch) / period).astype(int)
    counts = np.unique(numbers, return_counts=True)[1]
    depths = [level - flux[inside][numbers == n].mean() for n in np.unique(numbers)]
    depth = float(np.average(depths, weights=counts)) if depths else 0.0
    noise = _noise_of_mean(time[~around], flux[~around], duration)
    # One deep accident among many empty transits is not a planet.
    typical = min(depth, float(np.median(depths))) if depths else 0.0
    snr = max(typical, 0.0) / noise * np.sqrt(len(depths)) if noise > 0 else 0.0
    first = epoch - period * np.floor((epoch - time[0]) / period)
    return Signal(
        period=period,
        epoch=float(first),
        duration=duration,
        depth=depth,
        snr=float(snr),
        transits=float(len(depths)),
        baseline=float(time[-1] - time[0]),
    )


def _noise_of_mean(time: np.ndarray, flux: np.ndarray, duration: float) -> float:
    """Return the scatter of means over the length of a transit, out of transits."""
    if time.size < 10:
        return 0.0
    place = np.floor((time - time[0]) / duration).astype(int)
    counts = np.bincount(place)
    sums = np.bincount(place, weights=flux)
    typical = np.median(counts[counts > 0])
    full = counts >= max(1, 0.6 * typical)
    means = sums[full] / counts[full]
    white = _scatter(flux) / np.sqrt(typical)
    return max(_scatter(means), white) if means.size > 5 else white
