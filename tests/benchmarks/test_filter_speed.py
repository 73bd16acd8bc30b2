"""The filter beside bare scipy.fft on the same lines with the same workers: run with --benchmark-only -s.

1e5 lines of 4096 float32 where XPYCRO_FULL_BENCHMARKS=1, else a tenth.
"""

import os
import time

import numpy as np
import pytest
import xarray as xr
from scipy import fft as scipy_fft

from xpycro.processing.filters import LowPass, NoiseBand, apply

LINES = 100_000 if os.environ.get("XPYCRO_FULL_BENCHMARKS") == "1" else 10_000


@pytest.mark.slow
def test_filter_is_as_fast_as_bare_scipy(benchmark):
    values = np.random.default_rng(0).standard_normal((LINES, 4096), dtype=np.float32)
    coords = {"time": ("time", np.arange(4096) * 1e-6, {"units": "s"})}
    da = xr.DataArray(values, dims=("y", "time"), coords=coords)
    chosen = LowPass(200e3) & NoiseBand([60e3], [1e3])
    response = chosen.response(np.fft.rfftfreq(4096, 1e-6), 1e6).astype(np.float32)

    def bare():
        spectrum = scipy_fft.rfft(values, axis=-1)
        spectrum *= response
        return scipy_fft.irfft(spectrum, 4096, axis=-1, overwrite_x=True)

    times = []
    for _ in range(3):
        begin = time.perf_counter()
        expected = bare()
        middle = time.perf_counter()
        found = apply(da, chosen)
        times.append((middle - begin, time.perf_counter() - middle))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    bare_time, own_time = np.median(times, axis=0)
    benchmark.extra_info["ratio_to_scipy"] = own_time / bare_time
    print(f"\nfilter {own_time:.2f} s, bare scipy.fft {bare_time:.2f} s, ratio {own_time / bare_time:.2f}")
    benchmark.pedantic(apply, (da, chosen), rounds=1)
    assert own_time <= 1.3 * bare_time
