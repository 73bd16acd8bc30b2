"""A million oscillators from one HDF5 file into another: seconds and memory, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

WRITE = """
import sys
import h5py, numpy as np
from tests.benchmarks.test_fit_speed import oscillators
da, _ = oscillators(10_000, 128)
with h5py.File(sys.argv[1], "w") as file:
    response = file.create_dataset("response", (1000, 1000, 128), "c8", chunks=(16, 16, 128))
    for name, values in (("y", np.arange(1000.0)), ("x", np.arange(1000.0)), ("frequency", da.frequency.values)):
        file[name] = values
        file[name].make_scale(name)
        response.dims[("y", "x", "frequency").index(name)].attach_scale(file[name])
    for row in range(0, 1000, 10):
        response[row : row + 10] = da.values.reshape(10, 1000, 128)
"""

FIT = """
import resource, sys, time
import xarray as xr
import xpycro as xp
xp.fit(xr.open_dataset(sys.argv[1], engine="h5netcdf").response[:1, :8].load(), "sho")  # compiled before
began, cpu = time.perf_counter(), time.process_time()
fit = xr.open_dataset(sys.argv[1], engine="h5netcdf").response.pycro.fit("sho", dim="frequency").pycro.save(sys.argv[2])
wall, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(wall, cpu, peak, float(fit.converged.mean()), fit.amplitude.size)
"""


@pytest.mark.benchmark(group="fit: a million spectra of 128 bins, from file to file")
def test_a_million_oscillators(benchmark, tmp_path):
    source, target = str(tmp_path / "spectra.h5"), str(tmp_path / "fit.h5")
    subprocess.run([sys.executable, "-c", WRITE, source], check=True)

    def run():
        done = subprocess.run([sys.executable, "-c", FIT, source, target], capture_output=True, text=True, check=True)
        return [float(word) for word in done.stdout.split()]

    wall, cpu, peak, converged, count = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {"seconds": round(wall, 1), "CPU seconds": round(cpu, 1), "peak RSS, GB": round(peak, 2)}
    print(benchmark.extra_info)
    assert count == 1e6 and converged > 0.999
    assert peak < 1
