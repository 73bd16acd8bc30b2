"""`fit` against SciPy on single pixels, analytic answers and known truth; bad input names the culprit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xpycro.analysis import models
from xpycro.analysis.fit import fit
from xpycro.engine.results import evaluate, residual
from xpycro.errors import DimensionError

FREQUENCY = np.linspace(300e3, 350e3, 96)


def oscillator(x, amplitude, w0, q, phase):
    return amplitude * np.exp(1j * phase) * w0**2 / (x**2 - 1j * x * w0 / q - w0**2)


def gaussian_line(x, amplitude, center, sigma, intercept, slope):
    return amplitude * np.exp(-0.5 * ((x - center) / sigma) ** 2) + intercept + slope * x


@pytest.fixture(scope="module")
def band():
    """Spectra of known oscillators, noise 5 % of the peak in each quadrature."""
    rng = np.random.default_rng(1)
    shape = (6, 7)
    truth = {
        "amplitude": rng.uniform(0.5e-3, 2e-3, shape),
        "resonance_frequency": rng.uniform(312e3, 338e3, shape),
        "quality_factor": rng.uniform(60, 200, shape),
        "phase": rng.uniform(-3, 3, shape),
    }
    clean = oscillator(FREQUENCY, *(v[..., None] for v in truth.values()))
    noise = 0.05 * (truth["amplitude"] * truth["quality_factor"])[..., None]
    data = clean + noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    coords = {"frequency": ("frequency", FREQUENCY, {"units": "Hz"}), "y": np.arange(6.0), "x": np.arange(7.0)}
    da = xr.DataArray(data, coords, ("y", "x", "frequency"), "response", {"units": "V"})
    return da, truth, xr.DataArray(np.broadcast_to(noise, shape + (1,))[..., 0], dims=("y", "x"))


@pytest.fixture(scope="module")
def peaks():
    rng = np.random.default_rng(2)
    energy = np.linspace(280.0, 300.0, 90)
    truth = np.stack(
        [rng.uniform(20, 60, 30), rng.uniform(285, 295, 30), rng.uniform(0.8, 2, 30), rng.uniform(-5, 5, 30),
         rng.uniform(-0.1, 0.1, 30)], axis=-1)  # fmt: skip
    data = gaussian_line(energy, *(truth[:, j, None] for j in range(5))) + rng.normal(size=(30, 90))
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    return xr.DataArray(data, coords, ("position", "energy"), "intensity", {"units": "counts"}), truth


def test_oscillator_cost_is_scipys(band):
    from scipy.optimize import least_squares

    da, truth, _ = band
    result = fit(da, "sho")
    assert bool(result.converged.all())
    for pixel in [(0, 0), (2, 3), (5, 6)]:
        z = da.values[pixel]
        start = [v[pixel] for v in truth.values()]

        def misfit(p, z=z):
            difference = z - oscillator(FREQUENCY, *p)
            return np.concatenate([difference.real, difference.imag])

        best = least_squares(misfit, start, x_scale=np.abs(start), ftol=1e-14, xtol=1e-14, gtol=1e-14)
        rms = np.sqrt(2 * best.cost / FREQUENCY.size)
        assert result.residual_rms.values[pixel] == pytest.approx(rms, rel=1e-7)
        errors = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac)) * 2 * best.cost / (2 * FREQUENCY.size - 4))
        for name, value, error in zip(truth, best.x, errors, strict=True):
            assert result[f"{name}_stderr"].values[pixel] == pytest.approx(error, rel=1e-3)
            assert abs(result[name].values[pixel] - value) < 1e-3 * error


def test_oscillator_units_names_and_flags(band):
    result = fit(band[0], "sho", dim="frequency")
    assert result.pycro_result == "fit"
    units = {n: result[n].units for n in ("amplitude", "resonance_frequency", "quality_factor", "phase")}
    assert units == {"amplitude": "V", "resonance_frequency": "Hz", "quality_factor": "1", "phase": "rad"}
    assert result.residual_rms.units == "V"
    assert result.resonance_frequency_stderr.units == "Hz"
    assert len(result.status.flag_meanings.split()) == len(result.status.flag_values)
    assert result.status.dtype == np.uint8 and result.converged.dtype == bool
    assert (result.amplitude > 0).all() and (result.quality_factor > 0).all()
    assert list(result.y.values) == list(band[0].y.values)
    assert json.loads(result.attrs["pycro_history"])["steps"][0]["operation"] == "fit"


@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize("quality", [20, 100, 300])
def test_oscillator_start_holds_on_a_wide_band(quality, noise):
    # 200-450 kHz is where the unweighted linear start fails
    rng = np.random.default_rng(quality)
    x = np.linspace(200e3, 450e3, 512)
    w0 = rng.uniform(250e3, 400e3, 200)
    clean = oscillator(x, 1e-3, w0[:, None], quality, 0.7)
    z = clean + noise * 1e-3 * quality * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    result = fit(xr.DataArray(z, {"frequency": x}, ("position", "frequency")), "sho")
    close = np.abs(result.resonance_frequency.values - w0) < 6 * result.resonance_frequency_stderr.values
    assert close[result.converged.values].all()
    assert result.converged.mean() >= (1.0 if quality * noise < 30 else 0.94)  # there a resonance is one or two bins


def test_coverage_of_the_errors(band):
    rng = np.random.default_rng(5)
    clean = oscillator(FREQUENCY, 1e-3, 325e3, 100.0, 0.7)
    z = clean + 0.005 * (rng.normal(size=(3000, 96)) + 1j * rng.normal(size=(3000, 96)))
    da = xr.DataArray(z, {"frequency": FREQUENCY}, ("position", "frequency"))
    result = fit(da, "sho", sigma=0.005, absolute_sigma=True)
    for name, value in zip(("amplitude", "resonance_frequency", "quality_factor", "phase"), (1e-3, 325e3, 100, 0.7),
                           strict=True):  # fmt: skip
        inside = np.abs(result[name] - value) < result[f"{name}_stderr"]
        assert float(inside.mean()) == pytest.approx(0.683, abs=0.03)


def test_conjugate_data_are_reported(band):
    result = fit(band[0].conj(), "sho")
    assert not result.converged.any()
    meanings = dict(zip(result.status.flag_values, result.status.flag_meanings.split(), strict=True))
    assert {meanings[int(s)] for s in np.unique(result.status)} == {"data_follow_the_conjugate_convention"}
    assert result.amplitude.isnull().all()


def test_bounds_and_fixed_of_the_oscillator(band):
    da, truth, _ = band
    free = fit(da, "sho")
    loose = fit(da, "sho", bounds={"quality_factor": (1, 1e4)})  # the general kernel, the same minimum
    np.testing.assert_allclose(loose.residual_rms, free.residual_rms, rtol=1e-8)
    np.testing.assert_allclose(loose.quality_factor_stderr, free.quality_factor_stderr, rtol=1e-3)
    truth_map = xr.DataArray(truth["quality_factor"], dims=("y", "x"))
    held = fit(da, "sho", fixed={"quality_factor": truth_map})
    np.testing.assert_array_equal(held.quality_factor, truth["quality_factor"])
    assert (held.quality_factor_stderr == 0).all() and held.converged.all()
    assert (held.amplitude_stderr < free.amplitude_stderr).all()


def test_gaussian_line_against_curve_fit(peaks):
    from scipy.optimize import curve_fit

    da, truth = peaks
    result = fit(da, "gaussian + linear")
    names = ["gaussian_amplitude", "gaussian_center", "gaussian_sigma", "linear_intercept", "linear_slope"]
    assert [n for n in result.data_vars][:5] == names
    assert [result[n].units for n in names] == ["counts", "eV", "eV", "counts", "counts/eV"]
    x = da.energy.values
    for i in range(10):
        best, cov = curve_fit(gaussian_line, x, da.values[i], truth[i], ftol=1e-13, xtol=1e-13)
        rms = np.sqrt(np.mean((da.values[i] - gaussian_line(x, *best)) ** 2))
        assert float(result.residual_rms[i]) <= rms * (1 + 1e-9)
        for name, value, error in zip(names, best, np.sqrt(np.diag(cov)), strict=True):
            assert float(result[f"{name}_stderr"][i]) == pytest.approx(error, rel=1e-3)
            assert abs(float(result[name][i]) - value) < 2e-3 * error
        spread = np.sum((da.values[i] - da.values[i].mean()) ** 2)
        assert float(result.r2[i]) == pytest.approx(1 - 90 * rms**2 / spread)
        likelihood = -45 * np.log(rms**2)
        assert float(result.aic[i]) == pytest.approx(12 - 2 * likelihood)
        assert float(result.bic[i]) == pytest.approx(6 * np.log(90) - 2 * likelihood)


def test_linear_is_polyfit(peaks):
    da, _ = peaks
    result = fit(da, "linear", covariance=True)
    coefficients, covariance = np.polyfit(da.energy.values, da.values[3], 1, cov=True)
    assert float(result.slope[3]) == pytest.approx(coefficients[0], rel=1e-8)
    assert float(result.intercept[3]) == pytest.approx(coefficients[1], rel=1e-8)
    np.testing.assert_allclose(result.covariance.values[3], covariance[::-1, ::-1], rtol=1e-6)
    assert list(result.parameter.values) == ["intercept", "slope"]


def test_sigma_per_channel_and_pixel_against_curve_fit(peaks):
    from scipy.optimize import curve_fit

    da, truth = peaks
    rng = np.random.default_rng(0)
    x = da.energy.values
    channel = xr.DataArray(rng.uniform(0.5, 2, 90), dims="energy")
    pixel = xr.DataArray(rng.uniform(0.5, 2, da.shape), dims=da.dims)
    for sigma in (channel, pixel):
        for absolute in (False, True):
            result = fit(da, "gaussian + linear", sigma=sigma, absolute_sigma=absolute)
            s = sigma.values if sigma.ndim == 1 else sigma.values[4]
            best, cov = curve_fit(gaussian_line, x, da.values[4], truth[4], sigma=s, absolute_sigma=absolute)
            assert float(result.gaussian_center[4]) == pytest.approx(best[1], abs=1e-2 * np.sqrt(cov[1, 1]))
            assert float(result.gaussian_center_stderr[4]) == pytest.approx(np.sqrt(cov[1, 1]), rel=1e-3)


def test_python_function_equals_the_compiled_model(peaks):
    da, _ = peaks
    center = da.energy[da.argmax("energy")].drop_vars("energy")
    start = {"amplitude": 40, "center": center, "sigma": 1.2, "intercept": 0, "slope": 0}
    slow = fit(da, gaussian_line, start=start)
    fast = fit(da, "gaussian + linear")
    assert slow.converged.all()
    np.testing.assert_allclose(slow.residual_rms, fast.residual_rms, rtol=1e-8)
    np.testing.assert_allclose(slow.center, fast.gaussian_center, atol=1e-4)
    np.testing.assert_allclose(slow.sigma_stderr, fast.gaussian_sigma_stderr, rtol=1e-3)
    # this session knows the function; another one, or another function of that name, does not
    np.testing.assert_allclose(evaluate(slow) + residual(slow, da) - da, 0, atol=1e-9)
    model = json.loads(slow.attrs["pycro_model"])
    other = slow.assign_attrs(pycro_model=json.dumps(model | {"source": model["source"] + "\n"}))
    with pytest.raises(ValueError, match="never run"):
        evaluate(other)


def test_functions_that_look_alike_are_not_taken_for_each_other():
    def times(factor):
        def line(x, a):
            return factor * a * x

        return line

    axis = np.linspace(1, 2, 9)
    da = xr.DataArray(axis[None] * 6, coords={"bias": axis}, dims=("x", "bias"), name="current")
    results = [fit(da, times(k), start={"a": 1.0}) for k in (2.0, 3.0)]
    for result in results:
        with pytest.raises(ValueError, match="never run"):
            evaluate(result)


def test_lazy_equals_eager_and_computes_nothing(band):
    import dask

    def forbidden(*args, **kwargs):
        raise AssertionError("computed unasked")

    da = band[0]
    eager = fit(da, "sho", covariance=True)
    with dask.config.set(scheduler=forbidden):
        lazy = fit(da.chunk(y=4, x=3, frequency=40), "sho", covariance=True)
        difference = residual(lazy, da)
    xr.testing.assert_equal(lazy.compute().drop_attrs(), eager.drop_attrs())
    xr.testing.assert_allclose(difference.compute(), residual(eager, da))


@settings(derandomize=True, deadline=None, max_examples=10)
@given(
    chunks=st.tuples(st.integers(1, 30), st.integers(1, 90)), hole=st.integers(0, 89), other=st.integers(1, 90),
    sigma=st.sampled_from([None, "number", "channel", "pixel", "both"]), missing=st.sampled_from([np.nan, np.inf]),
)  # fmt: skip
def test_chunks_nan_and_weights_change_nothing(peaks, chunks, hole, other, sigma, missing):
    da = peaks[0].copy()
    da[:, hole] = missing
    rng = np.random.default_rng(hole)
    weights = {
        None: None,
        "number": 1.3,
        "channel": xr.DataArray(rng.uniform(0.5, 2, 90), dims="energy"),
        "pixel": xr.DataArray(rng.uniform(0.5, 2, 30), dims="position"),
        "both": xr.DataArray(rng.uniform(0.5, 2, da.shape), dims=da.dims),
    }[sigma]
    kept = [i for i in range(90) if i != hole]
    along = isinstance(weights, xr.DataArray) and "energy" in weights.dims
    whole = fit(da, "gaussian + linear", sigma=weights)
    without = fit(da.isel(energy=kept), "gaussian + linear", sigma=weights.isel(energy=kept) if along else weights)
    cut = weights.chunk({d: other for d in weights.dims}) if isinstance(weights, xr.DataArray) else weights
    lazy = fit(da.chunk(position=chunks[0], energy=chunks[1]), "gaussian + linear", sigma=cut).compute()
    xr.testing.assert_equal(lazy.drop_attrs(), whole.drop_attrs())
    np.testing.assert_allclose(whole.gaussian_center, without.gaussian_center, atol=1e-4)
    np.testing.assert_allclose(whole.gaussian_sigma_stderr, without.gaussian_sigma_stderr, rtol=1e-3)


def test_evaluate_and_residual(peaks):
    da, _ = peaks
    result = fit(da, "gaussian + linear")
    model = evaluate(result)
    assert model.dims == da.dims and model.units == "counts" and model.energy.units == "eV"
    p = [float(result[n][7]) for n in models.parse("gaussian + linear").parameters]
    np.testing.assert_allclose(model[7], gaussian_line(da.energy.values, *p))
    rest = residual(result, da)
    np.testing.assert_allclose(np.sqrt((rest**2).mean("energy")), result.residual_rms)
    fine = evaluate(result, np.linspace(280, 300, 500))
    assert fine.sizes["energy"] == 500


def test_window_and_exclude(peaks):
    da, _ = peaks
    inside = fit(da, "gaussian + linear", window=(282, 298))
    cut = fit(da.sel(energy=slice(282, 298)), "gaussian + linear")
    xr.testing.assert_allclose(inside.gaussian_center, cut.gaussian_center)
    assert fit(da, "linear", window=("0.2839 keV", None)).energy.values[0] > 283.9
    mask = xr.DataArray(np.arange(90) % 7 == 0, dims="energy")
    masked = fit(da, "gaussian + linear", exclude=mask)
    by_hand = fit(da.where(~mask), "gaussian + linear")
    np.testing.assert_allclose(masked.gaussian_sigma, by_hand.gaussian_sigma, rtol=1e-4)
    per_pixel = xr.DataArray(np.zeros(da.shape, bool), dims=da.dims)
    per_pixel[0] = True
    assert int(fit(da, "linear", exclude=per_pixel).status[0]) == 3


def test_hopeless_pixels_are_flagged_and_nan(peaks):
    da = peaks[0].copy()
    rng = np.random.default_rng(3)
    da[0] = np.nan
    da[1] = 5.0
    da[2] = rng.normal(size=90)
    da[3, 4:] = np.nan
    result = fit(da, "gaussian + linear")
    meanings = result.status.flag_meanings.split()
    said = [meanings[int(s)] for s in result.status[:4]]
    assert said[0] == "no_finite_data" and said[1] == "constant_data" and said[3] == "fewer_points_than_parameters"
    assert said[2] in ("indistinguishable_from_background", "parameters_not_determined_by_the_data")
    assert not result.converged[:4].any() and result.gaussian_center[:4].isnull().all()
    assert result.converged[4:].all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [*models.list(), "gaussian + constant", "exponential + constant", "erf_step + linear"])
def test_hopeless_pixels_of_every_model(name):
    rng, model = np.random.default_rng(8), models.parse(name)
    coords = {"energy": np.linspace(1.0, 5.0, 72)} if model.ndim == 1 else {"y": np.arange(8.0), "x": np.arange(9.0)}
    noise = rng.normal(size=(68, 72)) + (1j * rng.normal(size=(68, 72)) if model.is_complex else 0)
    noise[0], noise[1], noise[2], noise[3] = np.nan, np.inf, 7.0, 0.0
    noise[4, 1:], noise[5, 3:] = np.nan, np.nan
    noise[6], noise[6, 30] = 1e-3 * noise[6], 1e12  # one channel far off, over noise and over nothing
    noise[7], noise[7, 30] = 0.0, 1.0
    noise[8], noise[9] = 1e300 * noise[8], 1e-300 * noise[9]
    da = xr.DataArray(noise.reshape(68, *map(len, coords.values())), coords, ("position", *coords))
    sigma = xr.ones_like(da.real)
    sigma[24:28], sigma[28:32], sigma[32:36], sigma[36:40] = 0.0, np.nan, -1.0, np.inf
    for weights in (None, sigma):
        result = fit(da, model, dim=list(coords), sigma=weights, covariance=True)
        found, meanings = result.converged.values, np.array(result.status.flag_meanings.split())[result.status.values]
        values = np.stack([result[p].values for p in model.parameters], axis=-1)
        errors = np.stack([result[f"{p}_stderr"].values for p in model.parameters], axis=-1)
        assert np.isnan(values[~found]).all() and np.isnan(errors[~found]).all()
        assert np.isfinite(values[found]).all() and np.isnan(result.covariance.values[~found]).all()
        assert list(meanings[:2]) == ["no_finite_data"] * 2
        if weights is not None:
            assert list(meanings[24:40]) == ["no_finite_data"] * 16
        if all(flag for term in model.terms for flag in term.component().linear):
            np.testing.assert_allclose(values[2:4, 0], [7.0, 0.0], atol=1e-12)
            assert found[10:24].all()
        else:
            assert not found[[0, 1, 2, 3, 4, 6, 7, 8, 9]].any() and list(meanings[2:4]) == ["constant_data"] * 2
            assert found[40:].sum() <= 1 and found[10:24].sum() <= 1  # pure noise is no signal


def impedance(frequency, series, parallel, capacitance):
    return series + parallel / (1 + 2j * np.pi * frequency * parallel * capacitance)


def test_an_impedance_of_ones_own():
    """Complex data and function: units, relative noise, excluded channels, losses on |r|; SciPy on one pixel."""
    from scipy.optimize import least_squares

    rng, frequency = np.random.default_rng(0), np.logspace(2, 7, 60)
    truth = np.stack([rng.uniform(50, 150, 200), rng.uniform(5e3, 2e4, 200), rng.uniform(1e-9, 1e-8, 200)])
    clean = impedance(frequency, *truth[..., None])
    z = clean + 0.01 * abs(clean) * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    spoilt = z.copy()
    spoilt[:, 7] *= 5
    coords = {"frequency": ("frequency", frequency, {"units": "Hz"})}
    da = xr.DataArray(spoilt, coords, ("position", "frequency"), "impedance", {"units": "kohm"}) * 1e-3
    known = {"sigma": 0.01 * abs(da).assign_attrs(units="kohm"), "absolute_sigma": True, "dim": "frequency"}
    start = {"series": "0.1 kohm", "parallel": "10 kohm", "capacitance": "1 nF"}

    def ohmic(frequency, series, parallel, capacitance):  # in the unit of the data, kohm
        return series + parallel / (1 + 2j * np.pi * frequency * 1e3 * parallel * capacitance)

    out = xr.DataArray(np.arange(60) == 7, dims="frequency")
    clipped = fit(da, ohmic, start=start, exclude=out, **known)
    assert {clipped[name].units for name in ("series", "parallel")} == {"kohm"} and clipped.capacitance.units == "F"
    scale = np.array([1e-3, 1e-3, 1.0])
    for result in (clipped, *(fit(da, ohmic, start=start, loss=loss, **known) for loss in ("soft_l1", "cauchy"))):
        assert result.converged.all()
        for name, values, unit in zip(start, truth, scale, strict=True):
            pull = (result[name] - values * unit) / result[f"{name}_stderr"]
            assert abs(float(pull.mean())) < 0.5 and float(pull.std()) == pytest.approx(1, abs=0.16)
    kept = ~out.values
    x, data, sigma = frequency[kept], z[3, kept], 0.01 * abs(z[3, kept])

    def misfit(q):
        left = (data - impedance(x, *(q * truth[:, 3]))) / sigma
        return np.concatenate([left.real, left.imag])

    best = least_squares(misfit, np.ones(3), ftol=1e-14, xtol=1e-14, gtol=1e-14)
    errors = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac))) * truth[:, 3]
    for j, name in enumerate(start):
        assert float(clipped[f"{name}_stderr"][3]) == pytest.approx(errors[j] * scale[j], rel=1e-3)
        assert abs(float(clipped[name][3]) / scale[j] - best.x[j] * truth[j, 3]) < 1e-3 * errors[j]
    with pytest.raises(ValueError, match="real values for complex data"):
        fit(da, lambda f, a, b: a + b * f, start=[1.0, 1.0], dim="frequency")
    with pytest.raises(ValueError, match="complex values for real data"):
        fit(da.real, ohmic, start=[1.0, 1.0, 1e-9], dim="frequency")


def test_integers_float32_and_transposed(peaks):
    da, _ = peaks
    counts = (da * 10).round().astype("int32")
    exact = fit(counts.astype(float), "gaussian + linear")
    xr.testing.assert_equal(fit(counts, "gaussian + linear").gaussian_center, exact.gaussian_center)
    assert fit(da.astype("float32"), "gaussian + linear").gaussian_center.dtype == np.float64
    turned = fit(da.transpose("energy", "position"), "gaussian + linear")
    xr.testing.assert_equal(turned.gaussian_center, fit(da, "gaussian + linear").gaussian_center)


def test_ties_and_bounds(peaks):
    da, _ = peaks
    model = models.Gaussian(name="a") + models.Gaussian(name="b") + models.Linear()
    result = fit(da, model, fixed={"b_sigma": "a_sigma"}, bounds={"a_amplitude": (0, None), "b_amplitude": (0, None)})
    good = result.converged
    np.testing.assert_array_equal(result.a_sigma[good], result.b_sigma[good])
    assert (result.a_amplitude[good] >= 0).all() and (result.b_amplitude[good] >= 0).all()
    narrow = fit(da, "gaussian + linear", bounds={"gaussian_sigma": (0.1, 0.5)})
    assert (narrow.gaussian_sigma.dropna("position") <= 0.5).all()


def test_input_is_not_modified(peaks):
    da = peaks[0].copy(deep=True)
    before = da.copy(deep=True)
    fit(da, "gaussian + linear", sigma=2.0)
    xr.testing.assert_identical(da, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "gausian"}, "no model named.*lorentzian"),
        ({"model": "linear", "dim": "frequency"}, "no such dimension"),
        ({"model": "linear", "start": {"slop": 1}}, "start= names.*slop.*slope"),
        ({"model": "linear", "bounds": {"slop": (0, 1)}}, "bounds= names"),
        ({"model": "linear", "fixed": {"slop": 1}}, "fixed= names"),
        ({"model": "gaussian", "bounds": {"sigma": (2, 1)}}, "lower < upper"),
        ({"model": "gaussian", "bounds": {"sigma": (-2, -1)}}, "leaves nothing"),
        ({"model": "sho"}, "is real"),
        ({"model": gaussian_line}, "needs start="),
        ({"model": "linear", "loss": "l1"}, "choose one of"),
        ({"model": "linear", "absolute_sigma": True}, "needs sigma="),
        ({"model": "linear", "window": (0, 1)}, "holds no point"),
        ({"model": "linear", "sigma": -1.0}, "must be positive"),
        ({"model": "linear", "start": [1.0]}, "2 numbers in the order"),
        ({"model": "gaussian + gaussian + linear", "window": (289, 290)}, "cannot determine 8 parameters"),
        ({"model": "linear", "fixed": {"slope": 0, "intercept": 1}}, "nothing to fit"),
        ({"model": "linear", "fixed": {"slope": "intercepts"}}, "another parameter"),
        ({"model": "linear", "fixed": {"slope": "intercept", "intercept": "slope"}}, "itself follows"),
        ({"model": models.Gaussian}, r"call it, Gaussian\(\)"),
        ({"model": "Pseudo-Voigt"}, "did you mean.*pseudo_voigt"),
        ({"model": "linear", "bounds": [(0, 1), (0, 1)]}, "mapping by the names"),
        ({"model": "gaussian", "bounds": {"center": 290}}, "two numbers for all pixels"),
        ({"model": "gaussian", "bounds": {"center": ("1 nm", None)}}, "cannot be converted"),
        ({"model": "gaussian", "start": {"center": np.ones(30)}}, "plain array"),
        ({"model": "gaussian", "start": {"center": np.nan}}, "must be finite"),
        ({"model": "gaussian", "start": {"center": 9}, "bounds": {"center": (285, 295)}}, "outside of its range"),
        ({"model": "gaussian", "fixed": {"sigma": -1}}, "outside of its range"),
        ({"model": "gaussian", "fixed": {"sigma": None}}, "must be a number in 'eV'"),
        ({"model": "gaussian", "fixed": {"sigma": xr.DataArray(np.ones(29), dims="position")}}, "29 points.*data 30"),
        ({"model": "gaussian", "fixed": {"sigma": xr.DataArray(np.ones(9), dims="q")}}, "the pixels have"),
        ({"model": "linear", "window": (295, 285)}, "must be \\(low, high\\)"),
        ({"model": "linear", "window": ("2 nm", None)}, "cannot be converted"),
        ({"model": "linear", "sigma": np.ones(90)}, "name its dims"),
        ({"model": "linear", "sigma": xr.DataArray(np.ones(89), dims="energy")}, "sigma= has 89"),
        ({"model": "linear", "exclude": xr.DataArray(np.ones(89, bool), dims="energy")}, "exclude= has 89"),
        ({"model": "linear", "max_iterations": 2.5}, "whole number"),
    ],
)
def test_bad_arguments_name_the_culprit(peaks, arguments, message):
    with pytest.raises((ValueError, TypeError, DimensionError), match=message):
        fit(peaks[0], **arguments)


def test_what_lies_elsewhere_is_refused_not_taken_by_position(peaks):
    da = peaks[0].assign_coords(position=np.arange(30))
    channels = xr.DataArray(np.zeros(90, bool), {"energy": da.energy + 1}, dims="energy")
    pixels = xr.DataArray(np.zeros(30, bool), {"position": da.position + 1}, dims="position")
    for argument in ({"exclude": channels}, {"exclude": pixels}, {"sigma": pixels + 1.0},
                     {"start": {"intercept": pixels * 1.0}}, {"fixed": {"intercept": pixels * 1.0}}):  # fmt: skip
        with pytest.raises(ValueError, match="other coordinates"):
            fit(da, "linear", **argument)
    result = fit(da, "linear")
    with pytest.raises(ValueError, match="other coordinates"):
        residual(result, da.assign_coords(position=da.position + 1))
    with pytest.raises(ValueError, match="the pixels"):
        evaluate(result, xr.DataArray([1.0], dims="position"))
    with pytest.raises(ValueError, match="in one dim"):
        evaluate(result, np.ones((2, 2)))


def test_units_are_converted_wherever_they_are_stated(peaks):
    da = peaks[0]
    exact = fit(da, "gaussian + linear", bounds={"gaussian_center": (283, 297)}, fixed={"gaussian_sigma": 1.2})
    millivolts = xr.DataArray(np.full(30, 1200.0), dims="position", attrs={"units": "meV"})
    for held in ("1200 meV", "1.2", millivolts):
        said = fit(da, "gaussian + linear", bounds={"gaussian_center": ("283 eV", "0.297 keV")},
                   fixed={"gaussian_sigma": held})  # fmt: skip
        np.testing.assert_allclose(said.gaussian_center, exact.gaussian_center, rtol=1e-12)
    # the same measurement in other units: other numbers, other units, the same physics
    other = (
        (da * 1e-3)
        .assign_attrs(units="kcounts")
        .assign_coords(energy=("energy", da.energy.values * 1e3, {"units": "meV"}))
    )
    scaled = fit(other, "gaussian + linear", fixed={"gaussian_sigma": "1.2 eV"})
    assert scaled.gaussian_center.units == "meV" and scaled.linear_slope.units == "kcounts/meV"
    np.testing.assert_allclose(scaled.gaussian_center, exact.gaussian_center * 1e3, rtol=1e-6)
    sigma = xr.DataArray(np.full(90, 1500.0), dims="energy", attrs={"units": "pA"})
    current = da.assign_attrs(units="nA")
    weighted = fit(current, "linear", sigma=sigma, absolute_sigma=True)
    np.testing.assert_allclose(weighted.slope_stderr, fit(da, "linear", sigma=1.5, absolute_sigma=True).slope_stderr)
    rest = residual(fit(current, "linear"), (current * 1e3).assign_attrs(units="pA"))
    np.testing.assert_allclose(rest, 1e3 * residual(fit(da, "linear"), da), atol=1e-8)
    line = evaluate(exact, xr.DataArray([290e3], dims="energy", attrs={"units": "meV"}))
    np.testing.assert_allclose(line, evaluate(exact, [290.0]))
    with pytest.raises(ValueError, match="another unit"):
        fit(da, "linear", sigma=sigma.assign_attrs(units="V"))


def test_sigma_of_all_channels_follows_window_and_exclude(peaks):
    da = peaks[0]
    rng = np.random.default_rng(4)
    values = rng.uniform(0.5, 2, 90)
    out = xr.DataArray(np.arange(90) % 5 == 0, dims="energy")
    inside = (da.energy.values >= 282) & (da.energy.values <= 298) & ~out.values
    cut = fit(da[:, inside], "linear", sigma=xr.DataArray(values[inside], dims="energy"))
    for sigma in (
        xr.DataArray(values, dims="energy"),
        xr.DataArray(values, {"energy": da.energy}, dims="energy"),
        xr.DataArray(values, {"energy": da.energy}, dims="energy")[inside],
    ):
        xr.testing.assert_allclose(fit(da, "linear", sigma=sigma, window=(282, 298), exclude=out).slope, cut.slope)
    image = xr.DataArray(np.ones((3, 4)), dims=("y", "x"))
    image[1, 2] = 50.0
    held = {"center_x": 1.0, "center_y": 1.0, "sigma_1": 0.5, "sigma_2": 0.5, "angle": 0.0}
    left_out = fit(image, "gaussian_2d", dim=("y", "x"), exclude=image > 10, fixed=held)
    assert float(left_out.residual_rms) < 1


def test_bad_data_name_the_culprit(peaks, band):
    with pytest.raises(ValueError, match="is complex"):
        fit(band[0], "gaussian")
    with pytest.raises(DimensionError, match="pass dim="):
        fit(peaks[0].rename(energy="a", position="b").drop_vars("a"), "linear")
    with pytest.raises(ValueError, match="nothing to fit"):
        fit(peaks[0].isel(energy=slice(0, 0)), "linear")
    with pytest.raises(ValueError, match="real or complex numbers"):
        fit(peaks[0].astype(str), "linear")
    empty = fit(peaks[0].isel(position=slice(0, 0)), "linear")
    assert empty.slope.shape == (0,)
    two = xr.Dataset({"a": peaks[0], "b": peaks[0]})
    with pytest.raises(ValueError, match="variable="):
        fit(two, "linear")
    assert fit(two, "linear", variable="b").sizes["position"] == 30


def test_own_functions_are_evaluated_when_passed():
    def bent(x, a, b):
        return a * x**2 + b

    axis = np.linspace(-1, 1, 9)
    da = xr.DataArray([2 * axis**2 + 1, 3 * axis**2 - 1], coords={"bias": axis}, dims=("x", "bias"), name="current")
    result = fit(da, bent, start={"a": 1.0, "b": 0.5})
    made = evaluate(result, x=[2.0], functions={"bent": bent})
    np.testing.assert_allclose(made.values, [[9.0], [11.0]], rtol=1e-6)
    np.testing.assert_allclose(residual(result, da, functions={"bent": bent}), 0, atol=1e-6)
