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


@pytest.fixture(scope="session", params=[(1024, 1.0), (256, 3.0)], ids=["1024 channels", "256 channels"])
def cube(request, tmp_path_factory):
    """2 GB of 500,000 spectra of 1024 channels, then 6 GB of 6,000,000 of 256; removed when done with."""
    n_features, share = request.param
    path = make_file(tmp_path_factory.mktemp("bench") / "cube.h5", n_features, share * GIGABYTES)
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def small_cube(tmp_path_factory):
    """A quarter of the first: what others do with the whole takes minutes, and more memory than there is."""
    path = make_file(tmp_path_factory.mktemp("bench") / "small.h5", 1024, GIGABYTES / 4)
    yield path
    path.unlink()


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
    import h5py, os
    from concurrent.futures import ThreadPoolExecutor
    from threadpoolctl import threadpool_limits
    with h5py.File(path) as f:
        step = max(1, 16 // f["data"].chunks[0]) * f["data"].chunks[0]
        block = f["data"][:step].reshape(-1, f["data"].shape[-1])
        n_blocks = f["data"].shape[0] / step
    def read():
        with h5py.File(path) as f:
            for i in range(0, f["data"].shape[0], step):
                f["data"][i:i+step]
    def forget():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    forget()
    cold, _ = timed(read)
    warm, warm_cpu = timed(read)
    def product(_):
        total = 0
        for i in range(0, len(block), 2048):
            x = block[i:i+2048].astype(np.float64)
            total = total + x.T @ x
        return total[0, 0]
    def products():
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
            list(pool.map(product, range(round(n_blocks))))
    wall, cpu = timed(products)
    report(cold_read=cold, read=warm, read_cpu=warm_cpu, products=wall, products_cpu=cpu)
"""

# What others do for the same eight components and singular values, of the same warm file.
OTHERS = {
    "IncrementalPCA": """
    import h5py
    from sklearn.decomposition import IncrementalPCA
    model = IncrementalPCA(8)
    def work():
        with h5py.File(path) as f:
            d = f["data"]
            for i in range(0, d.shape[0], 10):
                model.partial_fit(d[i:i+10].reshape(-1, d.shape[-1]))
    wall, cpu = timed(work)
    report(wall=wall, cpu=cpu)
    """,
    "dask.array.linalg.svd": """
    import dask, dask.array as dsa, h5py
    with h5py.File(path) as f:
        d = f["data"]
        x = dsa.from_array(d, chunks=(10, d.shape[1], d.shape[2]), lock=True).reshape(-1, d.shape[-1])
        u, s, v = dsa.linalg.svd(x)
        wall, cpu = timed(lambda: dask.compute(s, v[:8]))
    report(wall=wall, cpu=cpu)
    """,
    "xeofs": """
    import xeofs
    data = xr.open_dataset(path, engine="h5netcdf", chunks={"y": 10})["data"]
    wall, cpu = timed(lambda: xeofs.single.EOF(n_modes=8).fit(data, dim=("y", "x")))
    report(wall=wall, cpu=cpu)
    """,
}


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
@pytest.mark.parametrize("chunks", ["None", '{"y": 48, "x": 500}'])
@pytest.mark.parametrize("maps", [False, True])
def test_memory_of_files_of_any_size(benchmark, cube, maps, chunks):
    figures = benchmark.pedantic(
        run,
        (SVD, cube),
        {"method": "svd", "maps": maps, "chunks": chunks, "address_space": 2 << 30},
        rounds=1,
        iterations=1,
    )
    kept = 8 * 8 * cube.stat().st_size / 4 / (1024 if cube.stat().st_size < 1.5e9 * GIGABYTES else 256) / 1e6
    print(f"maps={maps} chunks={chunks}", figures)
    assert figures["rss_mb"] < 400 + (2 * kept if maps else 0)  # maps are in memory at the end, once as blocks


@pytest.mark.slow
def test_no_slower_than_reading_or_multiplying(benchmark, cube):
    floor = run(FLOOR, cube, address_space=2 << 30)
    figures = benchmark.pedantic(
        run,
        (SVD, cube),
        {"method": "svd", "maps": False, "chunks": "None", "address_space": 2 << 30},
        rounds=1,
        iterations=1,
    )
    benchmark.extra_info |= figures
    bound = max(floor["read"], floor["products"])
    print(f"svd {figures['wall']:.1f} s, bound {bound:.1f} s, ratio {figures['wall'] / bound:.2f}", floor, figures)
    assert figures["wall"] <= 1.3 * bound


@pytest.mark.slow
@pytest.mark.parametrize("other", list(OTHERS))
def test_several_times_faster_than_others(benchmark, small_cube, other):
    if other == "xeofs":
        pytest.importorskip("xeofs", reason="needs xpycro[bench]")
    ours = run(SVD, small_cube, method="svd", maps=False, chunks="None")
    theirs = benchmark.pedantic(run, (OTHERS[other], small_cube), rounds=1, iterations=1)
    print(
        f"{other}: {theirs['wall'] / ours['wall']:.1f} times the wall, {theirs['cpu'] / ours['cpu']:.1f} the CPU time"
    )
    print(ours, theirs)
    assert theirs["wall"] >= 5 * ours["wall"]
