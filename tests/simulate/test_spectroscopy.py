"""Simulated Raman maps and mass spectrometry images hold their truth, and are read back from the files written."""

from __future__ import annotations

import numpy as np
import pytest

import xpycro as xp
from xpycro.schema import problems


def test_a_raman_map_is_its_truth_plus_photon_noise():
    ds = xp.simulate.raman_map((12, 10), 300, seed=3)
    assert problems(ds) == []
    at = ds.wavenumber.values
    upper = 1 / (1 + ((at - ds.true_center.values[..., None]) / ds.true_gamma.values[..., None]) ** 2)
    lower = 1 / (1 + ((at - ds.true_center.values[..., None] + 240) / (2.2 * ds.true_gamma.values[..., None])) ** 2)
    expected = ds.true_background.values + ds.true_amplitude.values[..., None] * (
        upper + ds.true_ratio.values[..., None] * lower
    )
    pulls = ((ds.counts.values - expected) / np.sqrt(expected))[~ds.true_spikes.values]
    assert abs(pulls.mean()) < 0.02 and pulls.std() == pytest.approx(1, abs=0.02)
    assert 0 < ds.true_spikes.sum() < 30
    assert xp.simulate.raman_map((2, 2), 20, seed=1).identical(xp.simulate.raman_map((2, 2), 20, seed=1))


def test_a_mass_image_is_its_truth_counted():
    ds = xp.simulate.mass_image((12, 10), 3, 800, counts=4000, seed=3)
    assert problems(ds) == []
    expected = np.tensordot(ds.true_abundance.values, ds.true_spectra.values, axes=(0, 0))
    np.testing.assert_allclose(ds.true_spectra.sum("mass_to_charge"), 1)
    np.testing.assert_allclose(ds.true_abundance.sum("component"), 4000)
    strong = expected > 20
    pulls = (ds.intensity.values[strong] - expected[strong]) / np.sqrt(expected[strong])
    assert abs(pulls.mean()) < 0.05 and pulls.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", ["continuous", "processed"])
def test_what_is_written_is_read(tmp_path, kind):
    ds = xp.simulate.mass_image((4, 3), 2, 300, seed=1)
    path = tmp_path / "a.imzML"
    xp.simulate.write_imzml(ds, path, kind)
    options = {} if kind == "continuous" else {"mass_axis": ds.mass_to_charge.values}
    again = xp.open(path, checksum=True, **options)
    np.testing.assert_array_equal(again.intensity, ds.intensity)
    np.testing.assert_allclose(again.mass_to_charge, ds.mass_to_charge)
    for dim in ("y", "x"):
        np.testing.assert_allclose(again[dim], ds[dim], atol=1e-15)
    with pytest.raises(FileExistsError):
        xp.simulate.write_imzml(ds, path, kind)
    with pytest.raises(ValueError, match="expected"):
        xp.simulate.write_imzml(ds.isel(y=0), tmp_path / "b.imzML")
