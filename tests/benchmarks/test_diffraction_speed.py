"""Five reductions of a 4-D scan in one reading beside reading it, and beside LiberTEM: run with --benchmark-only -s.

128 x 128 x 256 x 256 uint16 (2 GiB) where XPYCRO_FULL_BENCHMARKS=1, else 32 x 32 positions; the file is warm. Wall and
processor seconds are both printed: on a busy machine only the second mean something.
"""

import os
import time

import numpy as np
import pytest
import xarray as xr

from xpycro.processing import diffraction as d

SIDE = 128 if os.environ.get("XPYCRO_FULL_BENCHMARKS") == "1" else 32
FIVE = [
    d.VirtualDetector(20, center=(128, 128), name="bright"),
    d.VirtualDetector(100, 40, (128, 128), name="dark"),
    d.CenterOfMass(center=(128, 128)),
    d.MeanPattern(),
    d.MaxPattern(),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("scan") / "scan.nc"
    block = rng.poisson(5, (SIDE, 256, 256)).astype(np.uint16)
    values = np.broadcast_to(block, (SIDE, SIDE, 256, 256))
    xr.Dataset({"counts": (("y", "x", "ky", "kx"), values)}).to_netcdf(path, engine="h5netcdf")
    yield path
    path.unlink()


def opened(path):
    return xr.open_dataset(path, engine="h5netcdf", cache=False).counts


def seconds(function, rounds=3):
    """Median wall and processor seconds."""
    times = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return np.median(times, axis=0)


def reduce(path):
    return d.run(opened(path), FIVE).compute()


@pytest.mark.slow
def test_five_reductions_cost_little_more_than_reading(benchmark, path):
    d.run(opened(path)[:1, :1], FIVE).compute()  # compiles
    rows = max(1, 6 * 128 // SIDE)
    read = seconds(lambda: opened(path).chunk(y=rows, x=-1, ky=-1, kx=-1).max().compute())  # every byte looked at once
    reduced = seconds(lambda: reduce(path))
    ratio = reduced / read
    benchmark.extra_info["ratio_to_read"] = list(ratio)
    print(f"\nfive reductions {reduced} s (wall, processor), read {read} s, ratio {ratio}")
    benchmark.pedantic(reduce, (path,), rounds=1)
    assert ratio[0] <= 1.5


@pytest.mark.slow
def test_five_reductions_cost_at_most_twice_what_libertem_takes(benchmark, path):
    api = pytest.importorskip("libertem.api", reason="LiberTEM is in the extra [bench]")
    from libertem.udf.base import UDF
    from libertem.udf.com import CoMUDF
    from libertem.udf.masks import ApplyMasksUDF
    from libertem.udf.sum import SumUDF

    class Largest(UDF):
        def get_result_buffers(self):
            return {"largest": self.buffer(kind="sig", dtype=self.meta.input_dtype)}

        def merge(self, dest, src):
            np.maximum(dest.largest, src.largest, out=dest.largest)

        def process_tile(self, tile):
            np.maximum(self.results.largest, tile.max(axis=0), out=self.results.largest)

    r = np.hypot(*(np.indices((256, 256)) - 128))
    bright, dark = (r <= 20).astype(np.float32), ((r >= 40) & (r <= 100)).astype(np.float32)
    context = api.Context.make_with("threads")
    dataset = context.load("hdf5", path=str(path), ds_path="counts")
    asked = [
        ApplyMasksUDF(mask_factories=[lambda: bright, lambda: dark]),
        CoMUDF.with_params(cy=128, cx=128, r=1000),
        SumUDF(),
        Largest(),
    ]
    images, centre, total, largest = context.run_udf(dataset=dataset, udf=asked)
    found = reduce(path)
    theirs_bright = images["intensity"].data[..., 0]
    np.testing.assert_allclose(found.bright, theirs_bright, rtol=1e-6)
    np.testing.assert_allclose(found.mean_pattern, total["intensity"].data / SIDE**2, rtol=1e-5)
    np.testing.assert_array_equal(found.max_pattern, largest["largest"].data)
    np.testing.assert_allclose(found.com_kx - 128, centre["field"].data[..., 1], atol=1e-3)
    theirs = seconds(lambda: context.run_udf(dataset=dataset, udf=asked))
    own = seconds(lambda: reduce(path))
    context.close()
    benchmark.extra_info["ratio_to_libertem"] = list(own / theirs)
    print(f"\nfive reductions {own} s (wall, processor), LiberTEM {theirs} s, ratio {own / theirs}")
    benchmark.pedantic(reduce, (path,), rounds=1)
    assert own[0] <= 2 * theirs[0]
