"""Mass spectra: calibration, peaks and ion images against what they were made of."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from tests.conftest import raise_if_dask_computes
from tests.io.test_imzml import build, peaks, write

MASS = np.linspace(50, 150, 5001)
CENTRES, WIDTHS, HEIGHTS = (60.2, 77.05, 77.35, 120.4), 0.03, (5.0, 9.0, 4.0, 7.0)


def spectrum():
    return sum(h * np.exp(-0.5 * ((MASS - c) / WIDTHS) ** 2) for c, h in zip(CENTRES, HEIGHTS, strict=True))


def cube(shape=(3, 4), noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    values = spectrum() * rng.uniform(0.5, 1.5, (*shape, 1)) + noise * rng.standard_normal((*shape, MASS.size))
    return xr.DataArray(
        values,
        {"mass_to_charge": ("mass_to_charge", MASS)},
        ("y", "x", "mass_to_charge"),
        "intensity",
        {"units": "counts"},
    )


def test_masses_from_times_of_flight():
    time = np.linspace(2e-6, 30e-6, 1000)
    t0, k = 1.2e-6, 2.4e-6
    da = xr.DataArray(np.zeros((2, 1000)), {"time": ("time", time, {"units": "s"})}, ("x", "time"))
    ions = (15.0235, 27.0235, 86.0965, 104.107)
    found = xp.mass.calibrate(da, {t0 + k * np.sqrt(m): m for m in ions})
    assert found.dims == ("x", "mass_to_charge") and found.mass_to_charge.attrs["units"] == "1"
    np.testing.assert_allclose(found.mass_to_charge, ((time - t0) / k) ** 2, rtol=1e-9)
    assert found.mass_to_charge.attrs["t0"] == pytest.approx(t0) and found.mass_to_charge.attrs["deviation_ppm"] < 1e-3
    with pytest.raises(ValueError, match="two known ions"):
        xp.mass.calibrate(da, {1e-6: 12.0})
    with pytest.raises(ValueError, match="later"):
        xp.mass.calibrate(da, {1e-6: 12.0, 2e-6: 1.0})


@pytest.mark.parametrize("chunks", [None, {"y": 1}, {"mass_to_charge": 700, "x": 2}])
def test_peaks_are_found_where_they_are(chunks):
    da = cube() if chunks is None else cube().chunk(chunks)
    table = xp.mass.peaks(da, signal_to_noise=8)
    np.testing.assert_allclose(table.mass_to_charge, CENTRES, atol=2e-3)
    np.testing.assert_allclose(table.width, 2.3548 * WIDTHS, rtol=0.1)
    assert table.height.attrs["units"] == "counts"
    assert (table.low < table.mass_to_charge).all() and (table.mass_to_charge < table.high).all()
    assert xp.mass.peaks(da, n_peaks=2).sizes["peak"] == 2
    with pytest.raises(ValueError, match="no peak"):
        xp.mass.peaks(da * 0)


@pytest.mark.parametrize("lazy", [False, True])
def test_ion_images_hold_the_area_of_each_peak(lazy):
    da = cube(noise=0)
    data = da.chunk({"y": 1, "mass_to_charge": 1000}) if lazy else da
    with raise_if_dask_computes():
        images = data.pycro.mass.ion_images(CENTRES, 0.13)
    assert images.dims == ("y", "x", "ion") and images.attrs["units"] == "counts"
    share = (
        da.isel(mass_to_charge=int(np.argmin(abs(MASS - CENTRES[3])))) / spectrum()[np.argmin(abs(MASS - CENTRES[3]))]
    )
    areas = np.array(HEIGHTS) * WIDTHS * np.sqrt(2 * np.pi) / (MASS[1] - MASS[0])
    np.testing.assert_allclose(images, share.values[..., None] * areas, rtol=1e-3)
    table = xp.mass.peaks(da)
    by_window = xp.mass.ion_images(data, table)
    np.testing.assert_allclose(by_window.mass_to_charge, CENTRES, atol=2e-3)
    np.testing.assert_allclose(by_window, images, rtol=0.06)
    with pytest.raises(ValueError, match="no channel between"):
        xp.mass.ion_images(da, [500.0])


def test_ion_images_of_a_file_read_their_windows_only(tmp_path, bytes_read):
    count, pixels = 20_000, 20
    spectra = [peaks(n, count) for n in range(pixels)]
    path = write(tmp_path, *build(spectra, [(1 + n % 5, 1 + n // 5) for n in range(pixels)]))
    ds = xp.open(path, mass_axis="50 ppm", chunks=None)
    images = xp.mass.ion_images(ds, [300.0, 600.0], "500 ppm")
    counter = bytes_read()
    values = images.values
    assert counter.total < 0.2 * pixels * count * 12
    axis = ds.mass_to_charge.values
    middle = (axis[1:] + axis[:-1]) / 2
    for ion, mass in enumerate((300.0, 600.0)):
        first, last = np.searchsorted(axis, [mass * (1 - 5e-4), mass * (1 + 5e-4)])
        low, high = (
            middle[first - 1],
            middle[last - 1],
        )  # the channels whose centres lie in the window, from edge to edge
        for n, (masses, intensities) in enumerate(spectra):
            inside = (masses >= low) & (masses < high)
            assert values[3 - n // 5, n % 5, ion] == pytest.approx(intensities[inside].sum())


def test_ions_unmix_into_their_species():
    rng = np.random.default_rng(1)
    abundances = rng.dirichlet([0.5] * 3, (12, 10))
    spectra = rng.gamma(1.0, 40.0, (3, 15))
    counts = rng.poisson(abundances @ spectra).astype(float)
    images = xr.DataArray(counts, dims=("y", "x", "ion"), name="intensity", attrs={"units": "counts"})
    result = images.pycro.decompose.svd(dim="ion", n_components=6)
    assert result.sizes["component"] == 6
    unmixed = images.pycro.decompose.nmf(3, dim="ion")
    rebuilt = unmixed.pycro.reconstruct()
    assert float(((rebuilt - abundances @ spectra) ** 2).mean()) < counts.mean()
