"""Models linear in all parameters: NumPy's least squares on one pixel is the truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.test_solver import problem_of
from xpycro.analysis import models
from xpycro.engine.solver import Status, solve

CHANNELS = 60


def lstsq(design, y, sigma=None):
    """Parameters, covariance, weighted and plain sums of squares of one row with NaN; the design is (channel, k)."""
    w = np.ones(y.size) if sigma is None else 1 / sigma
    good = np.isfinite(y) & np.isfinite(w) & (w > 0)
    a, b = design[good] * w[good, None], y[good] * w[good]
    p = np.linalg.lstsq(a, b, rcond=None)[0]
    r = b - a @ p
    covariance = np.linalg.inv(a.T @ a) * (r @ r) / (good.sum() - p.size)
    mean = np.average(y[good], weights=w[good] ** 2)
    r2 = 1 - (r @ r) / np.sum((w[good] * (y[good] - mean)) ** 2)
    return p, covariance, r @ r, np.sum((r / w[good]) ** 2), r2, good.sum()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    x = np.linspace(-1, 2, CHANNELS)
    return x, 3 + x + 0.3 * x**3 + rng.normal(size=(100, CHANNELS)), rng


SIGMAS = {
    "none": lambda rng: None,
    "shared": lambda rng: rng.uniform(0.2, 3, CHANNELS),
    "pixels": lambda rng: rng.uniform(0.2, 3, (100, CHANNELS)),
    "wild": lambda rng: 10 ** rng.uniform(-5, 5, (100, CHANNELS)),
}


@pytest.mark.parametrize("holes", ["none", "same", "different"])
@pytest.mark.parametrize("weights", SIGMAS)
@pytest.mark.parametrize("name", ["constant", "linear", "polynomial"])
def test_every_number_is_lapacks(data, name, weights, holes):
    x, y, rng = data
    y, sigma = y.copy(), SIGMAS[weights](rng)
    if holes == "same":
        y[20:, 5:9] = np.nan
    if holes == "different":
        y[rng.random(y.shape) < 0.1] = np.nan
    model = models.Polynomial(degree=6) if name == "polynomial" else models.parse(name)
    design = x[:, None] ** np.arange(len(model.parameters))
    ours = solve(problem_of(model, covariance=True), x, y, sigma=sigma)
    assert (ours.status == Status.COST).all() and (ours.iterations == 0).all()
    for i in range(0, 100, 7):
        s = sigma if sigma is None or sigma.ndim == 1 else sigma[i]
        p, covariance, cost, squares, r2, points = lstsq(design, y[i], s)
        own = np.sqrt(np.diag(covariance))
        if weights == "wild":  # as good as a backward stable solver can be: in units of the errors
            assert (abs(ours.parameters[i] - p) < 1e-6 * own).all()
            continue
        scale = abs(p).max()
        np.testing.assert_allclose(ours.parameters[i], p, rtol=1e-10, atol=1e-11 * scale)
        np.testing.assert_allclose(ours.covariance[i], covariance, rtol=1e-8, atol=1e-11 * own.max() ** 2)
        np.testing.assert_allclose(ours.errors[i], own, rtol=1e-9)
        np.testing.assert_allclose(2 * ours.cost[i], cost, rtol=1e-10)
        np.testing.assert_allclose(ours.sum_of_squares[i], squares, rtol=1e-10)
        np.testing.assert_allclose(ours.r2[i], r2, rtol=1e-9, atol=1e-14)
        assert ours.n_points[i] == points


def test_hopeless_pixels_and_constant_ones(data):
    x, y, _ = data
    y = y[:6].copy()
    y[0] = np.nan
    y[1, 2:] = np.nan
    y[2] = 0.3
    y[3, 0] = np.inf  # left out, as NaN is
    ours = solve(problem_of(models.Polynomial(degree=2)), x, y)
    assert list(ours.status[:4]) == [Status.NO_DATA, Status.TOO_FEW, Status.COST, Status.COST]
    assert np.isnan(ours.parameters[:2]).all() and np.isnan(ours.r2[2]) and ours.n_points[3] == CHANNELS - 1
    np.testing.assert_allclose(ours.parameters[2], [0.3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(ours.parameters[3], np.polyfit(x[1:], y[3, 1:], 2)[::-1], rtol=1e-10)


def test_what_the_data_do_not_determine_is_flagged():
    model = models.parse("linear + constant")  # two offsets
    y = np.random.default_rng(0).normal(size=(20, 30))
    ours = solve(problem_of(model), np.arange(30.0), y)
    assert (ours.status == Status.SINGULAR).all() and np.isnan(ours.parameters).all()
    few = np.full((3, 30), np.nan)
    few[:, [3, 3, 4]] = 1.0, 1.0, 2.0
    few[0, 4], few[0, 9] = np.nan, 5.0
    ours = solve(problem_of(models.parse("linear"), absolute_sigma=True), np.arange(30.0), few, sigma=np.ones(30))
    assert (ours.status == Status.COST).all() and np.isfinite(ours.errors).all()


def test_fixed_maps_and_ties(data):
    x, y, _ = data
    model = models.parse("linear + polynomial")
    names = list(model.parameters)
    assert len(names) == 5
    start = np.full((100, 5), np.nan)
    start[:, 0], start[:, 2] = np.linspace(-1, 1, 100), 0.5
    start[50, 0] = np.nan
    # intercept and c0 are given, c1 = slope
    problem = problem_of(model, fixed=(True, False, True, False, False), tied=(-1, -1, -1, 1, -1), covariance=True)
    ours = solve(problem, x, y, start=start)
    design = np.stack([2 * x, x**2], axis=-1)
    for i in (0, 31, 99):
        p, covariance, cost, *_ = lstsq(design, y[i] - start[i, 0] - 0.5)
        np.testing.assert_allclose(ours.parameters[i], [start[i, 0], p[0], 0.5, p[0], p[1]], rtol=1e-10)
        own = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(ours.errors[i], [0, own[0], 0, own[0], own[1]], rtol=1e-9)
        np.testing.assert_allclose(ours.covariance[i, 1, [3, 4]], covariance[0], rtol=1e-9)
        np.testing.assert_allclose(2 * ours.cost[i], cost, rtol=1e-10)
    assert ours.status[50] == Status.NOT_FINITE and np.isnan(ours.parameters[50]).all()


def test_bounds_are_scipys(data):
    from scipy.optimize import lsq_linear

    x, y, _ = data
    model = models.Polynomial(degree=3)
    lower, upper = (0.0, 0.0, 0.0, 0.0), (np.inf, 1.0, np.inf, np.inf)
    ours = solve(problem_of(model, lower=lower, upper=upper), x, y[:30])
    held = 0
    for i in range(30):
        best = lsq_linear(x[:, None] ** np.arange(4), y[i], (lower, upper), tol=1e-13)
        np.testing.assert_allclose(ours.cost[i], best.cost, rtol=1e-9)
        held += (best.active_mask != 0).any()
    assert 0 < held < 30


def test_complex_constant_and_its_quadratures():
    rng = np.random.default_rng(3)
    y = 2 - 3j + rng.normal(size=(20, 40)) + 1j * rng.normal(size=(20, 40))
    y[3, 4] = np.nan
    y[5, 1] = complex(np.nan, 0.0)
    sigma = rng.uniform(0.5, 2, 40)
    ours = solve(problem_of(models.parse("complex_constant", is_complex=True)), np.arange(40.0), y, sigma=sigma)
    for i in range(20):
        good = np.isfinite(y[i])
        mean = np.average(y[i, good], weights=1 / sigma[good] ** 2)
        np.testing.assert_allclose(ours.parameters[i], [mean.real, mean.imag], rtol=1e-12)
        assert ours.n_points[i] == 2 * good.sum()
        np.testing.assert_allclose(ours.sum_of_squares[i], np.sum(abs(y[i, good] - mean) ** 2), rtol=1e-12)


def test_input_is_not_modified(data):
    x, y, _ = data
    before = y.copy()
    solve(problem_of(models.parse("linear")), x, y)
    np.testing.assert_array_equal(y, before)
