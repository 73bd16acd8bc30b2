"""The solver room: threads that never multiply, exact exponentials, pickling, derivatives."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpycro.analysis import models
from xpycro.engine.solver import Problem, solve, solve_harmonic
from xpycro.engine.solver.parallel import each_slice, n_threads

INFINITE = float("inf")


def problem_of(model, **settings):
    count = len(model.parameters)
    defaults = dict(
        lower=tuple(p.lower for p in model.parameters.values()),
        upper=tuple(p.upper for p in model.parameters.values()),
        fixed=(False,) * count,
        tied=(-1,) * count,
        quadratures=2 if model.is_complex else 1,
    )
    return Problem(components=tuple(t.component() for t in model.terms), **(defaults | settings))


def test_exp_is_numpys():
    from xpycro.engine.solver.jit import exp

    x = np.concatenate([np.linspace(-700, 700, 5001), [0.0, 1e-300, -1e-17]])
    ours = np.array([exp(v) for v in x])
    np.testing.assert_allclose(ours, np.exp(x), rtol=1e-15)
    assert exp(-1e4) < 1e-300 and np.isnan(exp(np.nan))


def test_never_more_kernels_at_work_than_threads():
    lock, now, most = threading.Lock(), [0], [0]

    def work(part):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.005)
        with lock:
            now[0] -= 1

    with ThreadPoolExecutor(8) as callers:  # as dask's threads do
        list(callers.map(lambda _: each_slice(work, 40, 4), range(8)))
    assert 1 <= most[0] <= n_threads()


def test_slices_cover_everything_and_errors_come_out():
    seen = np.zeros(103, int)

    def work(part):
        seen[part] += 1

    each_slice(work, 103, 10)
    assert (seen == 1).all()
    with pytest.raises(ZeroDivisionError):
        each_slice(lambda part: 1 / 0, 100, 10)


def test_concurrent_callers_get_the_same_numbers():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 10, 64)
    y = np.exp(-0.5 * ((x - 5) / 1.0) ** 2) + 0.05 * rng.normal(size=(3000, 64))
    problem = problem_of(models.parse("gaussian + linear"))
    alone = solve(problem, x, y)
    with ThreadPoolExecutor(6) as callers:
        together = list(callers.map(lambda _: solve(problem, x, y), range(6)))
    for other in together:
        np.testing.assert_array_equal(other.parameters, alone.parameters)
    np.testing.assert_array_equal(solve(problem, x, y[1000:1001]).parameters[0], alone.parameters[1000])


def test_problem_pickles():
    problem = problem_of(models.parse("gaussian + lorentzian + linear"))
    assert pickle.loads(pickle.dumps(problem)) == problem


def test_empty_input():
    assert solve(problem_of(models.parse("linear")), np.arange(4.0), np.zeros((0, 4))).parameters.shape == (0, 2)
    assert solve_harmonic(problem_of(models.parse("sho")), np.arange(4.0), np.zeros((0, 4))).parameters.shape == (0, 4)


def test_import_loads_no_compiler():
    heavy = "{'numba', 'scipy.optimize', 'dask.array'}"
    code = f"import sys, xpycro.engine.solver, xpycro.analysis.fit; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
def test_robust_losses_are_scipys(loss):
    from scipy.optimize import least_squares

    from xpycro.engine.solver import Loss

    rng = np.random.default_rng(4)
    x = np.linspace(0, 10, 80)
    truth = np.array([5.0, 4.0, 1.0, 0.5, 0.1])
    model = models.parse("gaussian + linear")
    y = model(x, *truth) + 0.2 * rng.normal(size=(5, 80))
    y[:, ::9] += 4 * rng.normal(size=y[:, ::9].shape)
    ours = solve(problem_of(model, loss=Loss[loss.upper()]), x, y, sigma=np.full(80, 0.2))
    for i in range(5):
        best = least_squares(
            lambda p, i=i: (y[i] - model(x, *p)) / 0.2, truth, loss=loss, ftol=1e-14, xtol=1e-14, gtol=1e-12
        )
        assert ours.status[i] in (1, 2)
        assert ours.cost[i] <= best.cost * (1 + 1e-8)
        np.testing.assert_allclose(ours.parameters[i], best.x, atol=2e-3)


def test_poisson_is_maximum_likelihood():
    from scipy.optimize import minimize

    from xpycro.engine.solver import Loss

    rng = np.random.default_rng(6)
    x = np.linspace(0, 10, 60)
    truth = np.array([12.0, 5.0, 1.0, 2.0])
    model = models.parse("gaussian + constant")
    y = rng.poisson(model(x, *truth), size=(6, 60)).astype(float)
    ours = solve(problem_of(model, loss=Loss.POISSON), x, y)
    for i in range(6):

        def likelihood(p, i=i):
            f = np.maximum(model(x, *p), 1e-12)
            return np.sum(f - y[i] * np.log(f))

        best = minimize(
            likelihood, truth, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 9000}
        )
        assert ours.status[i] in (1, 2)
        assert likelihood(ours.parameters[i]) <= best.fun + 1e-6
        np.testing.assert_allclose(ours.parameters[i], best.x, atol=5e-3)


FIT = """
import hashlib
import numpy as np
import xpycro as xp
fit = xp.fit(xp.simulate.band_excitation((8, 8), 48).response, "sho", dim="frequency")
print(hashlib.sha256(b"".join(np.asarray(da.values).tobytes() for da in fit.data_vars.values())).hexdigest())
"""


def test_the_session_that_compiles_gives_the_same_bits_as_those_that_load(tmp_path):
    """numba links a helper's own code or its copy in a cached kernel; vectorised apart, they differ in the last bit."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    seen = [
        subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert len(seen[0].strip()) == 64
    assert seen[0] == seen[1]


def test_an_oscillator_does_not_know_who_is_fitted_beside_it():
    model = models.HarmonicOscillator()
    rng = np.random.default_rng(4)
    x = np.linspace(300e3, 340e3, 21)  # neither channels nor pixels fill their last vector
    clean = model.evaluate(x, 1e-3, rng.uniform(310e3, 330e3, (19, 1)), rng.uniform(50, 200, (19, 1)), 0.5)
    y = clean + 2e-3 * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    y[1], y[4], y[5, 3], y[9, ::2] = np.nan, 2.0, np.nan, 1e3
    y[12] = rng.normal(size=21) + 1j * rng.normal(size=21)
    for kind in ("c8", "c16"):
        problem, data = problem_of(model), y.astype(kind)
        together = solve_harmonic(problem, x, data)
        for i in range(19):
            alone = solve_harmonic(problem, x, data[i : i + 1])
            for name in ("parameters", "errors", "cost", "status", "iterations"):
                np.testing.assert_array_equal(getattr(together, name)[i : i + 1], getattr(alone, name))
