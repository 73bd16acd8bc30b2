"""Comparing fits and deriving quantities."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xpycro.analysis.fit import fit
from xpycro.analysis.fit_quality import derived, fit_compare
from xpycro.analysis.models import Gaussian, Linear, Lorentzian, PseudoVoigt, SplitGaussian, Voigt

X = np.linspace(-30, 30, 6001)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    energy = xr.Variable("energy", np.linspace(0, 10, 100), {"units": "eV"})
    signal = 5 * np.exp(-0.5 * ((energy - 5) / 0.8) ** 2) + 1
    noise = xr.DataArray(0.2 * rng.normal(size=(400, 100)), dims=("position", "energy"))
    da = (noise + signal).assign_coords(energy=energy)
    da.attrs["units"] = "A"
    return da


def test_weights_are_akaikes(data):
    fits = {"gauss": fit(data, "gaussian + constant"), "lorentz": fit(data, "lorentzian + constant")}
    compared = fit_compare(fits)
    assert float((compared.best == 0).mean()) > 0.99
    np.testing.assert_allclose(compared.weight.sum("model"), 1.0)
    n, k = 100, 5
    cost = float((fits["gauss"].residual_rms[3] ** 2) * n)
    aicc = n * np.log(cost / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    assert float(compared.aicc.sel(model="gauss")[3]) == pytest.approx(aicc)


def test_a_needless_parameter_costs(data):
    compared = fit_compare({"flat": fit(data, "gaussian + constant"), "tilted": fit(data, "gaussian + linear")})
    assert 0.7 < float((compared.best == 0).mean()) < 0.95  # 84 % in the limit of many points


def test_lazy_comparison(data):
    lazy = data.chunk(position=100)
    compared = fit_compare({"a": fit(lazy, "gaussian + constant"), "b": fit(lazy, "linear")})
    assert compared.weight.chunks is not None
    assert int(compared.best.compute().max()) == 0


def test_different_data_are_refused(data):
    one = fit(data, "linear")
    for other in (fit(data + 1, "linear"), fit(data, "linear", sigma=2.0), fit(data, "linear", window=(1, 9))):
        with pytest.raises(ValueError, match="cannot be compared"):
            fit_compare({"one": one, "other": other})
    with pytest.raises(ValueError, match="no likelihood"):
        fit_compare({"one": one, "robust": fit(data, "linear", loss="huber")})
    with pytest.raises(ValueError, match="two fits"):
        fit_compare({"one": one})
    with pytest.raises(ValueError, match="no result"):
        fit_compare({"one": one, "raw": data.to_dataset(name="a")})


def test_a_window_compares_by_its_channels_and_pixels_by_their_number(data):
    written = {"number": fit(data, "linear", window=(1, 9)), "text": fit(data, "constant", window=("1 eV", "9 eV"))}
    assert int(fit_compare(written).best.max()) <= 1
    with pytest.raises(ValueError, match="pixels"):
        fit_compare({"all": fit(data, "linear"), "some": fit(data, "linear", preview=5)})
    with pytest.raises(ValueError, match="by name"):
        fit_compare(list(written.values()))


def test_areas_and_widths_are_those_of_the_curves():
    for model, parameters in [
        (Gaussian(), {"amplitude": 2, "center": 0, "sigma": 0.7}),
        (Voigt(), {"amplitude": 2, "center": 0, "sigma": 0.7, "gamma": 0.01}),
        (SplitGaussian(), {"amplitude": 2, "center": 0, "sigma_left": 0.7, "sigma_right": 0.4}),
        (PseudoVoigt(), {"amplitude": 2, "center": 0, "gamma": 0.7, "fraction": 0.0}),
    ]:
        y = model(X, **parameters)
        used = {k: v for k, v in parameters.items() if k in type(model).area.__code__.co_varnames}
        assert type(model).area(**used) == pytest.approx(np.trapezoid(y, X), rel=2e-3)
        used = {k: v for k, v in parameters.items() if k in type(model).full_width.__code__.co_varnames}
        above = X[y > y.max() / 2]
        assert type(model).full_width(**used) == pytest.approx(np.ptp(above), abs=0.03)
    wide = Lorentzian()(np.linspace(-1e4, 1e4, 2_000_001), 2.0, 0.0, 0.7)
    assert Lorentzian.area(2.0, 0.7) == pytest.approx(wide.sum() * 0.01, rel=1e-3)


def test_derived_errors_cover_the_truth(data):
    result = fit(data, Gaussian(name="pi") + Linear(), covariance=True, sigma=0.2, absolute_sigma=True)
    made = derived(result, prefix="pi", area=Gaussian.area, full_width=Gaussian.full_width)
    assert made.area.units == "A eV" and made.full_width.units == "eV" and made.area.dims == ("position",)
    pull = (made.area - np.sqrt(2 * np.pi) * 5 * 0.8) / made.area_stderr
    assert float(pull.std()) == pytest.approx(1, abs=0.12) and abs(float(pull.mean())) < 0.2
    # by hand, where two parameters' errors are correlated
    c = result.covariance[0].sel(parameter=["pi_amplitude", "pi_sigma"], parameter_=["pi_amplitude", "pi_sigma"]).values
    slope = np.sqrt(2 * np.pi) * np.array([float(result.pi_sigma[0]), float(result.pi_amplitude[0])])
    assert float(made.area_stderr[0]) == pytest.approx(np.sqrt(slope @ c @ slope), rel=1e-6)


def test_derived_mistakes(data):
    result = fit(data, "gaussian + linear")
    with pytest.raises(ValueError, match="covariance=True"):
        derived(result, prefix="gaussian", area=Gaussian.area)
    alone = derived(result, prefix="gaussian", width=Gaussian.full_width)
    np.testing.assert_allclose(alone.width_stderr, 2 * np.sqrt(2 * np.log(2)) * result.gaussian_sigma_stderr)
    with pytest.raises(ValueError, match="does not have"):
        derived(result, area=Gaussian.area)
    with pytest.raises(ValueError, match="needs functions"):
        derived(result)
    with pytest.raises(TypeError, match="must be a function"):
        derived(result, area="amplitude * sigma")
    with pytest.raises(ValueError, match="no parameter"):
        derived(result, area=lambda: 1.0)


def test_functions_may_keep_arguments_of_their_own(data):
    result = fit(data, "gaussian + linear")
    made = derived(result, prefix="gaussian", width=lambda sigma, factor=3.0: factor * sigma, flat=lambda center: 2.0)
    np.testing.assert_allclose(made.width, 3 * result.gaussian_sigma)
    np.testing.assert_array_equal(made.flat, np.full(400, 2.0))
    np.testing.assert_array_equal(made.flat_stderr, np.zeros(400))
