"""What the first fit of a session waits for: compiling into an empty cache, and loading from a filled one.

Each in a process of its own; imports are not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_FIT = """
import json, sys, time
import numpy as np, xarray as xr
import numba, numba.core.ccallback, dask.array, scipy.linalg, scipy.special
from xpycro.analysis.fit import fit

def own(x, height, place, width):
    return height * np.exp(-0.5 * ((x - place) / width) ** 2)

x = np.linspace(1.0, 10.0, 128)
noise = 0.1 * np.random.default_rng(0).normal(size=(10, 128))
y = {"sho": 1.0 / (x**2 - 0.2j * x - 25.0), "gaussian + linear": own(x, 7, 5, 0.5) + 0.1 * x, "own": own(x, 7, 5, 0.5)}
name = sys.argv[1]
da = xr.DataArray(y[name] + noise, {"frequency": ("frequency", x, {"units": "Hz"})}, ("position", "frequency"))
model, settings = (own, {"start": [6.0, 5.1, 0.6]}) if name == "own" else (name, {})
wall, cpu = time.perf_counter(), time.process_time()
result = fit(da, model, dim="frequency", **settings)
seconds = time.perf_counter() - wall, time.process_time() - cpu
assert bool(result.converged.all())
print(json.dumps(seconds))
"""


def first_fit(model, folder):
    """Wall and CPU seconds of a fit of ten pixels in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _FIT, model], env={**os.environ, "NUMBA_CACHE_DIR": str(folder)}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.benchmark(group="fit: the first of a session")
@pytest.mark.parametrize("model", ["sho", "gaussian + linear", "own"])
def test_first_fit(benchmark, tmp_path, model):
    compiled = first_fit(model, tmp_path)
    loaded = benchmark.pedantic(lambda: first_fit(model, tmp_path), rounds=1)
    benchmark.extra_info |= {
        key: round(value, 2)
        for key, value in zip(
            ("compiled", "its CPU", "loaded", "CPU of that"), (*compiled, *loaded), strict=True
        )
    }  # fmt: skip
    print(model, benchmark.extra_info)
    assert compiled[1] < 10  # of CPU: what one quiet core takes
    if model != "own":  # a user's function is compiled anew in every session
        assert loaded[1] < 0.5
