"""What a tap, a map and a first picture cost on a lazily opened HDF5 cube; ratios to reading the same bytes bare.

Sizes are modest by default; XPYCRO_BENCH_GB sets the file's size.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from xpycro.viz import plot

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    """A float32 cube of (y, x, 1024) in chunks that suit spectra and maps alike."""
    side = max(64, int((float(os.environ.get("XPYCRO_BENCH_GB", "0.25")) * 2**30 / 4096) ** 0.5) // 16 * 16)
    path: Path = tmp_path_factory.mktemp("viz") / "cube.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        values = file.create_dataset("counts", shape=(side, side, 1024), dtype="f4", chunks=(16, 16, 256))
        for row in range(0, side, 16):
            values[row : row + 16] = rng.normal(size=(16, side, 1024)).astype("f4")
    da = xr.open_dataset(path, engine="h5netcdf", phony_dims="access")["counts"]
    return xr.DataArray(da.variable, dims=da.dims)


def explorer(cube: xr.DataArray):
    return plot.explore(cube, nav=cube.dims[:2], sig=cube.dims[2])


def test_build_an_explorer(benchmark, cube):
    benchmark(explorer, cube)


def test_tap_to_curve(benchmark, cube):
    """From the tap to the drawn elements, a pixel never seen before each time."""
    layout = explorer(cube)
    _, line = list(layout)
    line[()]
    pixels = iter(np.random.default_rng(1).permutation(cube.shape[0] * cube.shape[1]))

    def tap() -> None:
        layout._pycro_state.event(pixel=int(next(pixels)))
        line[()]

    benchmark.pedantic(tap, rounds=40, iterations=1)


def test_sample_to_map(benchmark, cube):
    layout = explorer(cube)
    chart, _ = list(layout)
    chart[()]
    samples = iter(np.random.default_rng(2).permutation(1024))

    def sweep() -> None:
        k = int(next(samples))
        layout._pycro_state.event(low=k, high=k)
        chart[()]

    benchmark.pedantic(sweep, rounds=20, iterations=1)


def test_bare_read_of_a_spectrum(benchmark, cube):
    """The same bytes without an explorer, to compare with."""
    pixels = iter(np.random.default_rng(1).permutation(cube.shape[0]))
    benchmark.pedantic(lambda: cube[int(next(pixels)), 7].compute(), rounds=40, iterations=1)
