"""Switching spectroscopy at its usual size: loops against SciPy, half a million resonances, memory."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from scipy.optimize import least_squares

import xpycro as xp
from tests.analysis.test_loops import loops_of, sweep, truths
from xpycro.analysis.loops import _axis, _block, model
from xpycro.engine.solver import solve


def test_loops_against_scipy(benchmark):
    """Against SciPy from the same start: the solver alone, and all that `loops.fit` does (two starts, errors)."""
    da = loops_of(truths(4000), 0.05)
    xp.loops.fit(da.isel(position=slice(0, 64)))
    found = benchmark.pedantic(lambda: xp.loops.fit(da), rounds=3)
    bias, rising = sweep(), _axis.is_rising(sweep())
    start = _block._hull_starts(bias, da.values)
    spent, clock, few = 0.0, 0.0, 30
    for i in range(few):
        y = da.values[i]
        begin = [y.min(), np.ptp(y), start[i, 3], start[i, 4], 0.0, *start[i, 5:]]
        lower = [-np.inf, -np.inf, -10, -10, -np.inf, *[20 / 32 / 3] * 4]
        upper = [np.inf, np.inf, 10, 10, np.inf, *[5.0] * 4]
        wall, cpu = time.perf_counter(), time.process_time()
        best = least_squares(lambda p, y=y: model.loop(bias, rising, *p) - y, begin, bounds=(lower, upper))
        spent, clock = spent + time.perf_counter() - wall, clock + time.process_time() - cpu
        assert found.residual_rms.values[i] ** 2 * 64 <= 2 * best.cost * (1 + 1e-6)
    n = da.sizes["position"]
    problem, axis = _block._problem(bias.tobytes())
    each = []
    for work in (lambda: solve(problem, axis, da.values, start=start), lambda: xp.loops.fit(da)):
        began = time.process_time()
        work()
        each.append((time.process_time() - began) / n)
    benchmark.extra_info.update(
        times_scipy=spent / few / benchmark.stats.stats.min * n, times_scipy_cpu=clock / few / each[1],
        times_scipy_cpu_one_start=clock / few / each[0], microseconds_cpu=1e6 * each[1],
        converged=float(found.converged.mean()),
    )  # fmt: skip


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
