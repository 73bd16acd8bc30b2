"""Speed of fitting: ratios to a well-started SciPy loop in one run, at the same cost."""

from __future__ import annotations

import time

import numpy as np
import pytest
import xarray as xr

from xpycro.analysis.fit import fit


def oscillators(n, bins, seed=0):
    rng = np.random.default_rng(seed)
    x = np.linspace(300e3, 350e3, bins)
    truth = np.stack([rng.uniform(0.5e-3, 2e-3, n), rng.uniform(310e3, 340e3, n), rng.uniform(60, 200, n),
                      rng.uniform(-3, 3, n)], axis=-1)  # fmt: skip
    a, w0, q, phase = (truth[:, j, None] for j in range(4))
    clean = a * np.exp(1j * phase) * w0**2 / (x**2 - 1j * x * w0 / q - w0**2)
    z = clean + 0.05 * a * q * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    return xr.DataArray(z.astype(np.complex64), {"frequency": x}, ("position", "frequency")), truth


def curve_fit_loop(z, x, truth):
    """Seconds a spectrum and costs of curve_fit, started at the truth in scaled parameters."""
    from scipy.optimize import curve_fit

    def response(u, a, w, q, phase):
        value = a * np.exp(1j * phase) * w * w / (u * u - 1j * u * w / q - w * w)
        return np.concatenate([value.real, value.imag])

    u = x / x.mean()
    costs = []
    begin = time.perf_counter()
    for spectrum, (a, w0, q, phase) in zip(z, truth, strict=True):
        y = np.concatenate([spectrum.real, spectrum.imag]).astype(float)
        scale = np.abs(y).max()
        best, _ = curve_fit(response, u, y / scale, [a / scale, w0 / x.mean(), q, phase])
        costs.append(0.5 * scale**2 * np.sum((y / scale - response(u, *best)) ** 2))
    return (time.perf_counter() - begin) / len(z), np.array(costs)


@pytest.mark.benchmark(group="fit: sho, 20,000 spectra of 128 bins")
def test_oscillator_against_curve_fit(benchmark):
    da, truth = oscillators(20_000, 128)
    fit(da[:10], "sho")  # compiled
    result = benchmark.pedantic(fit, args=(da, "sho"), rounds=5)
    n = 200
    slow, costs = curve_fit_loop(da.values[:n], da.frequency.values, truth[:n])
    ours = 0.5 * result.residual_rms.values[:n] ** 2 * 128
    assert (ours <= costs * (1 + 1e-6)).mean() >= 0.995
    assert float(result.converged.mean()) > 0.999
    ratio = slow * 20_000 / benchmark.stats.stats.min
    benchmark.extra_info["ratio to curve_fit"] = round(ratio)
    assert ratio >= 200
