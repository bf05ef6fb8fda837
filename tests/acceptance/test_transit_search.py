"""The science of the transit search, and the pipeline from CSV files to candidates."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ziggy_dask as z

ROOT = Path(__file__).parents[2]
HOME = ROOT / "pipelines" / "transit_search"
REAL = Path(os.environ.get("ZIGGY_TEST_DATA", ROOT.parent / "shared" / "data"))
K2_3 = REAL / "EPIC201367065.csv"


def module(name: str):
    key = f"transit_search_{name}"
    if key not in sys.modules:
        spec = spec_from_file_location(key, HOME / f"{name}.py")
        sys.modules[key] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


STRONG = 0
"""Seed of a star with a planet of signal-to-noise 80 and a period of 7 days."""

algorithms, simulation = module("algorithms"), module("simulate")


def parameters():
    return {one.name: one.values for one in z.read_pipeline(HOME).parameter_sets}


def light_curve(time, flux) -> xr.Dataset:
    return xr.Dataset({"flux": (("time",), flux)}, coords={"time": time})


def found(time, flux) -> dict[str, float]:
    """Return what the search finds in a light curve, as plain numbers."""
    flat = algorithms.detrend(light_curve(time, flux), parameters())
    signal = algorithms.search(flat, parameters())
    return {str(name): float(one[0]) for name, one in signal.data_vars.items()}


def trial(seed: int, has_planet: bool) -> tuple[float, float, float, float, float]:
    """Return injected S/N and period, and the S/N, period and transits found."""
    time, flux, truth = simulation.simulate("x", seed, has_planet=has_planet)
    signal = found(time, flux)
    return truth.snr, truth.period, signal["snr"], signal["period"], signal["transits"]


def trials(count: int) -> tuple[list, list]:
    """Return trials with planets and as many without."""
    with ProcessPoolExecutor(2) as pool:
        planets = pool.map(trial, range(count), [True] * count)
        empty = pool.map(trial, range(50_000, 50_000 + count), [False] * count)
        return list(planets), list(empty)


def check_rates(count: int) -> None:
    vetting = parameters()["Vetting"]
    planets, empty = trials(count)
    strong = [one for one in planets if one[0] > 10]
    good = [
        abs(period / true - 1) < 0.01
        and snr >= vetting["least_snr"]
        and transits >= vetting["fewest_transits"]
        for _, true, snr, period, transits in strong
    ]
    false = [
        snr >= vetting["least_snr"] and transits >= vetting["fewest_transits"]
        for _, _, snr, _, transits in empty
    ]
    print(
        f"{sum(good)} of {len(strong)} recovered, {sum(false)} of {count} false alarms"
    )
    assert np.mean(good) >= 0.9
    assert np.mean(false) <= 0.02


def test_planets_are_recovered_and_noise_is_not():
    check_rates(24)


@pytest.mark.slow
def test_planets_are_recovered_and_noise_is_not_on_many_stars():
    check_rates(100)


@pytest.mark.shared_data
@pytest.mark.skipif(
    not K2_3.exists(), reason=f"the real light curve {K2_3} is not here"
)
def test_the_inner_planet_of_k2_3_is_found():
    """Period from Crossfield et al. 2015, ApJ 804, 10: 10.05403 days."""
    time, flux = np.loadtxt(K2_3, delimiter=",", unpack=True)
    signal = found(time, flux)
    assert signal["period"] == pytest.approx(10.054, abs=0.01)
    assert signal["snr"] > 20
    assert 0.0008 < signal["depth"] < 0.0018


def strong_planet():
    return simulation.simulate("x", STRONG, has_planet=True)


def test_depth_and_epoch_are_those_that_were_put_in():
    time, flux, truth = strong_planet()
    signal = found(time, flux)
    assert signal["depth"] == pytest.approx(truth.depth, rel=0.2)
    offset = (signal["epoch"] - truth.epoch + truth.period / 2) % truth.period
    assert offset - truth.period / 2 == pytest.approx(0, abs=0.25 * truth.duration)


def test_a_shift_in_time_shifts_the_epoch_alone():
    time, flux, _ = strong_planet()
    here, there = found(time, flux), found(time + 1000, flux)
    assert there["period"] == pytest.approx(here["period"], rel=1e-4)
    assert there["epoch"] - here["epoch"] == pytest.approx(1000, abs=0.05)
    assert there["snr"] == pytest.approx(here["snr"], rel=0.05)


def test_the_brightness_of_a_star_does_not_matter():
    time, flux, _ = strong_planet()
    here, there = found(time, flux), found(time, 5e4 * flux)
    assert there == pytest.approx(here, rel=0.01)


def test_the_order_of_measurements_does_not_matter():
    time, flux, _ = strong_planet()
    order = np.random.default_rng(0).permutation(time.size)
    assert found(time[order], flux[order]) == pytest.approx(found(time, flux), rel=1e-9)


def test_missing_measurements_are_dropped():
    time, flux, truth = strong_planet()
    flux = flux.copy()
    flux[::50] = np.nan
    assert found(time, flux)["period"] == pytest.approx(truth.period, rel=0.01)


def test_a_gap_is_no_candidate():
    time = np.arange(0, 80, 0.5 / 24)
    kept = (time % 10) > 1.2
    flux = (
        1
        + 3e-3 * np.sin(time / 2)
        + np.random.default_rng(1).normal(0, 1e-4, time.size)
    )
    assert found(time[kept], flux[kept])["snr"] < parameters()["Vetting"]["least_snr"]


def test_one_deep_dip_is_no_candidate():
    time = np.arange(0, 80, 0.5 / 24)
    flux = 1 + np.random.default_rng(2).normal(0, 1e-4, time.size)
    flux[(time > 31) & (time < 31.2)] -= 0.01
    assert found(time, flux)["snr"] < parameters()["Vetting"]["least_snr"]


def test_a_constant_star_has_no_signal():
    time = np.arange(0, 80, 0.5 / 24)
    assert found(time, np.ones_like(time))["snr"] == 0


def test_too_few_measurements_are_refused():
    with pytest.raises(ValueError, match="only 10 measurements are left"):
        algorithms.detrend(light_curve(np.arange(10.0), np.ones(10)), parameters())


def test_no_candidates_make_an_empty_table():
    names = {name: (("star",), np.array([1.0, 2.0])) for name in algorithms.UNITS}
    signal = xr.Dataset(names, coords={"star": ["A-1", "A-2"]})
    made = algorithms.candidates(signal, {}, parameters())
    assert made["candidate_table"].sizes["candidate"] == 0
    assert made["folded_plot"] == {}


def test_the_pipeline_finds_the_planets_that_were_put_in(cluster, client, tmp_path):
    delivery = tmp_path / "delivery"
    truths = {one.star: one for one in simulation.write(delivery, 6, seed=3)}
    cluster.register(HOME)
    assert cluster.receive(delivery, needs_manifest=False).state.value == "COMPLETED"
    instance = cluster.run("transit_search", client=client)
    assert instance.state.value == "COMPLETED", [
        t.record.message for t in instance.tasks
    ]
    table = cluster.datastore["campaign-01/candidates"].load()
    planets = {name for name, one in truths.items() if one.period and one.snr > 12}
    names = [str(name) for name in table["star"].values]
    assert planets
    assert set(names) == planets
    for name, period in zip(names, table["period"].values, strict=True):
        assert period == pytest.approx(truths[name].period, rel=0.01)
    assert (np.diff(table["snr"].values) <= 0).all()
    assert table["period"].attrs["units"] == "d"
    plots = cluster.datastore["campaign-01/plots"]
    assert set(plots) == {f"{name}.png" for name in names}
    assert all(data.startswith(b"\x89PNG") for data in plots.values())
