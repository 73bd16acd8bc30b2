"""Speed and memory of k-means against scikit-learn in the same run.

Run with ``pytest tests/benchmarks/test_cluster_speed.py --benchmark-only -s``; skipped otherwise.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.benchmarks.test_decompose_speed import make_file, run
from xpycro.processing.cluster import lloyd

KMEANS = """
    import h5py, dask.array
    from xpycro.processing import cluster
    data = xr.open_dataset(path, engine="h5netcdf")["data"]
    wall, cpu = timed(lambda: cluster.kmeans(data, 6, max_iterations={passes}))
    report(wall=wall, cpu=cpu)
"""


def test_lloyd_passes_are_no_slower_than_scikit_learn(benchmark):
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    n, d, k = 1_000_000, 16, 8
    centers = rng.normal(size=(k, d))
    x = centers[rng.integers(0, k, n)] + 1.5 * rng.normal(size=(n, d))
    begin, numbers = x[:k].copy(), np.arange(n)
    lloyd.one_pass(x[:1000], begin)  # compiles

    def ours():
        return lloyd.partition(lambda: [(x, numbers)], n, begin, max_iterations=20)

    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        reference = KMeans(k, init=begin, n_init=1, max_iter=20, tol=0).fit(x)
        middle = time.perf_counter()
        found = ours()
        end = time.perf_counter()
        ratios.append((end - middle) / found.n_iterations / ((middle - start) / reference.n_iter_))
    benchmark.pedantic(ours, rounds=1, iterations=1)
    print(f"time of a pass, ours to scikit-learn's: {sorted(ratios)}")
    assert np.median(ratios) <= 1.1
    assert found.inertia <= reference.inertia_ * 1.001


@pytest.mark.slow
def test_memory_of_a_million_spectra_from_disk(benchmark, tmp_path):
    path = make_file(tmp_path / "spectra.h5", 256, 1.024)
    figures = benchmark.pedantic(run, (KMEANS, path), {"passes": 5}, rounds=1, iterations=1)
    benchmark.extra_info |= figures
    print(figures)
    assert figures["rss_mb"] < 1000
