"""The X-ray map against Bragg's law and counting statistics; its NeXus file read back."""

from __future__ import annotations

import numpy as np
import pytest

import xpycro as xp
from xpycro import schema

STEP = 3.42e-3  # degree of two theta in a pixel, by hand: 75e-6 cos(37 degree)^2 / 0.8


def test_the_peak_lies_where_braggs_law_has_it():
    """The photons' mean angle, with photons enough, of each pixel; the wavelength of 10 keV and d by hand."""
    ds = xp.simulate.xray_map((3, 4), counts=3e5, background=0.0, strain=5e-4, decay=0.0)
    good = ~ds.pixel_mask
    frames = ds.counts.where(good, 0).astype(float)
    place = (frames * ds.two_theta).sum(("ky", "kx")) / frames.sum(("ky", "kx"))
    spacing = 1.9525 * (1 + ds.true_strain)
    bragg = np.degrees(2 * np.arcsin(1.2398419843 / (2 * spacing)))
    np.testing.assert_allclose(ds.true_two_theta, bragg, rtol=1e-9)
    # dead pixels take a part of the peak away: a hundredth of a pixel at this number of photons
    np.testing.assert_allclose(place, bragg, atol=0.05 * STEP)
    assert np.ptp(bragg.values) > 4 * STEP
    assert schema.problems(ds.drop_vars(["pixel_mask"])) == []


def test_photons_are_counted_and_the_beam_fades_in_the_order_of_the_scan():
    ds = xp.simulate.xray_map((8, 10), strain=0.0, tilt=0.0, background=2.0, decay=0.5)
    flux = (ds.monitor / 1e6).values
    assert flux[0, 0] > 0.9 and flux[7, 0] < 0.6  # eight lines: the last runs back
    assert flux[1, 9] > flux[1, 0]
    corner = ds.counts[..., :8, :8].where(~ds.pixel_mask[:8, :8]) / flux[..., None, None]
    assert float(corner.mean()) == pytest.approx(2.0, rel=0.02)
    spread = (ds.counts[..., :8, :8] - 2.0 * flux[..., None, None]).where(~ds.pixel_mask[:8, :8])
    assert float((spread**2).mean()) == pytest.approx(2.0 * flux.mean(), rel=0.05)
    photons = (ds.counts.where(~ds.pixel_mask, 0).sum(("ky", "kx")) / flux - 2.0 * int((~ds.pixel_mask).sum())).values
    assert photons.mean() == pytest.approx(float(ds.true_intensity.mean()), rel=0.02)


@pytest.mark.parametrize("external", [True, False])
def test_a_nexus_file_holds_the_same(tmp_path, external):
    ds = xp.simulate.xray_map((3, 4), (16, 20))
    xp.simulate.write_nexus_scan(ds, tmp_path / "a.nxs", external=external)
    assert (tmp_path / "a_frames.h5").exists() == external
    back = xp.open(tmp_path / "a.nxs")
    assert schema.problems(back) == []
    np.testing.assert_array_equal(back.eiger, ds.counts)
    np.testing.assert_array_equal(back.monitor, ds.monitor)
    np.testing.assert_array_equal(back.pixel_mask, ds.pixel_mask)
    for name in ("y", "x", "ky", "kx", "two_theta", "q"):
        np.testing.assert_allclose(back[name], ds[name], rtol=1e-9, atol=1e-15)
    with pytest.raises(FileExistsError):
        xp.simulate.write_nexus_scan(ds, tmp_path / "a.nxs", external=external)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="nothing to scan"):
        xp.simulate.xray_map((0, 4))
    with pytest.raises(ValueError, match="no reflection"):
        xp.simulate.xray_map(energy=3000.0)
    with pytest.raises(ValueError, match="monitor"):
        xp.simulate.write_nexus_scan(xp.simulate.xray_map((2, 2), (8, 8)).drop_vars("monitor"), "a.nxs")


def test_strain_of_each_pixel_is_known_as_well_as_its_error_says():
    """From the file's frames to strain: 68 % of the truths within one standard error, whatever the beam did."""
    ds = xp.simulate.xray_map((12, 16))
    profile = xp.diffraction.radial_profile(ds.counts, STEP / 2, radius="two_theta", exclude=ds.pixel_mask)
    beam = ds.monitor / ds.monitor.max()
    sigma = np.sqrt((profile * profile.ring_pixels).clip(1)) / profile.ring_pixels / beam
    fit = xp.fit((profile / beam).assign_attrs(profile.attrs), "gaussian + constant", dim="two_theta", sigma=sigma,
                 absolute_sigma=True)  # fmt: skip
    assert bool(fit.converged.all())
    found = xp.diffraction.strain(
        fit.gaussian_center, reference=ds.attrs["unstrained_two_theta"], stderr=fit.gaussian_center_stderr
    )
    inside = float((abs(found.strain - ds.true_strain) < found.strain_stderr).mean())
    assert 0.58 < inside < 0.78  # 68.3 % of 192 pixels, three standard deviations
    assert float(abs(found.strain - ds.true_strain).max()) < 1.5e-5
