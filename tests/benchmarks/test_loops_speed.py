"""Switching spectroscopy at its usual size: loops against SciPy, half a million resonances, memory."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.optimize import least_squares

import xpycro as xp
from tests.analysis.loop_accuracy import sweep
from tests.analysis.test_loops import loops_of, truths
from xpycro.analysis.loops import _axis, _block, model

FEW = 30  # loops that SciPy fits


def scipys(da, starts, *, exact=False):
    """Seconds of wall and CPU that SciPy takes for one loop, each from all of its starts, and the lower costs."""
    bias, rising = sweep(), _axis.is_rising(sweep())
    sweeps = _block._sweep(bias.tobytes())
    lower, upper = (
        [free, free, v[0], v[3], free, *v[1:3], *v[4:]]
        for free, v in ((-np.inf, sweeps.lower), (np.inf, sweeps.upper))
    )  # fmt: skip
    jac = {"jac": lambda p: model.jacobian(bias, rising, p)} if exact else {}
    wall, cpu, costs = time.perf_counter(), time.process_time(), []
    for y, each in zip(da.values[:FEW], starts[:FEW], strict=True):
        found = []
        for c_falling, b0, b1, c_rising, b2, b3 in np.clip(each, sweeps.lower, sweeps.upper):
            at = [c_falling - model.inverse(0.5, 0, b0, b1), c_rising - model.inverse(0.5, 0, b2, b3)]
            begin = np.clip([y.min(), np.ptp(y), *at, 0.0, b0, b1, b2, b3], lower, upper)
            found.append(
                least_squares(lambda p, y=y: model.loop(bias, rising, *p) - y, begin, bounds=(lower, upper), **jac)
            )
        costs.append(min(best.cost for best in found))
    return (time.perf_counter() - wall) / FEW, (time.process_time() - cpu) / FEW, np.array(costs)


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_loops_against_scipy(benchmark, noise):
    """All that `loops.fit` does (clusters, two starts, covariance, profiles), and the descent from one start alone.

    SciPy's `least_squares` has the same residual, starts and bounds, and gives minima, no errors: once one start, once
    the two that `loops.fit` has, once with the exact Jacobian.
    """
    da = loops_of(truths(4000), noise)
    n, bias = da.sizes["position"], sweep()
    xp.loops.fit(da.isel(position=slice(0, 64)))
    found = benchmark.pedantic(lambda: xp.loops.fit(da), rounds=3)
    table = _block.cluster_starts(da.values[::4], bias, rows=bias[None])[0]
    starts = _block._both_starts(bias, da.values, table)
    ours = {}
    for name, work in {
        "all": lambda: xp.loops.fit(da),
        "one start": lambda: _block._solve(bias, da.values, starts[:, :1], profiles=False),
    }.items():
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        ours[name] = (time.perf_counter() - wall) / n, (time.process_time() - cpu) / n
    one, two, exact = scipys(da, starts[:, :1]), scipys(da, starts), scipys(da, starts[:, :1], exact=True)
    cost = found.residual_rms.values[:FEW] ** 2 * 32
    alone = _block._solve(bias, da.values[:FEW], starts[:FEW, :1], profiles=False).statistics[:, 0]
    for scipy_s, name, reading in (
        (one, "one start", "one_start_each"),
        (exact, "one start", "one_start_each_exact_jacobian"),
        (one, "all", "all_against_one_start"),
        (two, "all", "all_against_two_starts"),
    ):
        benchmark.extra_info[f"times_{reading}_wall_cpu"] = [round(scipy_s[k] / ours[name][k]) for k in range(2)]
    benchmark.extra_info.update(
        microseconds_cpu={name: round(1e6 * v[1], 1) for name, v in ours.items()},
        converged=float(found.converged.mean()),
        same_cost=[float(np.mean(np.abs(a / b - 1) < 1e-6)) for a, b in ((alone, one[2]), (cost, two[2]))],
        lower_cost=[float(np.mean(a < b * (1 + 1e-6))) for a, b in ((alone, one[2]), (cost, two[2]))],
    )  # fmt: skip
    print(benchmark.extra_info)
    assert np.mean(cost <= two[2] * (1 + 1e-6)) > 0.8


LARGE = """
import resource, time
import xpycro as xp
ds = xp.simulate.band_excitation((64, 64), 64, mode="dc", n_steps={steps}, n_cycles={cycles}, quality_factor=60,
                                 signal_to_noise=20, chunks={{"y": 4}})
if "{what}" == "sho":
    began = time.perf_counter()
    fit = ds.response.pycro.fit("sho", dim="frequency").compute()
    print(fit.converged.size, float(fit.converged.mean()), time.perf_counter() - began)
else:
    sho = ds.response.pycro.fit("sho", dim="frequency")
    loops = xp.loops.project(sho)
    fit = xp.loops.fit(loops).compute()
    flagged = fit.converged | ((fit.status != 1) & (fit.status != 2) & fit.height.isnull())
    print(fit.converged.size, float(fit.converged.mean()), float(flagged.mean()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def run(**words):
    done = subprocess.run([sys.executable, "-c", LARGE.format(**words)], capture_output=True, text=True, check=True)
    first, peak = done.stdout.strip().splitlines()[-2:]
    return [float(word) for word in first.split()], int(peak)


def test_half_a_million_resonances_in_one_call(benchmark):
    """64 x 64 pixels, 128 steps, 64 bins, simulated and fitted lazily; peak resident memory below 1 GB."""
    (count, converged, seconds), peak = benchmark.pedantic(lambda: run(what="sho", steps=128, cycles=1), rounds=1)
    benchmark.extra_info.update(spectra=count, converged=converged, seconds=seconds, peak_gigabytes=peak / 1e9)
    assert count == 524_288
    assert peak < 1e9


def test_every_loop_of_a_large_measurement_is_found_or_flagged(benchmark):
    """64 x 64 pixels, 64 steps, two cycles, from spectra to loops."""
    (count, converged, flagged), peak = benchmark.pedantic(lambda: run(what="loops", steps=64, cycles=2), rounds=1)
    benchmark.extra_info.update(loops=count, converged=converged, peak_gigabytes=peak / 1e9)
    assert count == 8192 and flagged == 1.0
    assert converged > 0.99
