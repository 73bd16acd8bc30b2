"""What stands behind a live explorer: planes in one read, dear ones as means of what is read at once; against NumPy."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from tests.conftest import raise_if_dask_computes
from xpycro.viz import parts, planes
from xpycro.viz.costs import coarse
from xpycro.viz.live import Reader

RIPPLE = (
    "width\t{x}\nheight\t{y}\ndepth\t{energy}\noffset\t0\ndata-length\t4\ndata-type\tfloat\nbyte-order\tlittle-endian\n"
)
OUTLINE = np.array([(7.5, 5.5), (51.5, 5.5), (51.5, 33.5), (7.5, 33.5)])


def counts(**sizes: int) -> xr.DataArray:
    """Values that all differ, one pixel without any."""
    values = np.random.default_rng(0).normal(5, 1, tuple(sizes.values())).astype("f4")
    values[1, 2] = np.nan
    coords = {d: (d, np.arange(n, dtype=float), {"units": "eV" if d == "energy" else "m"}) for d, n in sizes.items()}
    return xr.DataArray(values, coords=coords, dims=tuple(sizes), name="counts", attrs={"units": "1"})


@pytest.mark.parametrize("order", [("y", "x", "energy"), ("energy", "y", "x")])
def test_what_lies_in_a_store_is_read_past_dask(tmp_path, order):
    da = counts(y=12, x=15, energy=9).transpose(*order)
    kept = xp.save(da, tmp_path / "a.h5", chunking={"y": 5, "x": 5, "energy": 4})["counts"]
    assert kept.chunks is not None
    with raise_if_dask_computes(0):
        reader = Reader(kept, parts.resolve(kept))
        np.testing.assert_array_equal(reader.plane(4, 4, (), (1, 1)), da.isel(energy=4).transpose("y", "x"))
        np.testing.assert_array_equal(reader.spectrum(17, ()), da.isel(y=1, x=2).values)
    changed = Reader(kept * 2, parts.resolve(kept))  # what dask has to compute is left to it
    np.testing.assert_array_equal(changed.plane(4, 4, (), (1, 1)), 2 * da.isel(energy=4).transpose("y", "x"))


def test_dear_maps_and_regions_are_means_of_the_blocks_that_are_read(tmp_path, monkeypatch, bytes_read):
    sizes, chunk = {"y": 40, "x": 60, "energy": 64}, {"y": 8, "x": 10, "energy": 16}
    da = counts(**sizes)
    kept = xp.save(da, tmp_path / "a.h5", chunking=chunk, compression="none")["counts"]
    monkeypatch.setattr(planes, "COSTLY", 60_000)  # of 150 kB a plane
    reader = Reader(kept, parts.resolve(kept))
    steps, dear = reader.steps(7, 7, (), False)
    assert (steps, dear, reader.sampled(steps)) == ((16, 20), 153_600, "one of 2 × 2 blocks of 8 × 10 pixels")
    counter = bytes_read()
    found = reader.plane(7, 7, (), steps)
    assert counter.total < 60_000 + 200_000  # and the file's index, which is read at each of the nine openings
    corners = [range(0, sizes[d], n) for d, n in zip("yx", steps, strict=True)]
    means = [np.nanmean(da[y : y + 8, x : x + 10, 7]) for y, x in itertools.product(*corners)]
    np.testing.assert_allclose(found.ravel(), means, rtol=1e-6)
    band = [np.nanmean(da[y : y + 8, x : x + 10, 7:12]) for y, x in itertools.product(*corners)]
    np.testing.assert_allclose(reader.plane(7, 11, (), steps).ravel(), band, rtol=1e-6)

    thin, dear = reader.region_steps(OUTLINE, (), False)
    assert thin == (28, 30) and dear
    rows, columns = np.r_[16:24], np.r_[8:10, 30:40]  # from the block of the file in the middle
    spectrum = np.nanmean(da.values[np.ix_(rows, columns)], axis=(0, 1))
    np.testing.assert_allclose(reader.region(OUTLINE, (), thin), spectrum, rtol=1e-6)
    whole = reader.region(OUTLINE, (), (1, 1))
    np.testing.assert_allclose(whole, np.nanmean(da[6:34, 8:52], axis=(0, 1)), rtol=1e-6)


@pytest.mark.parametrize("order", ["vector", "image"])
def test_a_file_without_chunks_is_dear_only_where_its_values_lie_apart(tmp_path, monkeypatch, bytes_read, order):
    """A map of images one after the other is one of them; of spectra it is a value in each."""
    da = counts(y=24, x=32, energy=4096)
    Path(tmp_path / "a.rpl").write_text("key\tvalue\n" + RIPPLE.format(**da.sizes) + f"record-by\t{order}\n")
    stored = da if order == "vector" else da.transpose("energy", "y", "x")
    stored.values.astype("<f4").tofile(tmp_path / "a.raw")
    opened = next(iter(xp.open(tmp_path / "a.rpl").data_vars.values()))
    monkeypatch.setattr(planes, "COSTLY", 2 << 20)
    roles = parts.resolve(opened, ("y", "x"), "energy" if "energy" in opened.dims else str(opened.dims[-1]))
    reader = Reader(opened, roles)
    steps, dear = reader.steps(5, 5, (), False)
    counter = bytes_read()
    upright = da[::-1]  # the file's first row is the highest
    np.testing.assert_array_equal(reader.plane(5, 5, (), steps), upright[:: steps[0], :: steps[1], 5])
    if order == "image":
        assert (steps, dear) == ((1, 1), 0)
        assert counter.total < 24 * 32 * 4 + 1e5
    else:
        assert steps == (3, 2) and dear == 24 * 32 * 16384
        assert counter.total < 1e6


def test_a_sample_is_about_as_fine_both_ways():
    import dask.array

    da = xr.DataArray(dask.array.zeros((900, 1000, 4096), chunks=(1, 10, 512), dtype="f4"), dims=("y", "x", "energy"))
    down, across = coarse(da, ("y", "x"), {"energy": 0})
    assert across % 10 == 0 and 0.5 <= down / across <= 2
