"""The store against bare h5py and plain appending, as ratios within one run (``pytest --benchmark-only``)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from xpycro.io import layout, opening, rawarray, store
from xpycro.io.store import publish

MEGABYTES = int(os.environ.get("XPYCRO_BENCH_MB", "512"))


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def timed(function, *args, repeat: int = 3) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A big-endian block file as instruments write it."""
    shape = (MEGABYTES // 2, 256, 2048)
    path = tmp_path_factory.mktemp("bench") / "raw.bin"
    with open(path, "wb") as handle:
        row = np.random.default_rng(0).normal(size=shape[1:]).astype(">f4")
        for n in range(shape[0]):
            (row + np.float32(n)).astype(">f4").tofile(handle)
    return path, shape


@pytest.mark.parametrize("way", ["block file", "dask"])
def test_writing_against_bare_h5py(benchmark, source, tmp_path, way):
    """At least 0.7 of bare h5py writing the same chunks from a memory map, checksums included."""
    path, shape = source
    raw = rawarray.RawArray.contiguous(str(path), 0, ">f4", shape)
    ds = xr.Dataset({"a": xr.Variable(("y", "x", "energy"), rawarray.lazy(raw))})
    chunks = layout.chunk_shape(ds, ds.a.dims, shape, 4)

    def bare():
        memory = np.memmap(path, ">f4", "r", shape=shape)
        with h5py.File(tmp_path / "bare.h5", "w") as hdf5:
            dataset = hdf5.create_dataset("a", shape, "f4", chunks=chunks)
            for region in layout.regions(shape, layout.write_block(shape, chunks, 4)):
                dataset[region] = memory[region]
        flush(tmp_path / "bare.h5")

    def afresh():  # freeing what is replaced costs as much as writing it anew
        for name in ("bare.h5", "ours.h5"):
            (tmp_path / name).unlink(missing_ok=True)

    def ours():
        data = ds if way == "block file" else ds.chunk({"y": layout.write_block(shape, chunks, 4)[0]})
        store.save(data, tmp_path / "ours.h5")

    expected = timed(bare)
    benchmark.pedantic(ours, setup=afresh, rounds=3, iterations=1)
    benchmark.extra_info["share of bare h5py"] = expected / benchmark.stats.stats.min
    assert expected / benchmark.stats.stats.min >= 0.7


@pytest.mark.parametrize("megabytes", [1, 64])
@pytest.mark.parametrize("raw_megabytes", [1, 200])
def test_safety_costs_at_most_twice_a_plain_append(benchmark, tmp_path, megabytes, raw_megabytes):
    """save (staged, checksummed, flushed, published, opened again) against to_netcdf(mode="a"), fsync, open."""
    if raw_megabytes < 32 and megabytes > 32:
        pytest.skip("a result above the threshold goes beside any file")
    raw = xr.Dataset({"raw": (("y", "x"), np.random.default_rng(1).normal(size=(raw_megabytes * 125, 1000)))})
    store.save(raw, tmp_path / "raw.h5")
    raw.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    result = xr.Dataset({"a": (("v", "u"), np.random.default_rng(2).normal(size=(megabytes * 125, 1000)))})
    result.attrs["pycro_result"] = "fit"
    count = 0

    def plain():
        nonlocal count
        count += 1
        result.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf", mode="a", group=f"results/r{count}")
        flush(tmp_path / "plain.nc")
        xr.open_dataset(tmp_path / "plain.nc", engine="h5netcdf", group=f"results/r{count}").close()

    expected = timed(plain)
    benchmark.pedantic(lambda: store.save(result, tmp_path / "raw.h5", "r"), rounds=3, iterations=1)
    benchmark.extra_info["times a plain append"] = benchmark.stats.stats.min / expected
    assert benchmark.stats.stats.min / expected <= 2


@pytest.mark.parametrize("count, seconds", [(100, 1.0), (1000, 3.0)])
def test_the_tree_of_many_sidecars(benchmark, tmp_path, monkeypatch, count, seconds):
    monkeypatch.setattr(publish, "SMALL_BYTES", 0)
    path = tmp_path / "raw.h5"
    store.save(xr.Dataset({"raw": (("y", "x"), np.zeros((50, 50)))}), path)
    result = xr.Dataset({"a": (("v", "u"), np.zeros((50, 50)))}, attrs={"pycro_result": "fit"})
    for _ in range(count):
        store.save(result, path, "r")
    benchmark.pedantic(lambda: opening.open_tree(path), rounds=2, iterations=1)
    assert benchmark.stats.stats.min < seconds
