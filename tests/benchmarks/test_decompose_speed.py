"""Speed and memory of the exact decomposition, as ratios to what the machine can do in the same run.

Run with ``pytest tests/benchmarks/test_decompose_speed.py --benchmark-only -s``; skipped otherwise. Files are made in
the temporary folder: XPYCRO_BENCH_GB scales them (default 2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

GIGABYTES = float(os.environ.get("XPYCRO_BENCH_GB", "2"))


def make_file(path: Path, n_features: int, gigabytes: float) -> Path:
    """Six components, noise and a mean in a chunked HDF5 file, float32."""
    import h5py

    rng = np.random.default_rng(0)
    rows = int(gigabytes * 1e9 / 4 / n_features) // 500 * 500
    y, x = rows // 500, 500
    spectra = rng.normal(size=(6, n_features)).astype("f4")
    with h5py.File(path, "w") as f:
        d = f.create_dataset(
            "data", (y, x, n_features), "f4", chunks=(max(1, 262144 // n_features // 50), 50, n_features)
        )
        for start in range(0, y, 20):
            n = min(20, y - start)
            scores = rng.normal(size=(n * x, 6)).astype("f4") * np.array([50, 30, 20, 10, 5, 3], "f4")
            noise = rng.standard_normal((n * x, n_features), dtype="f4")
            d[start : start + n] = (scores @ spectra + noise + 3).reshape(n, x, n_features)
        for i, name in enumerate(("y", "x", "energy")):
            f[name] = np.arange(d.shape[i], dtype=float)
            f[name].make_scale(name)
            d.dims[i].attach_scale(f[name])
    return path


@pytest.fixture(scope="session")
def two_gigabytes(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("bench") / "cube.h5", 1024, GIGABYTES)


SETUP = """
    import json, resource, sys, time
    import numpy as np, xarray as xr
    def report(**values):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rss_mb": peak, **values}))
    def timed(function):
        start = time.perf_counter(), time.process_time()
        function()
        return time.perf_counter() - start[0], time.process_time() - start[1]
    path = sys.argv[1]
"""

SVD = """
    import scipy.linalg, dask.array, h5py
    from xpycro.processing import decompose
    data = xr.open_dataset(path, engine="h5netcdf", chunks={chunks})["data"]
    result = decompose.{method}(data, 8)
    wanted = result if {maps} else result[["components", "singular_values"]]
    wall, cpu = timed(lambda: wanted.compute())
    report(wall=wall, cpu=cpu)
"""

# The bound: reading the file once, or float64 symmetric rank-k products of the same blocks with the cast, two threads.
FLOOR = """
    import h5py, threading
    from concurrent.futures import ThreadPoolExecutor
    from threadpoolctl import threadpool_limits
    def read():
        with h5py.File(path) as f:
            d = f["data"]
            for i in range(0, d.shape[0], 8):
                d[i:i+8]
    read()
    warm, warm_cpu = timed(read)
    with h5py.File(path) as f:
        block = f["data"][:8].reshape(-1, f["data"].shape[-1])
        n_blocks = -(-f["data"].shape[0] // 8)
    def product(_):
        total = 0
        for i in range(0, len(block), 2048):
            x = block[i:i+2048].astype(np.float64)
            total = total + x.T @ x
        return total[0, 0]
    def products():
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
            list(pool.map(product, range(n_blocks)))
    wall, cpu = timed(products)
    report(read=warm, read_cpu=warm_cpu, products=wall, products_cpu=cpu)
"""


def run(script: str, path: Path, address_space: int | None = None, **values) -> dict[str, float]:
    """Run a script in a process of its own and read the figures it prints."""
    code = textwrap.dedent(SETUP) + textwrap.dedent(script.format(**values) if values else script)
    prefix = f"ulimit -v {address_space // 1024}; " if address_space else ""
    done = subprocess.run(
        ["bash", "-c", f'{prefix}exec "$0" "$@"', sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("chunks", ["None", '{"y": 48, "x": 500, "energy": 1024}'])
@pytest.mark.parametrize("maps", [False, True])
def test_memory_of_a_two_gigabyte_file(benchmark, two_gigabytes, maps, chunks):
    figures = benchmark.pedantic(
        run, (SVD, two_gigabytes), {"method": "svd", "maps": maps, "chunks": chunks}, rounds=1, iterations=1
    )
    print(f"maps={maps} chunks={chunks}", figures)
    assert figures["rss_mb"] < 600


@pytest.mark.slow
def test_no_slower_than_reading_or_multiplying(benchmark, two_gigabytes):
    floor = run(FLOOR, two_gigabytes)
    figures = benchmark.pedantic(
        run, (SVD, two_gigabytes), {"method": "svd", "maps": False, "chunks": "None"}, rounds=1, iterations=1
    )
    bound = max(floor["read"], floor["products"])
    print(f"svd {figures['wall']:.1f} s, bound {bound:.1f} s, ratio {figures['wall'] / bound:.2f}", floor, figures)
    assert figures["wall"] <= 1.3 * bound
