"""Switching loops against the published formula, SciPy, numerical inversion and known truth."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq, least_squares
from scipy.special import erf

import xpycro as xp
from tests.analysis import accuracy, loop_accuracy
from tests.analysis.loop_accuracy import sweep
from tests.conftest import raise_if_dask_computes
from xpycro.analysis.loops import _axis, _block, model
from xpycro.errors import DimensionError

NAMES = model.PARAMETERS


def published(bias, a, b):
    """The formula as printed: branches apart, a smoothed switch with d = 1000, the falling half first."""
    n, d = bias.size, 1000.0
    rolled = np.roll(bias, -(n // 4))
    v1, v2 = rolled[: n // 2], rolled[n // 2 :]
    g1 = (b[1] - b[0]) / 2 * (erf(d * (v1 - a[2])) + 1) + b[0]
    g2 = (b[3] - b[2]) / 2 * (erf(d * (v2 - a[3])) + 1) + b[2]
    y1 = (g1 * erf((v1 - a[2]) / g1) + b[0]) / (b[0] + b[1])
    y2 = (g2 * erf((v2 - a[3]) / g2) + b[2]) / (b[2] + b[3])
    return np.roll(a[0] + a[1] * np.concatenate([y1, y2]) + a[4] * rolled, n // 4)


def truths(n, seed=0, low=0.8, high=2.5):
    """Parameters of `n` loops on a sweep of 10 V, one a row."""
    rng = np.random.default_rng(seed)
    ranges = [(-1.2, -0.8), (1.6, 2.4), (-4, -2.5), (2.5, 4), (-0.01, 0.01), *[(low, high)] * 4]
    return np.stack([rng.uniform(*r, n) for r in ranges], axis=-1)


def loops_of(parameters, noise=0.0, n=64, seed=1):
    bias = sweep(n)
    values = model.loop(bias, _axis.is_rising(bias), *(p[:, None] for p in parameters.T))
    values = values + noise * np.abs(parameters[:, 1:2]) * np.random.default_rng(seed).standard_normal(values.shape)
    bias = xr.Variable("step", bias, {"units": "V"})
    return xr.DataArray(values, {"bias": bias}, ("position", "step"), "response", {"units": "V"})


# ---------------------------------------------------------------------------------------------------------- the model


def test_the_model_is_the_published_formula():
    for p in truths(20):
        ours = model.loop(sweep(), _axis.is_rising(sweep()), *p)
        np.testing.assert_allclose(ours, published(sweep(), p[:5], p[5:]), atol=1e-9)


def test_the_exact_jacobian_is_the_numeric_one():
    bias, rising = sweep(), _axis.is_rising(sweep())
    for p in truths(5):
        exact = model.jacobian(bias, rising, p)
        for j in range(9):
            h = 1e-6
            up, down = p.copy(), p.copy()
            up[j], down[j] = p[j] + h, p[j] - h
            numeric = (model.loop(bias, rising, *up) - model.loop(bias, rising, *down)) / (2 * h)
            np.testing.assert_allclose(exact[:, j], numeric, atol=2e-8, err_msg=NAMES[j])


@pytest.mark.parametrize("direct", [False, True])
def test_the_compiled_shape_has_the_derivatives_of_the_model(direct):
    """By half-way biases or by switching biases: the compiled rows against central differences of the formula."""
    from ctypes import POINTER, c_double

    from xpycro.engine.solver import hysteresis as kernel
    from xpycro.engine.solver.jit import _APART

    shape = _APART["xpycro.engine.solver.hysteresis.shapes"].ctypes
    bias, rising = sweep(), _axis.is_rising(sweep())
    order, n = np.lexsort((bias, rising)), bias.size
    bias, rising = bias[order], rising[order]
    split = int((~rising).sum())

    def rows(p):
        memory = np.zeros(kernel.LONG * n + kernel.SHORT)
        memory[:n], memory[kernel.LONG * n :][:6] = bias, p
        shape(memory.ctypes.data_as(POINTER(c_double)), n, split, n, kernel.P, 3 if direct else 0)
        return memory[: kernel.LONG * n].reshape(kernel.LONG, n)[[kernel.PHI, *range(kernel.ROWS, kernel.LONG)]]

    def y(p):
        gaps = [0 if direct else model.inverse(0.5, 0, *p[k : k + 2]) for k in (1, 4)]
        return model.loop(bias, rising, 0.0, 1.0, p[0] - gaps[0], p[3] - gaps[1], 0.0, *p[1:3], *p[4:])

    for seed in range(6):
        widths = np.random.default_rng(seed).uniform(0.4, 3.0, 4)
        p = np.array([-3.1, *widths[:2], 2.9, *widths[2:]])
        found = rows(p)
        np.testing.assert_allclose(found[0], y(p), atol=1e-14)
        for j in range(6):
            up, down = p.copy(), p.copy()
            up[j], down[j] = p[j] + 1e-6, p[j] - 1e-6
            numeric = (y(up) - y(down)) / 2e-6
            own = rising if j > 2 else ~rising
            np.testing.assert_allclose(found[1 + j % 3][own], numeric[own], atol=2e-9)
            assert (numeric[~own] == 0).all()


# ------------------------------------------------------------------------------------------------------- projection


def oscillator(values, angle):
    """Amplitude and phase of real loops turned by `angle`, as an oscillator fit gives them."""
    z = values * np.exp(1j * angle)
    phase = xr.apply_ufunc(np.angle, z)
    return xr.Dataset({"amplitude": abs(z).assign_attrs(units="V"), "phase": phase.assign_attrs(units="rad")})


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_loops_come_back_at_every_phase_offset(polarity, noise):
    parameters = truths(60)
    clean = loops_of(parameters)
    rng = np.random.default_rng(5)
    for angle in np.linspace(0, 2 * np.pi, 9):
        z = clean.values * polarity * np.exp(1j * angle)
        z = z + noise * 2 * (rng.standard_normal(z.shape) + 1j * rng.standard_normal(z.shape)) / np.sqrt(2)
        z = clean.copy(data=z)
        fit = xr.Dataset({"amplitude": abs(z), "phase": xr.apply_ufunc(np.angle, z)})
        found = xp.loops.project(fit)
        turned = np.angle(np.exp(1j * (found.rotation_angle - angle - (0 if polarity > 0 else np.pi))))
        assert np.abs(turned).max() < 1e-6 if noise == 0 else np.abs(turned).std() < noise
        assert (found.orientation == 1).all()
        if noise == 0:
            np.testing.assert_allclose(found.response, clean, atol=1e-9)


def test_area_centroid_and_orientation_of_a_known_polygon():
    # a square run clockwise, and one counterclockwise, about (1, 2)
    bias = np.array([0.0, 0.0, 2.0, 2.0])
    response = np.array([1.0, 3.0, 3.2, 1.2])
    da = xr.DataArray(response, {"bias": ("step", bias, {"units": "V"})}, ("step",), attrs={"units": "V"})
    clockwise = xp.loops.project(oscillator(da, 0.0))
    assert float(clockwise.area) == pytest.approx(-4.0) and clockwise.area.units == "V^2"
    assert float(clockwise.orientation) == -1
    assert float(clockwise.centroid_bias) == pytest.approx(1.0)
    assert float(clockwise.centroid_response) == pytest.approx(2.1)
    other = xp.loops.project(oscillator(da.isel(step=slice(None, None, -1)), 0.0))
    assert float(other.area) == pytest.approx(4.0) and float(other.orientation) == 1


def test_missing_steps_are_left_out_and_few_points_are_nan():
    clean = loops_of(truths(3))
    full = xp.loops.project(oscillator(clean, 0.4))
    holed = clean.copy()
    holed[0, 5] = holed[1, 0] = np.nan
    holed[2, 2:] = np.nan
    found = xp.loops.project(oscillator(holed, 0.4))
    np.testing.assert_allclose(found.rotation_angle[:2], full.rotation_angle[:2], atol=1e-9)
    np.testing.assert_allclose(found.area[:2], full.area[:2], rtol=0.02)
    assert np.isnan(found.response[0, 5]) and np.isfinite(found.response[0, 4])
    assert np.isnan(found.rotation_angle[2]) and np.isnan(found.response[2]).all()


def test_the_offset_is_the_distance_of_the_line():
    clean = loops_of(truths(2))
    z = clean * np.exp(0.5j) + 0.3j * np.exp(0.5j)
    found = xp.loops.project(xr.Dataset({"amplitude": abs(z), "phase": xr.apply_ufunc(np.angle, z)}))
    np.testing.assert_allclose(found.offset, 0.3, atol=1e-9)
    np.testing.assert_allclose(found.response, clean, atol=1e-9)


def test_what_project_cannot_use_is_named():
    fit = oscillator(loops_of(truths(2)), 0.0)
    with pytest.raises(ValueError, match="phase"):
        xp.loops.project(fit.drop_vars("phase"))
    with pytest.raises(DimensionError, match="bias"):
        xp.loops.project(fit.drop_vars("bias"))
    with pytest.raises(ValueError, match="no dim 'field'"):
        xp.loops.project(fit, field="in")
    both = xr.concat([fit, fit], xr.Variable("field", ["in", "out"]))
    assert xp.loops.project(both, field="out").response.dims == ("position", "step")
    assert xp.loops.project(both).response.dims == ("field", "position", "step")
    with pytest.raises(ValueError, match=r"\['in', 'out'\]"):
        xp.loops.project(both, field="off")


# -------------------------------------------------------------------------------------------------------------- fit


def test_noise_free_loops_are_found_exactly():
    parameters = truths(50)
    found = xp.loops.fit(loops_of(parameters))
    assert found.converged.all()
    for k, name in enumerate(NAMES):
        np.testing.assert_allclose(found[name], parameters[:, k], atol=2e-5, err_msg=name)
    assert found.height.units == "V" and found.width_0.units == "V" and found.slope.units == "1"


def test_the_minimum_is_that_of_scipy():
    """Same residual: the cost at the minimum is SciPy's, started from the truth."""
    parameters = truths(12, seed=3)
    da = loops_of(parameters, noise=0.05)
    found = xp.loops.fit(da)
    bias, rising = sweep(), _axis.is_rising(sweep())
    for i, p in enumerate(parameters):
        width = (20 / 32 / 3, 5.0)
        lower = [-np.inf, -np.inf, -10, -10, -np.inf, *[width[0]] * 4]
        upper = [np.inf, np.inf, 10, 10, np.inf, *[width[1]] * 4]
        best = least_squares(
            lambda q, i=i: model.loop(bias, rising, *q) - da.values[i], p, bounds=(lower, upper), xtol=1e-12, ftol=1e-12
        )
        ours = found.residual_rms.values[i] ** 2 * 64
        assert ours <= 2 * best.cost * (1 + 1e-6)


def test_both_senses_and_both_polarities_are_fitted():
    parameters = truths(20, seed=4)
    swapped = parameters[:, [0, 1, 3, 2, 4, 5, 6, 7, 8]]  # the falling branch switches at the higher bias
    falling = parameters * np.array([-1, -1, 1, 1, -1, 1, 1, 1, 1])
    for case in (parameters, swapped, falling):
        found = xp.loops.fit(loops_of(case, noise=0.02))
        assert found.converged.all()
        coercive = xp.loops.derived(found)
        for name, (at, below, above) in {"negative": (2, 5, 6), "positive": (3, 7, 8)}.items():
            truth = model.inverse(0.5, *case[:, [at, below, above]].T)
            error = coercive[f"coercive_bias_{name}"] - truth
            assert float(np.abs(error).max()) < 0.25


def test_profiles_are_those_of_scipy():
    """How far V+ can go before all others, fitted again by SciPy, cannot keep the cost within half the variance."""
    p = truths(3, seed=12)
    da = loops_of(p, 0.05)
    bias, rising = sweep(), _axis.is_rising(sweep())
    found = _block._solve(bias, da.values, _block._hull_starts(bias, da.values)[:, None])
    low = np.array([-np.inf, -np.inf, -10, -np.inf, *[20 / 32 / 3] * 4])
    high = np.array([np.inf, np.inf, 10, np.inf, *[5.0] * 4])
    for i in range(len(p)):
        best, cost = found.parameters[i], found.statistics[i, 0]

        def rise(at, i=i, best=best, cost=cost):
            def residual(q, i=i):
                return model.loop(bias, rising, *q[:3], at, *q[3:]) - da.values[i]

            again = least_squares(residual, np.clip(np.delete(best, 3), low, high), bounds=(low, high))
            return (again.cost - cost) / (2 * cost / (64 - 9)) - 0.5

        for side, sign in ((2, -1), (3, 1)):
            width = found.sides[i, side]
            exact = brentq(
                lambda d, at=best[3], sign=sign: rise(at + sign * d), 0.3 * width, 3 * width, xtol=0.01 * width
            )
            assert width == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_switching_biases_lie_within_one_standard_error(noise, polarity):
    """From amplitude and phase at any phase offset to V+- and the biases half-way up: 68.3 % +- 3 % of 2000 loops."""
    each = [loop_accuracy.recovered(noise, polarity, offset, 250) for offset in loop_accuracy.OFFSETS]
    assert np.mean([converged for converged, _ in each]) > 0.99
    for names in (["switching_bias_negative", "switching_bias_positive"],
                  ["coercive_bias_negative", "coercive_bias_positive"]):  # fmt: skip
        inside = np.concatenate([np.abs(pulls[name]) < 1 for _, pulls in each for name in names])
        assert np.mean(inside) == pytest.approx(0.683, abs=0.03)
    # and what the page says
    row = next(r for r in accuracy.published("loops") if r[:2] == [f"{100 * noise:.0f} %", f"{polarity:+d}"])
    for name, share in zip(each[0][1], row[4:], strict=False):
        inside = np.concatenate([np.abs(pulls[name]) < 1 for _, pulls in each])
        assert 100 * np.mean(inside) == pytest.approx(float(share), abs=4)


def test_lines_and_noise_are_not_taken_for_loops():
    rng = np.random.default_rng(0)
    bias = sweep()
    values = np.stack([0.1 * bias + 1, 0 * bias, 0 * bias + np.nan]) + 0.05 * rng.standard_normal((3, 64))
    found = xp.loops.fit(xr.DataArray(values, {"bias": ("step", bias)}, ("position", "step")))
    assert not found.converged.any() and np.isnan(found.height).all()
    meanings = dict(zip(found.status.flag_values, found.status.flag_meanings.split(), strict=True))
    assert meanings[int(found.status[0])] == "indistinguishable_from_background"
    assert meanings[int(found.status[2])] == "no_finite_data"
    assert (found.aicc_line[:2] < found.aicc[:2]).all()
    loop = xp.loops.fit(loops_of(truths(3), 0.05))
    assert (loop.aicc < loop.aicc_line).all()


def test_aicc_of_the_line_is_that_of_polyfit():
    da = loops_of(truths(2), 0.05)
    da[1, 3] = np.nan
    found = xp.loops.fit(da)
    for i in range(2):
        y, x = da.values[i], da.bias.values
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        rss = np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2)
        n, k = y.size, 3
        expected = n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        assert float(found.aicc_line[i]) == pytest.approx(expected)


def test_lazy_is_eager_whatever_the_chunks():
    parameters = truths(40, seed=8)
    da = loops_of(parameters, 0.05).expand_dims(cycle=2).transpose("position", "cycle", "step")
    da = da + np.random.default_rng(0).normal(scale=0.05, size=da.shape)
    da = da.assign_attrs(units="V")
    eager = xp.loops.fit(da)
    with raise_if_dask_computes():
        lazy = xp.loops.fit(da.chunk(position=7, cycle=1, step=16).assign_coords(bias=da.bias))
    for name in (*NAMES, "height_stderr", "r2", "aicc", "covariance"):
        assert lazy[name].chunks is not None
    computed = lazy.compute()
    xr.testing.assert_allclose(computed, eager, rtol=1e-12)
    assert eager.height.dims == ("position", "cycle")


def test_evaluate_and_residual():
    parameters = truths(4)
    da = loops_of(parameters)
    found = xp.loops.fit(da)
    np.testing.assert_allclose(xp.evaluate(found), da, atol=1e-4)
    assert xp.evaluate(found).dims == da.dims and "bias" in xp.evaluate(found).coords
    np.testing.assert_allclose(found.pycro.residual(da), 0, atol=1e-4)
    fine = xp.evaluate(found, x=sweep(256))
    np.testing.assert_allclose(fine.values[:, ::4], da, atol=1e-4)


def test_what_fit_cannot_use_is_named():
    da = loops_of(truths(2))
    with pytest.raises(ValueError, match="project"):
        xp.loops.fit(da.astype(complex))
    with pytest.raises(DimensionError, match="at least 10"):
        xp.loops.fit(da.isel(step=slice(0, 8)))
    with pytest.raises(DimensionError, match="bias"):
        xp.loops.fit(da.drop_vars("bias"))


# ---------------------------------------------------------------------------------------------------------- derived


@pytest.mark.parametrize("threshold", [0.03, 0.2, 0.6])
def test_nucleation_biases_invert_the_model(threshold):
    """Against the root that Brent's method finds of the branches themselves."""
    parameters = truths(30, seed=6, low=0.4, high=3.0)
    derived = xp.loops.derived(xp.loops.fit(loops_of(parameters, n=128)), threshold)
    for i, p in enumerate(parameters):
        unit = (0.0, 1.0, *p[2:4], 0.0, *p[5:])

        def beyond(v, rising, y, unit=unit):
            return float(model.loop(np.array([v]), np.array([rising]), *unit)[0]) - y

        negative = brentq(beyond, -40, 40, (False, 1 - threshold))
        positive = brentq(beyond, -40, 40, (True, threshold))
        assert float(derived.nucleation_bias_negative[i]) == pytest.approx(negative, abs=2e-3)
        assert float(derived.nucleation_bias_positive[i]) == pytest.approx(positive, abs=2e-3)


def test_derived_quantities_and_their_errors():
    parameters = truths(600, seed=9)
    found = xp.loops.fit(loops_of(parameters, 0.02))
    derived = xp.loops.derived(found)
    a = {name: found[name].values for name in NAMES}
    np.testing.assert_allclose(derived.imprint, (a["switching_bias_negative"] + a["switching_bias_positive"]) / 2)
    np.testing.assert_allclose(derived.remanent_response_positive, a["lower_level"] + a["height"])
    np.testing.assert_allclose(derived.switchable_polarisation_stderr, found.height_stderr, rtol=1e-6)
    # the errors of V- and V+ come from their profiles, how they go together from the covariance
    c, low, high = found.covariance.values, *(found[f"{n}_stderr"].values for n in NAMES[2:4])
    together = c[:, 2, 3] / np.sqrt(c[:, 2, 2] * c[:, 3, 3])
    expected = np.sqrt(low**2 + high**2 + 2 * together * low * high) / 2
    np.testing.assert_allclose(derived.imprint_stderr, expected, rtol=1e-5)
    np.testing.assert_allclose(derived.switching_bias_positive_stderr, high, rtol=1e-6)
    truth = np.abs(parameters[:, 3] - parameters[:, 2]) * parameters[:, 1]
    z = (derived.work_of_switching - truth) / derived.work_of_switching_stderr
    assert float((np.abs(z) < 1).mean()) == pytest.approx(0.683, abs=0.07)
    assert derived.work_of_switching.units == "V^2"
    with pytest.raises(ValueError, match="threshold"):
        xp.loops.derived(found, 1.5)
    with pytest.raises(ValueError, match=r"xp\.loops\.fit"):
        xp.loops.derived(derived)


# ----------------------------------------------------------------------------------------- errors of earlier formulas


def test_the_tangent_for_the_angle_lowers_loops():
    """Earlier code turns by tan(slope) of the line where -arctan(slope) belongs: 2.0 becomes 1.84, 1.32, 1.56."""
    loop = loops_of(np.array([[-1.0, 2.0, -3.0, 3.0, 0.0, 0.3, 0.3, 0.3, 0.3]])).values[0]
    for offset, height in ((0.2, 1.84), (0.4, 1.32), (0.8, 1.56)):
        z = loop * np.exp(1j * offset)
        slope = np.polyfit(z.real, z.imag, 1)[0]
        legacy = (z * np.exp(1j * np.tan(slope))).real
        assert np.ptp(legacy) == pytest.approx(height, abs=0.03)
        right = xp.loops.project(oscillator(loops_of(np.array([[-1.0, 2, -3, 3, 0, 0.3, 0.3, 0.3, 0.3]])), offset))
        assert np.ptp(right.response.values) == pytest.approx(np.ptp(loop), abs=1e-9)


def test_the_second_nucleation_bias_used_the_wrong_width():
    """b0 first, b1 only where that is not finite: -2.619 for -2.491, and NaN for -0.058."""
    from scipy.special import erfinv

    def legacy(t, a2, b0, b1):
        with np.errstate(invalid="ignore"):
            return b0 * erfinv(((1 - t) * (b0 + b1) - b0) / b0) + a2

    assert legacy(0.03, -3.0, 2.0, 0.5) == pytest.approx(-2.619, abs=2e-3)
    assert model.inverse(0.97, -3.0, 2.0, 0.5) == pytest.approx(-2.491, abs=2e-3)
    assert np.isnan(legacy(0.03, -3.0, 0.5, 2.0))
    assert model.inverse(0.97, -3.0, 0.5, 2.0) == pytest.approx(-0.058, abs=2e-3)


def test_complex_steps_through_a_modulus_never_leave_the_start():
    """Earlier fits minimise the scalar 1 - R^2 by complex steps, of which a modulus makes the imaginary part zero."""
    rng = np.random.default_rng(0)
    w = np.linspace(300e3, 350e3, 74)
    truth = np.array([1.0, 325e3, 100.0, 0.3])

    def sho(p):
        return p[0] * np.exp(1j * p[3]) * p[1] ** 2 / (w**2 - 1j * w * p[1] / p[2] - p[1] ** 2)

    data = sho(truth) + 5 * (rng.standard_normal(74) + 1j * rng.standard_normal(74))

    def cost(p):
        return np.sum(np.abs(data - sho(p)) ** 2) / np.sum(np.abs(data - data.mean()) ** 2)

    start = truth * np.array([1.1, 1.0005, 0.9, 1.1])
    legacy = least_squares(cost, start, jac="cs")
    np.testing.assert_array_equal(legacy.x, start)
    da = xr.DataArray(data, {"frequency": ("frequency", w, {"units": "Hz"})}, ("frequency",), "r", {"units": "V"})
    ours = xp.fit(da, "sho")
    assert cost([float(ours[n]) for n in ("amplitude", "resonance_frequency", "quality_factor", "phase")]) < cost(start)


# -------------------------------------------------------------------------------------------------------------- FORC


def forc_curves(response, n=24, steps=48, amplitude=5.0):
    """Curves that turn at ever lower bias: falling to the reversal, rising back."""
    low = np.linspace(-0.2 * amplitude, -amplitude, n)[:, None]
    shape = np.concatenate([np.linspace(1, 0, steps // 2, endpoint=False), np.linspace(0, 1, steps // 2)])
    bias = low + (amplitude - low) * shape
    return xr.DataArray(response(low, bias), {"bias": (("forc", "step"), bias, {"units": "V"})}, ("forc", "step"))


def test_forc_density_of_a_polynomial_is_exact():
    curves = forc_curves(lambda r, v: 1 + 2 * r + 3 * v + 0.5 * r * r - v * v + 0.8 * r * v).assign_attrs(units="V")
    found = xp.loops.forc_density(curves, smoothing=2)
    assert found.density.dims == ("forc", "bias") and found.density.units == "1/V"
    known = found.density.values[np.isfinite(found.density.values)]
    assert known.size > 200
    # linear interpolation of a parabola is off by its curvature times a step squared, alike at neighbours
    assert np.median(known) == pytest.approx(-0.4, abs=0.02)
    before = found.bias.values[None, :] < found.reversal_bias.values[:, None] - 1e-9
    assert np.isnan(found.density.values[before]).all()


def test_forc_density_finds_a_population_of_hysterons():
    """A Gaussian Preisach population: its density is known, and where it peaks."""
    from scipy.stats import norm

    up, down, s = 2.0, -2.0, 0.5

    def response(reversal, v):
        # from saturation: what switched down by the reversal, of that not yet back up at v
        return 1 - 2 * norm.sf((reversal - down) / s) * 0 - 2 * norm.cdf((down - reversal) / s) * norm.sf((v - up) / s)

    found = xp.loops.forc_density(forc_curves(response, n=40, steps=120), smoothing=2).density
    assert float(found.isel(forc=found.max("bias").argmax("forc").item()).idxmax("bias")) == pytest.approx(up, abs=0.15)
    at = found.reversal_bias.values[found.max("bias").argmax("forc").item()]
    assert at == pytest.approx(down, abs=0.15)
    # -1/2 d2/dr dv of -2 F((d - r)/s) S((v - u)/s) at its peak: 1 / (2 pi s^2), smoothed a little
    assert float(found.max()) == pytest.approx(1 / (2 * np.pi * s**2), rel=0.1)


def test_forc_density_is_lazy_and_names_what_is_missing():
    curves = forc_curves(lambda r, v: r * v).expand_dims(y=3).assign_attrs(units="V")
    with raise_if_dask_computes():
        lazy = xp.loops.forc_density(curves.chunk(y=1, forc=5).assign_coords(bias=curves.bias))
    np.testing.assert_allclose(lazy.density, xp.loops.forc_density(curves).density)
    with pytest.raises(DimensionError, match="forc"):
        xp.loops.forc_density(loops_of(truths(2)))
    with pytest.raises(DimensionError, match="three reversal"):
        xp.loops.forc_density(curves.isel(forc=[0, 0, 0]))
    with pytest.raises(ValueError, match="smoothing"):
        xp.loops.forc_density(curves, smoothing=0)


# -------------------------------------------------------------------------------------------------------- relaxation


@pytest.mark.parametrize("name", ["exponential", "stretched_exponential", "double_exponential", "logistic"])
def test_relaxation_goes_through_fit(name):
    """Each law of relaxation is a model of `fit`; what is drawn from it comes back."""
    time = np.linspace(0.002, 0.4, 120)
    shape = (
        xp.models.parse(name + " + constant")
        if name != "double_exponential"
        else xp.models.parse("double_exponential + constant")
    )
    values = {
        "exponential": 1 + 2 * np.exp(-time / 0.05),
        "stretched_exponential": 1 + 2 * np.exp(-((time / 0.05) ** 0.6)),
        "double_exponential": 1 + 1.2 * np.exp(-time / 0.02) + 0.8 * np.exp(-time / 0.15),
        "logistic": 1 + 2 / (1 + np.exp(-(time - 0.2) / 0.03)),
    }[name]
    da = xr.DataArray(values, {"time": ("time", time, {"units": "s"})}, ("time",), "r", {"units": "V"})
    found = xp.fit(da, shape, dim="time")
    assert bool(found.converged) and float(found.residual_rms) < 1e-6
