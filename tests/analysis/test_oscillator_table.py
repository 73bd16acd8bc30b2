"""Bias and coverage of the oscillator fit on narrow and wide bands; ``-s`` prints the table."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from xpycro.simulate.band_excitation import sho_response

NAMES = ("amplitude", "resonance_frequency", "quality_factor", "phase")
COUNT = 600


@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize("band", [(300e3, 350e3), (200e3, 450e3)], ids=["narrow", "wide"])
@pytest.mark.parametrize("quality", [20, 100, 300, 1000])
def test_bias_and_coverage(quality, band, noise):
    """Noise is a share of the response at resonance."""
    rng = np.random.default_rng([quality, int(band[0]), int(100 * noise)])
    frequency = np.linspace(*band, 256)
    truth = {
        "amplitude": rng.uniform(0.8, 1.2, COUNT),
        "resonance_frequency": rng.uniform(318e3, 332e3, COUNT),
        "quality_factor": quality * rng.uniform(0.9, 1.1, COUNT),
        "phase": rng.uniform(-np.pi, np.pi, COUNT),
    }
    clean = sho_response(frequency, *truth.values())
    peak = (truth["amplitude"] * truth["quality_factor"])[:, None]
    quadratures = rng.standard_normal((2, *clean.shape))
    data = clean + noise * peak * (quadratures[0] + 1j * quadratures[1])
    coords = {"frequency": ("frequency", frequency, {"units": "Hz"})}
    found = xp.fit(xr.DataArray(data, coords, ("position", "frequency"), "response", {"units": "V"}), "sho")
    good = found.converged.values
    inside, bias = [], []
    for name in NAMES:
        error = found[name].values - truth[name]
        error = (error + np.pi) % (2 * np.pi) - np.pi if name == "phase" else error
        z = (error / found[f"{name}_stderr"].values)[good]
        inside.append(float(np.mean(np.abs(z) < 1)))
        bias.append(float(np.median(z)))
    print(
        f"\nQ {quality:4} {band[0] / 1e3:.0f}-{band[1] / 1e3:.0f} kHz noise {noise:.0%} converged {good.mean():.3f}  "
        + "  ".join(f"{n[:4]} {c:.3f} ({b:+.2f})" for n, c, b in zip(NAMES, inside, bias, strict=True))
    )
    bins = 325e3 / quality / np.diff(frequency)[0]  # in the width of the line
    if bins > 1 and bins / noise**2 > 50:  # else the line cannot be told from noise in every pixel
        assert good.mean() > 0.98
        assert np.mean(inside) == pytest.approx(0.683, abs=0.04)
        assert max(map(abs, bias)) < 0.3
