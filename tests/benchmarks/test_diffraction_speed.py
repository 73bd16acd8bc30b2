"""Five reductions of a 4-D scan in one reading beside reading it: run with --benchmark-only -s.

128 x 128 x 256 x 256 uint16 (2 GiB) where XPYCRO_FULL_BENCHMARKS=1, else 32 x 32 positions; the file is warm.
"""

import os
import time

import numpy as np
import pytest
import xarray as xr

from xpycro.processing import diffraction as d

SIDE = 128 if os.environ.get("XPYCRO_FULL_BENCHMARKS") == "1" else 32


@pytest.mark.slow
def test_five_reductions_cost_little_more_than_reading(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.nc"
    block = rng.poisson(5, (SIDE, 256, 256)).astype(np.uint16)
    values = np.broadcast_to(block, (SIDE, SIDE, 256, 256))
    ds = xr.Dataset({"counts": (("y", "x", "ky", "kx"), values)})
    ds.to_netcdf(path, engine="h5netcdf")
    five = [
        d.VirtualDetector(20, center=(128, 128), name="bright"),
        d.VirtualDetector(100, 40, (128, 128), name="dark"),
        d.CenterOfMass(center=(128, 128)),
        d.MeanPattern(),
        d.MaxPattern(),
    ]

    def opened():
        return xr.open_dataset(path, engine="h5netcdf", cache=False).counts

    d.run(opened()[:1, :1], five).compute()  # compiles
    times = []
    for _ in range(3):
        lazy = opened().chunk(y=max(1, 16 // (SIDE // 32)), x=-1, ky=-1, kx=-1)
        begin = time.perf_counter()
        lazy.max().compute()  # every byte read and looked at once
        middle = time.perf_counter()
        d.run(lazy, five).compute()
        times.append((middle - begin, time.perf_counter() - middle))
    read, reduced = np.median(times, axis=0)
    size = SIDE * SIDE * 2**17 / 1e6
    benchmark.extra_info["ratio_to_read"] = reduced / read
    print(
        f"\nfive reductions {reduced:.2f} s ({size / reduced:.0f} MB/s), read {read:.2f} s, ratio {reduced / read:.2f}"
    )
    benchmark.pedantic(lambda: d.run(opened(), five).compute(), rounds=1)
    assert reduced <= 1.5 * read
