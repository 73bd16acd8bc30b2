"""Surfaces that the simulators share: smooth random fields, domains, a raster of positions. NumPy only."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.schema import coordinate

__all__ = ["axes", "domains", "smooth_field"]


def smooth_field(shape: tuple[int, int], correlation: float, rng: np.random.Generator) -> np.ndarray:
    """A periodic Gaussian random field of zero mean and unit variance.

    Parameters
    ----------
    shape : (int, int)
    correlation : float
        Correlation length in pixels.
    rng : numpy.random.Generator
    """
    ky = np.fft.fftfreq(shape[0])[:, None]
    kx = np.fft.rfftfreq(shape[1])[None, :]
    envelope = np.exp(-2 * (np.pi * correlation) ** 2 * (ky**2 + kx**2))
    noise = np.fft.rfft2(rng.standard_normal(shape))
    field = np.fft.irfft2(noise * envelope, s=shape)
    spread = field.std()
    return (field - field.mean()) / spread if spread > 0 else np.zeros(shape)


def domains(shape: tuple[int, int], correlation: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two-valued domains and a wall profile.

    Returns
    -------
    sign : ndarray of int, shape `shape`
        +1 or -1, in about equal parts.
    wall : ndarray of float, shape `shape`
        1 inside a domain, falling towards 0 within about a pixel of a wall.
    """
    field = smooth_field(shape, correlation, rng)
    field -= np.median(field)
    sign = np.where(field >= 0, 1, -1)
    gradient = np.hypot(*np.gradient(field)) if min(shape) > 1 else np.ones(shape)
    distance = np.abs(field) / np.maximum(gradient, 1e-12)  # in pixels, to first order
    return sign, np.tanh(distance)


def axes(shape: tuple[int, int], scan_size: tuple[float, float]) -> dict[str, xr.Variable]:
    """Coordinates y, x of a raster of `shape` over `scan_size` (height, width), m; 0 is the first pixel's centre."""
    return {
        dim: coordinate(dim, np.arange(n) * (size / n))
        for dim, n, size in zip(("y", "x"), shape, scan_size, strict=True)
    }
