"""A Raman map: two lines on a fluorescent background, cosmic rays, photon noise, with its truth.

May import the floors below; everything is drawn at once, in memory.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.simulate.surface import axes, smooth_field

__all__ = ["raman_map"]


@recorded("simulate.raman_map")
def raman_map(
    shape: tuple[int, int] = (24, 24),
    n_channels: int = 400,
    *,
    counts: float = 2000.0,
    cosmic_rays: float = 0.05,
    scan_size: tuple[float, float] = (2e-5, 2e-5),
    seed: int = 0,
) -> xr.Dataset:
    """A map of Lorentzian lines at 1350 and 1590 1/cm (as of carbon) over a sloping fluorescence.

    Strain moves the upper line, disorder changes the ratio of both.

    Parameters
    ----------
    shape : (int, int)
        Pixels along y and x.
    n_channels : int
    counts : float
        Height of the upper line, on average; noise is that of counting.
    cosmic_rays : float
        Spikes in each spectrum, on average; one or two channels wide.
    scan_size : (float, float)
        Height and width of the frame, m.
    seed : int

    Returns
    -------
    Dataset
        ``counts(y, x, wavenumber)``; the truth ``true_center``, ``true_gamma`` (1/cm), ``true_amplitude``,
        ``true_ratio`` (lower line over upper) over (y, x), ``true_background(y, x, wavenumber)`` and where the
        ``true_spikes(y, x, wavenumber)`` are.

    Notes
    -----
    *Laziness*: in memory.

    Examples
    --------
    >>> raman_map((2, 3), 50).counts.dims
    ('y', 'x', 'wavenumber')
    """
    if min(shape) < 1 or n_channels < 10 or counts <= 0 or cosmic_rays < 0:
        raise ValueError(f"shape={shape}, n_channels={n_channels}: needs pixels, ten channels and positive counts")
    rng = np.random.default_rng([seed, 1])
    correlation = max(shape) / 8
    shift = np.linspace(1000.0, 1900.0, n_channels)
    center = 1590.0 + 4.0 * smooth_field(shape, correlation, rng).clip(-2, 2)
    gamma = 14.0 + 1.5 * smooth_field(shape, correlation, rng).clip(-2, 2)
    ratio = (0.6 + 0.2 * smooth_field(shape, correlation, rng)).clip(0.1, 1.2)
    amplitude = counts * (1 + 0.2 * smooth_field(shape, correlation, rng)).clip(0.4, 1.6)

    def line(at: np.ndarray, half_width: np.ndarray) -> np.ndarray:
        u = (shift - at[..., None]) / half_width[..., None]
        return 1 / (1 + u * u)

    glow = counts * (1.5 + 0.3 * smooth_field(shape, correlation, rng))[..., None]
    background = glow * (0.4 + 0.8 * np.exp(-((shift - 2100.0) ** 2) / (2 * 600.0**2)))
    signal = amplitude[..., None] * (line(center, gamma) + ratio[..., None] * line(center - 240.0, 2.2 * gamma))
    measured = rng.poisson(signal + background).astype(np.float64)
    spikes = rng.random(measured.shape) < cosmic_rays / n_channels
    heights = counts * rng.uniform(2, 10, measured.shape)
    measured += np.where(spikes, heights, 0.0)
    wide = np.roll(spikes, 1, axis=-1) & (rng.random(measured.shape) < 0.3)
    wide[..., 0] = False
    measured += np.where(wide, 0.4 * np.roll(heights, 1, axis=-1), 0.0)

    over = ("y", "x")
    full = (*over, "wavenumber")
    return xr.Dataset(
        {
            "counts": (full, measured.astype("f4"), {"units": "counts", "long_name": "Counts"}),
            "true_center": (over, center, {"units": "1/cm", "long_name": "True centre of the upper line"}),
            "true_gamma": (over, gamma, {"units": "1/cm", "long_name": "True half width of the upper line"}),
            "true_amplitude": (over, amplitude, {"units": "counts", "long_name": "True height of the upper line"}),
            "true_ratio": (over, ratio, {"units": "1", "long_name": "True ratio of the lines"}),
            "true_background": (full, background, {"units": "counts", "long_name": "True background"}),
            "true_spikes": (full, spikes | wide, {"units": "1", "long_name": "True cosmic rays"}),
        },
        coords={
            **axes(shape, scan_size),
            "wavenumber": coordinate("wavenumber", shift, long_name="Raman shift"),
        },
        attrs={
            "title": "Simulated Raman map", "modality": "Raman spectroscopy", "instrument": "simulator",
            "data_type": "spectral image", "laser_wavelength": 532e-9,
        },
    )  # fmt: skip
