"""Leveling, roughness and transform against planes, sines and sums that are known exactly."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import raise_if_dask_computes
from xpycro.errors import DimensionError
from xpycro.processing import image
from xpycro.schema import coordinate


def surface(values, size=(4e-6, 8e-6)):
    values = np.asarray(values)
    ny, nx = values.shape[-2:]
    lead = [f"lead_{i}" for i in range(values.ndim - 2)]
    return xr.DataArray(
        values,
        dims=(*lead, "y", "x"),
        coords={
            "y": coordinate("y", (np.arange(ny) + 0.5) * size[0] / ny),
            "x": coordinate("x", (np.arange(nx) + 0.5) * size[1] / nx),
        },
        attrs={"units": "m", "long_name": "Height"},
        name="height",
    )


def terraces(shape=(24, 40)):
    y, x = np.indices(shape)
    return np.where(x < 15, 0.0, 1e-9), 3e-10 * y - 2e-10 * x + 5e-9


def test_plane_is_removed_exactly_where_the_step_is_excluded():
    step, tilt = terraces()
    upper = surface(step) > 0
    found = image.level(surface(step + tilt), exclude=upper)
    np.testing.assert_allclose(found.values, step, atol=1e-20)
    assert found.attrs["units"] == "m" and found.dims == ("y", "x")


def test_line_offsets_are_removed_by_median_difference_and_the_step_kept():
    step, _ = terraces()
    offsets = np.random.default_rng(0).normal(0, 1e-9, (24, 1))
    found = image.level(surface(step + offsets), "median_difference")
    np.testing.assert_allclose(found.values, step - step.mean(), atol=1e-20)
    flat = image.level(surface(np.zeros((24, 40)) + offsets), "median")
    np.testing.assert_allclose(flat.values, 0, atol=1e-20)


def test_missing_lines_stay_missing():
    _, tilt = terraces()
    tilt = tilt.copy()
    tilt[5:9] = np.nan
    for method in ("plane", "median", "median_difference"):
        found = image.level(surface(tilt), method)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(tilt))
    np.testing.assert_allclose(image.level(surface(tilt)).values[np.isfinite(tilt)], 0, atol=1e-20)


def test_roughness_of_a_sine_is_what_the_integral_says():
    # whole periods of amplitude a: Sa = 2a/pi, Sq = a/sqrt 2, Ssk = 0, Sku = 1.5, Sdq = 2 pi a / (lambda sqrt 2)
    a, nx, periods, size = 1e-8, 4000, 4, 8e-6
    wave = a * np.sin(2 * np.pi * periods * np.arange(nx) / nx)
    found = image.roughness(surface(np.tile(wave, (3, 1))))
    expected = {
        "arithmetical_mean_height": 2 * a / np.pi,
        "root_mean_square_height": a / np.sqrt(2),
        "maximum_height": 2 * a,
        "kurtosis": 1.5,
        "root_mean_square_gradient": 2 * np.pi * a * periods / size / np.sqrt(2),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-5), name
    assert abs(float(found.skewness)) < 1e-9
    assert found.root_mean_square_gradient.attrs["units"] == "1"
    # small slopes: Sdr = mean(slope^2) / 2
    assert float(found.developed_area_ratio) == pytest.approx(float(found.root_mean_square_gradient) ** 2 / 2, rel=1e-3)


def test_roughness_of_the_plane_beside_a_grain():
    wave = 1e-9 * np.sin(2 * np.pi * np.arange(64) / 16)
    image_ = surface(np.tile(wave, (20, 1)))
    holed = image_.copy(deep=True)
    holed[:, 40:] = 1.0
    found = image.roughness(holed, exclude=holed > 0.5)
    # 2.5 periods are left: mean 2a / (5 pi) but for the sampling, so compare with the sums over what is left
    left = np.tile(wave[:40], (20, 1))
    assert float(found.root_mean_square_height) == pytest.approx(left.std(), rel=1e-12)
    assert float(found.maximum_height) == pytest.approx(np.ptp(left), rel=1e-12)


def test_area_ratio_needs_equal_units():
    current = surface(np.random.default_rng(1).normal(size=(8, 8))).assign_attrs(units="A")
    found = image.roughness(current)
    assert np.isnan(found.developed_area_ratio)
    assert found.root_mean_square_gradient.attrs["units"] == "A/m"


def test_fft_finds_a_lattice_on_a_non_square_frame():
    ny, nx, size = 32, 64, (4e-9, 8e-9)
    y, x = np.meshgrid((np.arange(ny) + 0.5) * size[0] / ny, (np.arange(nx) + 0.5) * size[1] / nx, indexing="ij")
    ky, kx = 3 / size[0], -5 / size[1]
    spectrum = abs(image.fft(surface(np.cos(2 * np.pi * (ky * y + kx * x)), size), window=None))
    peak = spectrum.where(spectrum.ky > 0, 0).argmax(("ky", "kx"))
    assert float(spectrum.ky[peak["ky"]]) == pytest.approx(ky)
    assert float(spectrum.kx[peak["kx"]]) == pytest.approx(kx)
    assert image.fft(surface(np.zeros((4, 4)))).attrs["units"] == "m^3"
    assert spectrum.ky.attrs["units"] == "1/m"
    assert (np.diff(spectrum.ky) > 0).all() and (np.diff(spectrum.kx) > 0).all()


def test_fft_obeys_parseval():
    da = surface(np.random.default_rng(2).normal(size=(12, 20)))
    cell = (4e-6 / 12) * (8e-6 / 20)
    found = image.fft(da, window=None)
    k_cell = 1 / 4e-6 / 8e-6
    assert float((abs(found) ** 2).sum() * k_cell) == pytest.approx(float(((da - da.mean()) ** 2).sum() * cell))


@given(chunks=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 3)))
def test_lazy_equals_eager_whatever_the_chunks(chunks):
    da = surface(np.random.default_rng(3).normal(size=(3, 6, 7)))
    with raise_if_dask_computes():
        lazy = da.chunk(dict(zip(da.dims, (chunks[2], chunks[0], chunks[1]), strict=True)))
        leveled, rough, transform = image.level(lazy), image.roughness(lazy), image.fft(lazy)
    np.testing.assert_array_equal(leveled.compute(), image.level(da))
    np.testing.assert_array_equal(transform.compute(), image.fft(da))
    for name, expected in image.roughness(da).items():
        np.testing.assert_array_equal(rough[name].compute(), expected)


def test_bad_input_is_named():
    with pytest.raises(DimensionError, match="two spatial dims"):
        image.level(xr.DataArray(np.zeros(4), dims="bias"))
    with pytest.raises(ValueError, match=r"plane.*median"):
        image.level(surface(np.zeros((3, 3))), "polynom")
    with pytest.raises(TypeError, match="complex"):
        image.roughness(surface(np.zeros((3, 3), complex)))
    with pytest.raises(ValueError, match="empty"):
        image.level(surface(np.zeros((0, 3))))
    uneven = surface(np.zeros((3, 3))).assign_coords(x=("x", [0.0, 1e-9, 3e-9], {"units": "m"}))
    with pytest.raises(ValueError, match="x is not evenly spaced"):
        image.fft(uneven)
    constant = image.roughness(surface(np.full((4, 4), 2.0)))
    assert float(constant.root_mean_square_height) == 0 and np.isnan(constant.skewness)


def test_coordinates_keep_their_units():
    for da in (surface(np.ones((4, 6))), surface(np.ones((4, 6))).chunk()):
        found = image.level(da)
        assert found.y.attrs == da.y.attrs and found.x.attrs["units"] == "m"
