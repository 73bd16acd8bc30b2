"""Starts from clusters, previews, images, backgrounds, own functions; how right the models are: test_accuracy.py."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import xarray as xr

from tests.analysis import accuracy
from xpycro.analysis import models
from xpycro.analysis.fit import fit
from xpycro.analysis.fit_quality import derived
from xpycro.engine.results import evaluate, residual

X = np.linspace(0.1, 10, 128)


def simulated(name, n):
    model, truth, data = accuracy.simulated(accuracy.CASES[name], n)
    return model, truth, accuracy.labelled(data, X)[0]


def test_start_from_clusters():
    model, _, da = simulated("gaussian + gaussian + linear", 40)
    clustered = fit(da, model, start="clusters")
    np.testing.assert_allclose(clustered.residual_rms, fit(da, model).residual_rms, rtol=1e-6)
    with pytest.raises(ValueError, match="needs a model"):
        fit(da, lambda x, a: a * x, start="clusters")


def test_preview_tells_what_all_would_take():
    _, _, da = simulated("gaussian + linear", 40)
    part = fit(da.chunk(position=10), "gaussian + linear", preview=7)
    assert part.sizes["position"] == 7 and part.attrs["preview_pixels"] == 7
    assert part.attrs["estimated_seconds"] > 0 and part.attrs["estimated_peak_bytes"] > 0
    assert part.converged.all()
    with pytest.raises(ValueError, match="at least 1"):
        fit(da, "linear", preview=0)


def test_gaussian_in_an_image():
    rng = np.random.default_rng(0)
    y, x = np.linspace(0, 4, 31), np.linspace(0, 5, 37)
    truth = {"amplitude": 5.0, "center_x": 2.2, "center_y": 1.7, "sigma_1": 0.7, "sigma_2": 0.4, "angle": 0.5}
    model = models.parse("gaussian_2d")
    clean = model(np.stack(np.meshgrid(x, y)), **truth)
    with pytest.raises(ValueError, match="of one axis"):
        models.parse("gaussian_2d + linear")
    data = clean + 0.05 * rng.normal(size=(3, *clean.shape))
    da = xr.DataArray(data, {"y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"})}, ("frame", "y", "x"))
    result = fit(da, "gaussian_2d", dim=("y", "x"), sigma=0.05, absolute_sigma=True)
    for name, value in truth.items():
        assert (np.abs(result[name] - value) < 5 * result[f"{name}_stderr"]).all(), name
    assert result.center_x.units == "m" and result.angle.units == "rad"
    assert evaluate(result).dims == ("frame", "y", "x")
    assert float(residual(result, da).std()) == pytest.approx(0.05, rel=0.1)
    holes = da.copy()
    holes[0], holes[1, 3:6] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        partly = fit(holes, "gaussian_2d", dim=("y", "x"), sigma=0.05, absolute_sigma=True)
    assert list(partly.converged) == [False, True, True]
    assert float(abs(partly.center_x[1] - 2.2)) < 5 * float(partly.center_x_stderr[1])
    turned = fit(da.transpose("x", "frame", "y"), "gaussian_2d", dim=("y", "x"))
    np.testing.assert_allclose(turned.sigma_1, result.sigma_1, rtol=1e-3)
    # on a level; named by the longer axis, wherever it points, unless a start says otherwise
    steep = da.transpose("frame", "x", "y").rename(x="y", y="x") + 3.0
    told = {"gaussian_2d_angle": 0.1, "gaussian_2d_sigma_1": 0.4, "gaussian_2d_sigma_2": 0.7}
    upon = fit(steep, "constant + gaussian_2d", dim=("y", "x"), covariance=True)
    other = fit(steep, "constant + gaussian_2d", dim=("y", "x"), start=told, covariance=True)
    assert abs(upon.constant_offset - 3).max() < 0.02
    np.testing.assert_allclose(upon.gaussian_2d_sigma_1, result.sigma_1, rtol=0.02)
    np.testing.assert_allclose(upon.gaussian_2d_angle, np.pi / 2 - result.angle, atol=0.05)
    np.testing.assert_allclose(other.gaussian_2d_sigma_2, upon.gaussian_2d_sigma_1, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(upon.covariance[:, 4, 4]), upon.gaussian_2d_sigma_1_stderr)
    order = [0, 1, 2, 3, 5, 4, 6]
    np.testing.assert_allclose(upon.covariance, other.covariance[:, order, :][:, :, order], rtol=0.02, atol=1e-9)
    np.testing.assert_allclose(evaluate(upon), evaluate(other), atol=1e-4)


def test_oscillator_with_background():
    rng = np.random.default_rng(1)
    x = np.linspace(300e3, 350e3, 100)
    model = models.HarmonicOscillator() + models.ComplexConstant()
    clean = model(x, 1e-3, 325e3, 100, 0.7, 0.02, -0.01)
    da = xr.DataArray(
        clean + 0.004 * (rng.normal(size=(50, 100)) + 1j * rng.normal(size=(50, 100))), {"frequency": x},
        ("position", "frequency"),
    )  # fmt: skip
    result = fit(da, model, sigma=0.004, absolute_sigma=True)
    assert result.converged.all()
    for name, value in {"sho_resonance_frequency": 325e3, "sho_quality_factor": 100, "sho_phase": 0.7,
                        "complex_constant_offset_real": 0.02}.items():  # fmt: skip
        pull = (result[name] - value) / result[f"{name}_stderr"]
        assert abs(float(pull.mean())) < 0.6 and float(pull.std()) < 1.4, name


def test_python_functions_compiled_or_not():
    def line(x, a, b):
        return a + b * x

    def stubborn(x, a, b):  # numba does not know this one
        return np.select([x > -1e9], [a + b * x])

    rng = np.random.default_rng(0)
    da = xr.DataArray(rng.normal(size=(4, 128)) + X, {"energy": X}, ("position", "energy"))
    exact = fit(da, "linear")
    for function in (line, stubborn):
        result = fit(da, function, start={"a": 0.1, "b": 1.1})
        np.testing.assert_allclose(result.a, exact.intercept, atol=1e-4)
        np.testing.assert_allclose(result.b_stderr, exact.slope_stderr, rtol=1e-5)
    counts = xr.DataArray(rng.poisson(5 + X, size=(3, 128)), {"energy": X}, ("position", "energy"))
    likely = fit(counts, line, start=[4.0, 1.0], loss="poisson")
    np.testing.assert_allclose(likely.a, fit(counts, "linear", loss="poisson").intercept, rtol=1e-4)
    with pytest.raises(ValueError, match="numba can compile"):
        fit(counts, stubborn, start=[4.0, 1.0], loss="poisson")


def test_functions_of_numbers_only():
    """As they are written for one spectrum: conditions and math.exp, of numbers rather than arrays."""

    def compiled(x, height, place, width):
        return 0.0 if width <= 0 else height * math.exp(-0.5 * ((x - place) / width) ** 2)

    def each_pixel(x, height, place, width):  # numba does not know select
        return np.select([x > -1e9], [0 * x if width <= 0 else height * np.exp(-0.5 * ((x - place) / width) ** 2)])

    def each_number(x, height, place, width):
        return float(f"{compiled(x, height, place, width)!r}")

    _, _, da = simulated("gaussian + linear", 3)
    known = fit(da, "gaussian")
    for function in (compiled, each_pixel, each_number):
        result = fit(da, function, start={"height": 9, "place": known.center + 0.2, "width": 0.6})
        assert result.converged.all(), function
        np.testing.assert_allclose(result.place, known.center, atol=1e-3)
        drawn = evaluate(result, functions={function.__name__: function})
        np.testing.assert_allclose(drawn, evaluate(known), atol=1e-2)
    with pytest.raises(ValueError, match="one value for each x"):
        fit(da, lambda x, a, b: np.array([a, b, a]), start=[1.0, 2.0])
    with pytest.raises(ValueError, match="own trouble"):
        fit(da, own_trouble, start=[1.0])


def test_units_of_a_functions_parameters_are_those_of_its_starts():
    def peak(x, height, place, width, level):
        return height * np.exp(-0.5 * ((x - place) / width) ** 2) + level

    _, _, da = simulated("gaussian + linear", 3)
    da = da.assign_coords(energy=("energy", X, {"units": "eV"})).assign_attrs(units="pA")
    known = fit(da, "gaussian + constant", covariance=True)
    place = (1e3 * known.gaussian_center).assign_attrs(units="meV")
    start = {"height": "9000 fA", "place": place, "width": "600 meV", "level": 0.1}
    result = fit(da, peak, start=start, bounds={"width": ("1 meV", None)}, covariance=True)
    said = {name: result[name].units for name in start}
    assert said == {"height": "pA", "place": "eV", "width": "eV", "level": ""}
    np.testing.assert_allclose(result.place, known.gaussian_center, atol=1e-3)
    made = derived(result, area=lambda height, width: np.sqrt(2 * np.pi) * abs(height * width),
                   ratio=lambda width, place: width / place, bare=lambda level: 2 * level)  # fmt: skip
    assert made.area.units == "pA eV" and made.ratio.units == "1" and made.bare.units == ""
    expected = derived(known, prefix="gaussian", area=models.Gaussian.area)
    np.testing.assert_allclose(made.area_stderr, expected.area_stderr, rtol=1e-3)


def test_cauchys_loss_does_not_end_at_an_outlier():
    """It has a minimum around each of them; the truth is where SciPy ends from the truth."""
    from scipy.optimize import least_squares

    rng, x = np.random.default_rng(3), np.linspace(280, 300, 200)
    places = rng.uniform(286, 290, 150)
    clean = 50 * np.exp(-0.5 * (x - places[:, None]) ** 2) + 10
    y = clean + 2 * rng.normal(size=clean.shape) + 60 * (rng.random(clean.shape) < 0.05)
    da = xr.DataArray(y, {"energy": x}, ("position", "energy"))
    result = fit(da, "gaussian + linear", loss="cauchy", sigma=2.0, absolute_sigma=True)
    assert result.converged.all() and float(abs(result.gaussian_center - places).max()) < 0.5
    model = models.parse("gaussian + linear")
    for k in range(0, 150, 10):
        best = least_squares(lambda p, k=k: (model(x, *p) - y[k]) / 2, [50, places[k], 1, 10, 0], loss="cauchy",
                             x_scale=[50, 1, 1, 300, 1], ftol=1e-12, xtol=1e-12)  # fmt: skip
        ours = np.log1p(((evaluate(result)[k].values - y[k]) / 2) ** 2).sum()
        assert ours <= 2 * best.cost * (1 + 1e-6)


def own_trouble(x, a):
    raise ValueError("own trouble")


def test_starts_from_afar_lead_to_the_minimum_without_a_compiler():
    """Two standard deviations off, where a bold first step is one too far; SciPy's minimum is the truth."""
    from scipy.optimize import least_squares

    def peak(x, height, place, width, level):
        return np.select([x > -1e9], [height * np.exp(-0.5 * ((x - place) / width) ** 2) + level])

    rng = np.random.default_rng(11)
    x, places = np.linspace(280, 300, 200), 288 + 2 * np.sin(np.arange(40) / 8)
    y = peak(x, 60.0, places[:, None], 1.0, 10.0) + 2 * rng.normal(size=(40, 200))
    start = (40.0, 288.0, 1.0, 5.0)
    result = fit(xr.DataArray(y, {"energy": x}, ("position", "energy")), peak, start=start)
    expected = [least_squares(lambda p, row=row: peak(x, *p) - row, start, method="lm").cost for row in y]
    assert result.converged.all()
    np.testing.assert_allclose(0.5 * 200 * result.residual_rms**2, expected, rtol=1e-6)


def test_axes_that_models_refuse():
    da = xr.DataArray(np.ones((2, 30)), {"energy": np.linspace(-1, 1, 30)}, ("position", "energy"))
    with pytest.raises(ValueError, match="positive axis"):
        fit(da, "power_law")
    with pytest.raises(ValueError, match="from zero on"):
        fit(da, "stretched_exponential")
