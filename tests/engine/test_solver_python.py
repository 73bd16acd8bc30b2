"""Python functions: parameters that start at zero, or end there, keep a meaningful derivative."""

from __future__ import annotations

import numpy as np
import pytest

from xpycro.engine.solver import Loss, Problem, Status, solve_python
from xpycro.engine.solver.batched import solve_function


def plain(x, a, b, c):
    return a + b * x + c * x * x


def stubborn(x, a, b, c):  # numba does not know this one, so NumPy evaluates it
    return np.select([x == x], [a + b * x + c * x * x])


@pytest.mark.parametrize("function", [plain, stubborn])
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e7])
@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_parameters_near_zero(function, unit, start):
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 50)
    y = 2.0 + 1e-12 * x + 0.05 * rng.normal(size=(12, 50))
    design = np.stack([np.ones(50), x, x * x], axis=-1)
    y[:6] -= (y[:6] @ np.linalg.pinv(design).T)[:, 1:] @ design[:, 1:].T  # slope and curvature are zero exactly
    problem = Problem(
        components=(), lower=(-np.inf,) * 3, upper=(np.inf,) * 3, fixed=(False,) * 3, tied=(-1,) * 3
    )  # fmt: skip
    # the axis in other units: slopes of another order of magnitude
    ours = solve_python(function, problem, x * unit, y, start=np.array(start) / unit ** np.arange(3))
    assert np.isin(ours.status, (Status.COST, Status.STEP)).all()
    for i in range(12):
        best, square, _, _ = np.linalg.lstsq(design, y[i], rcond=None)
        errors = np.sqrt(square[0] / 47 * np.diag(np.linalg.inv(design.T @ design)))
        np.testing.assert_allclose(ours.errors[i] * unit ** np.arange(3), errors, rtol=1e-3)
        assert (abs(ours.parameters[i] * unit ** np.arange(3) - best) < 1e-3 * errors).all()


@pytest.mark.parametrize("function", [plain, stubborn])
def test_a_pixel_knows_nothing_of_its_neighbours(function):
    rng = np.random.default_rng(1)
    x = np.linspace(-1, 1, 50)
    y = np.array([[1e-9], [1.0], [1e8]]) * (x * x + 0.1 * rng.normal(size=(3, 50)))
    problem = Problem(
        components=(), lower=(-np.inf,) * 3, upper=(np.inf,) * 3, fixed=(False,) * 3, tied=(-1,) * 3
    )  # fmt: skip
    together = solve_python(function, problem, x, y, start=np.zeros(3))
    for i in range(3):
        alone = solve_python(function, problem, x, y[i : i + 1], start=np.zeros(3))
        np.testing.assert_array_equal(alone.parameters[0], together.parameters[i])
        np.testing.assert_array_equal(alone.errors[0], together.errors[i])


@pytest.mark.parametrize("function", [plain, stubborn])
def test_a_tie_to_what_starts_at_zero(function):
    x = np.linspace(-1, 1, 50)
    y = 2.0 + 0.1 * np.random.default_rng(2).normal(size=(3, 50))
    tied = Problem(
        components=(), lower=(-np.inf,) * 3, upper=(np.inf,) * 3, fixed=(False,) * 3, tied=(-1, -1, 1)
    )  # fmt: skip
    ours = solve_python(function, tied, x, y, start=np.array([1.0, 0.0, np.nan]))
    design = np.stack([np.ones(50), x + x * x], axis=-1)
    best = np.linalg.lstsq(design, y.T, rcond=None)[0].T
    np.testing.assert_allclose(ours.parameters, best[:, [0, 1, 1]], atol=1e-5)
    np.testing.assert_array_equal(ours.errors[:, 1], ours.errors[:, 2])


def resonance(x, height, place, width, phase):
    return height * np.exp(1j * phase) / (x - place + 1j * width)


def bell(x, height, place, width, level):
    return height * np.exp(-0.5 * ((x - place) / width) ** 2) + level


@pytest.mark.parametrize("loss", [Loss.SOFT_L1, Loss.HUBER, Loss.CAUCHY])
@pytest.mark.parametrize(("function", "truth"), [(bell, (10, 0.2, 0.6, 1.0)), (resonance, (3.0, 0.2, 0.5, 0.4))])
def test_robust_errors_of_both_solvers(function, truth, loss):
    rng, x = np.random.default_rng(0), np.linspace(-3, 3, 80)
    y = function(x, *truth) + 0.3 * rng.normal(size=(300, 80))
    if np.iscomplexobj(y):
        y += 0.3j * rng.normal(size=y.shape)
    y += 4 * rng.choice([-1, 1], size=y.shape) * (rng.random(y.shape) < 0.06)
    y[0, 5], y[1, :9] = np.nan, np.inf
    free = Problem(
        components=(), lower=(-np.inf,) * 4, upper=(np.inf,) * 4, fixed=(False,) * 4, tied=(-1,) * 4,
        quadratures=1 + np.iscomplexobj(y), loss=loss, covariance=True,
    )  # fmt: skip
    compiled = solve_python(function, free, x, y, start=np.array(truth))
    plainly = solve_function(function, free, x, y, start=np.array([truth]))
    assert (compiled.status == Status.COST).all() and (plainly.status == Status.COST).all()
    assert (abs(compiled.parameters - plainly.parameters) < 1e-3 * compiled.errors).all()
    # Huber's curvature jumps where a residual is one sigma
    same = np.isclose(plainly.errors, compiled.errors, rtol=1e-3) & np.isclose(plainly.cost, compiled.cost)[:, None]
    assert same.mean() > (0.98 if loss == Loss.HUBER else 0.9999)
    whole = np.sqrt(np.einsum("pii,pjj->pij", plainly.covariance, plainly.covariance))
    assert (abs(plainly.covariance - compiled.covariance)[same.all(axis=1)] < 3e-3 * whole[same.all(axis=1)]).all()
    pull = (plainly.parameters - truth) / plainly.errors
    assert pull.std(axis=0) == pytest.approx(1, abs=0.16)


def test_code_does_not_depend_on_what_was_compiled_before():
    """numba's own helpers, here an integer power, must not carry the options of whoever asked for them first."""
    from numba import float32, int16, njit

    from xpycro.engine.solver.jit import OPTIONS, reproducible

    def power(x, n):
        return x**n

    codes = []
    for options in ({**OPTIONS, "fastmath": {"contract"}}, OPTIONS):
        compiled = reproducible(njit(**options)(power))
        compiled.compile((float32, int16))
        codes.append(compiled.inspect_llvm(compiled.signatures[0]))
    products = [[line for line in code.splitlines() if " fmul " in line] for code in codes]
    assert all(products)
    assert not any("reassoc" in line for line in products[0])
    assert all("reassoc" in line for line in products[1])


def test_nothing_but_zeros():
    x = np.linspace(0, 1, 20)
    problem = Problem(
        components=(), lower=(-np.inf,) * 3, upper=(np.inf,) * 3, fixed=(False,) * 3, tied=(-1,) * 3
    )  # fmt: skip
    ours = solve_python(stubborn, problem, x, np.zeros((1, 20)), start=np.zeros(3))
    np.testing.assert_allclose(ours.parameters, 0.0, atol=1e-12)
