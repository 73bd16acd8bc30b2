"""Windowed SVD against the SVD of the windows laid out, exact rebuilding, and noise taken from a lattice."""

import numpy as np
import pytest
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from tests.processing.test_image import surface
from xpycro.processing import windows

N = 1e-9


def picture(values):
    ny, nx = np.shape(values)[-2:]
    return surface(values, (ny * N, nx * N))


def lattice(n=96, noise=0.0, seed=0):
    y, x = np.indices((n, n))
    clean = np.cos(2 * np.pi * (x / 8 + y / 40)) + 0.7 * np.cos(2 * np.pi * (y / 9 - x / 50))
    return clean + np.random.default_rng(seed).normal(0, noise, clean.shape), clean


@pytest.mark.parametrize("step", [1, 3])
def test_it_is_the_svd_of_the_windows_laid_out(step):
    values = np.random.default_rng(1).normal(size=(20, 23))
    w, k = 6, 5
    found = windows.svd(picture(values), w * N, n_components=k, step=step)
    centred = values - values.mean()
    rows, columns = ({*range(0, n - w + 1, step), n - w} for n in values.shape)
    places = [(i, j) for i in sorted(rows) for j in sorted(columns)]
    matrix = np.array([centred[i : i + w, j : j + w].ravel() for i, j in places])
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(found.singular_values, s, rtol=1e-8)
    overlap = np.abs(found.components.values.reshape(k, -1) @ v[:k].T)
    np.testing.assert_allclose(overlap, np.eye(k), atol=1e-6)
    for number in range(1, k + 1):
        rebuilt = (u[:, :number] * s[:number]) @ v[:number]
        total, cover = np.zeros_like(values), np.zeros_like(values)
        for row, (i, j) in zip(rebuilt, places, strict=True):
            total[i : i + w, j : j + w] += row.reshape(w, w)
            cover[i : i + w, j : j + w] += 1
        np.testing.assert_allclose(found.cleaned.sel(component=number), total / cover + values.mean(), atol=1e-9)


def test_all_components_give_the_image_back():
    values = np.random.default_rng(2).normal(size=(18, 21)) + 100
    np.testing.assert_allclose(windows.clean(picture(values), 16, 4 * N, step=2), values, atol=1e-10)


def test_a_lattice_is_cleaned():
    noisy, clean = lattice(noise=1.0)
    da = picture(noisy)
    found = windows.clean(da, 4, step=1)
    assert np.sqrt(((found - clean) ** 2).mean()) < 0.2
    assert found.dims == da.dims and found.attrs["units"] == "m"
    xr.testing.assert_identical(found.x, da.x)
    assert float(windows.window_size(da)) == pytest.approx(2 * N / np.hypot(1 / 8, 1 / 40), rel=0.03)
    assert windows.window_size(da).attrs["units"] == "m"


def test_overlaps_are_averaged_not_overwritten():
    # a constant plus one component: overwriting would leave the seams of the last window
    noisy, _ = lattice(noise=0.5, seed=3)
    found = windows.clean(picture(noisy), 2, 12 * N, step=4)
    seams = np.abs(np.diff(found.values, axis=1))
    assert seams[:, 3::4].mean() < 1.15 * seams.mean()


def test_lazy_equals_eager(tmp_path):
    stack = surface(np.random.default_rng(4).normal(size=(3, 20, 24)), (20 * N, 24 * N)).rename(lead_0="frame")
    expected = windows.svd(stack, 5 * N, n_components=3)
    for lazy_input in (
        stack.chunk({"frame": 2, "y": 7, "x": 11}),
        as_indexed(stack.to_dataset(), tmp_path / "d.nc")["height"],
    ):
        with raise_if_dask_computes():
            lazy = windows.svd(lazy_input, 5 * N, n_components=3)
            sizes = windows.window_size(lazy_input)
        assert lazy.cleaned.chunks and sizes.chunks
        xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)
    assert expected.cleaned.dims == ("frame", "component", "y", "x")
    holed = stack.copy()
    holed[1, 3, 3] = np.nan
    partly = windows.svd(holed, 5 * N, n_components=3).cleaned
    assert np.isnan(partly[1]).all() and np.isfinite(partly[[0, 2]]).all()


def test_bad_input_is_named():
    da = picture(np.zeros((20, 20)))
    with pytest.raises(ValueError, match="2 up to the image"):
        windows.svd(da, 50 * N)
    with pytest.raises(ValueError, match="pixels must be square"):
        windows.svd(surface(np.zeros((20, 20)), (1e-6, 3e-6)), 1e-7)
    with pytest.raises(ValueError, match="as of window_size"):
        windows.svd(da.chunk())
    with pytest.raises(ValueError, match="n_components=99"):
        windows.svd(da, 4 * N, n_components=99)
