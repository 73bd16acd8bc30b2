"""Scanning tunnelling spectroscopy: a grid of I(V) and dI/dV curves over a gap with a defect state, with its truth.

May import the floors below; everything is drawn at once, in memory.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.simulate.surface import axes, smooth_field

__all__ = ["tunnelling_grid"]


def _softplus(u: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, u)


@recorded("simulate.tunnelling_grid")
def tunnelling_grid(
    shape: tuple[int, int] = (32, 32),
    n_bias: int = 151,
    *,
    bias: tuple[float, float] = (-1.0, 1.0),
    gap: float = 0.8,
    signal_to_noise: float = 40.0,
    scan_size: tuple[float, float] = (2e-8, 2e-8),
    seed: int = 0,
) -> xr.Dataset:
    """A grid of tunnelling spectra on a semiconductor whose gap varies, with an in-gap state at a few defects.

    The density of states is a logistic edge on each side of the gap and a Gaussian state inside it; the current is its
    exact integral from zero bias, so ``didv`` without noise is the derivative of ``current`` without noise.

    Parameters
    ----------
    shape : (int, int)
        Pixels along y and x.
    n_bias : int
    bias : (float, float)
        Lowest and highest sample bias, V.
    gap : float
        Mean width of the gap, V.
    signal_to_noise : float
        Conductance above the gap over the standard deviation of its noise.
    scan_size : (float, float)
        Height and width of the frame, m.
    seed : int

    Returns
    -------
    Dataset
        ``current(y, x, bias)`` in A, ``didv(y, x, bias)`` in A/V, ``height(y, x)`` in m; the truth ``true_gap``,
        ``true_gap_center``, ``true_state_center`` (V), ``true_state_amplitude`` (A/V), each over (y, x).

    Notes
    -----
    *Laziness*: in memory.

    Examples
    --------
    >>> tunnelling_grid((3, 5), 21).current.sizes["bias"]
    21
    """
    low, high = bias
    if min(shape) < 1 or n_bias < 2 or not low < high:
        raise ValueError(f"shape={shape}, n_bias={n_bias}, bias={bias}: needs pixels, two biases and lowest < highest")
    from scipy.special import expit, ndtr

    rng = np.random.default_rng([seed, 0])
    correlation = max(shape) / 8
    width = gap * (1 + 0.12 * smooth_field(shape, correlation, rng).clip(-3, 3))
    center = 0.05 * gap * smooth_field(shape, correlation, rng).clip(-3, 3)
    conductance, edge, sigma = 1e-9, 0.03, 0.06  # A/V, V, V
    state_center = np.full(shape, 0.1 * gap)
    state = np.zeros(shape)
    rows, columns = np.indices(shape)
    for row, column in zip(rng.integers(0, shape[0], 4), rng.integers(0, shape[1], 4), strict=True):
        state += np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * (max(shape) / 16) ** 2))
    state = 0.6 * conductance * state.clip(0, 1)

    v = np.linspace(low, high, n_bias)
    upper, lower = (center + width / 2)[..., None], (center - width / 2)[..., None]
    in_gap, amplitude = state_center[..., None], state[..., None]
    didv = conductance * (expit((v - upper) / edge) + expit((lower - v) / edge))
    didv = didv + amplitude * np.exp(-((v - in_gap) ** 2) / (2 * sigma**2))

    def integral(at: np.ndarray | float) -> np.ndarray:
        edges = conductance * edge * (_softplus((at - upper) / edge) - _softplus((lower - at) / edge))
        return edges + amplitude * sigma * np.sqrt(2 * np.pi) * ndtr((at - in_gap) / sigma)

    current = integral(v) - integral(0.0)
    noise = conductance / signal_to_noise
    didv_noisy = didv + noise * rng.standard_normal(didv.shape)
    current_noisy = current + noise * (high - low) / n_bias * rng.standard_normal(current.shape)

    over = ("y", "x")
    ds = xr.Dataset(
        {
            "current": ((*over, "bias"), current_noisy.astype("f4"), {"units": "A", "long_name": "Current"}),
            "didv": ((*over, "bias"), didv_noisy.astype("f4"), {"units": "A/V", "long_name": "dI/dV"}),
            "height": (over, 5e-11 * smooth_field(shape, correlation, rng), {"units": "m", "long_name": "Height"}),
            "true_gap": (over, width, {"units": "V", "long_name": "True gap"}),
            "true_gap_center": (over, center, {"units": "V", "long_name": "True centre of the gap"}),
            "true_state_center": (over, state_center, {"units": "V", "long_name": "True centre of the state"}),
            "true_state_amplitude": (over, state, {"units": "A/V", "long_name": "True height of the state"}),
        },
        coords={**axes(shape, scan_size), "bias": coordinate("bias", v)},
        attrs={
            "title": "Simulated tunnelling spectroscopy grid",
            "modality": "scanning tunnelling spectroscopy",
            "instrument": "simulator",
            "data_type": "spectral image",
        },
    )
    return ds
