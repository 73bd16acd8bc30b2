"""Band excitation on a ferroelectric: the complex response of a contact resonance at every pixel, with its truth.

May import the floors below; the parameters are drawn at once, the spectra row by row, so that they can stay lazy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.simulate.surface import axes, domains, smooth_field

__all__ = ["band_excitation", "sho_response"]


def sho_response(
    frequency: np.ndarray,
    amplitude: np.ndarray,
    resonance_frequency: np.ndarray,
    quality_factor: np.ndarray,
    phase: np.ndarray,
) -> np.ndarray:
    """Response of a driven, damped simple harmonic oscillator.

    ``H(w) = A exp(i phi) w0^2 / (w^2 - i w w0 / Q - w0^2)``: at resonance ``i A Q exp(i phi)``, below it
    ``-A exp(i phi)``; `amplitude` is the static one.

    Parameters
    ----------
    frequency : ndarray, shape (n,)
        Hz.
    amplitude, resonance_frequency, quality_factor, phase : ndarray, shape (...)
        V, Hz, 1, rad.

    Returns
    -------
    ndarray of complex, shape (..., n)

    Examples
    --------
    >>> float(sho_response(np.array([1.0]), np.array(2.0), np.array(1.0), np.array(50.0), np.array(0.0))[0].imag)
    100.0
    """
    w0 = np.asarray(resonance_frequency)[..., None]
    gain = np.asarray(amplitude)[..., None] * np.exp(1j * np.asarray(phase)[..., None])
    damping = 1j * frequency * w0 / np.asarray(quality_factor)[..., None]
    return gain * w0**2 / (frequency**2 - damping - w0**2)


def _rows(
    amplitude: np.ndarray,
    resonance_frequency: np.ndarray,
    quality_factor: np.ndarray,
    phase: np.ndarray,
    row: np.ndarray,
    *,
    frequency: np.ndarray,
    noise: float,
    seed: int,
) -> np.ndarray:
    """Noisy spectra of a block of whole rows; each row has its own stream, so that chunks do not change a number."""
    clean = sho_response(frequency, amplitude, resonance_frequency, quality_factor, phase)
    result = np.empty(clean.shape, np.complex64)
    for index in range(clean.shape[0]):
        rng = np.random.default_rng([seed, 1, int(np.ravel(row[index])[0])])
        quadratures = rng.standard_normal((*clean.shape[1:], 2))
        result[index] = clean[index] + noise * (quadratures[..., 0] + 1j * quadratures[..., 1])
    return result


@recorded("simulate.band_excitation")
def band_excitation(
    shape: tuple[int, int] = (64, 64),
    n_frequencies: int = 128,
    *,
    band: tuple[float, float] = (3.0e5, 3.5e5),
    quality_factor: float = 150.0,
    signal_to_noise: float = 20.0,
    scan_size: tuple[float, float] = (2e-6, 2e-6),
    seed: int = 0,
    chunks: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """A band-excitation piezoresponse map with domains and known oscillator parameters.

    Resonance follows the topography (contact stiffness), the quality factor drifts slowly, amplitude falls at domain
    walls, and the phase turns by pi between domains.

    Parameters
    ----------
    shape : (int, int)
        Pixels along y and x.
    n_frequencies : int
        Bins of the band.
    band : (float, float)
        Lowest and highest frequency, Hz.
    quality_factor : float
        Median quality factor.
    signal_to_noise : float
        Median response at resonance over the standard deviation of the noise in one quadrature.
    scan_size : (float, float)
        Height and width of the frame, m.
    seed : int
    chunks : mapping, optional
        Rows in a block, ``{"y": 16}``: the spectra become lazy; the numbers stay the same.

    Returns
    -------
    Dataset
        ``response(y, x, frequency)`` complex64 in V; ``height(y, x)`` in m; the truth ``true_amplitude`` (V),
        ``true_resonance_frequency`` (Hz), ``true_quality_factor``, ``true_phase`` (rad), ``true_domain`` (0 or 1),
        each over (y, x).

    Notes
    -----
    *Laziness*: the spectra are lazy with `chunks`; the truth is always in memory. What is simulated is the formula of
    `sho_response` with white Gaussian noise in both quadratures; no drive spectrum, no crosstalk.

    Examples
    --------
    >>> ds = band_excitation((4, 6), 32)
    >>> ds.response.dims, ds.response.dtype.name
    (('y', 'x', 'frequency'), 'complex64')
    """
    if min(shape) < 1 or n_frequencies < 2:
        raise ValueError(f"shape={shape}, n_frequencies={n_frequencies}: at least one pixel and two frequencies")
    low, high = band
    if not 0 < low < high:
        raise ValueError(f"band={band}: needs 0 < lowest < highest, in Hz")
    rng = np.random.default_rng([seed, 0])
    correlation = max(shape) / 10
    height = smooth_field(shape, correlation / 2, rng)
    sign, wall = domains(shape, correlation, rng)
    amplitude = 1e-4 * (0.15 + 0.85 * wall) * (1 + 0.1 * smooth_field(shape, correlation, rng).clip(-3, 3))
    centre, width = (low + high) / 2, high - low
    resonance = centre + 0.08 * width * height.clip(-3, 3)
    quality = quality_factor * (1 + 0.12 * smooth_field(shape, correlation, rng).clip(-3, 3))
    phase = np.where(sign > 0, 0.6, 0.6 - np.pi)
    frequency = np.linspace(low, high, n_frequencies)
    noise = float(np.median(amplitude * quality)) / signal_to_noise

    coords = axes(shape, scan_size)
    truth = {
        "true_amplitude": (amplitude, "V", "True amplitude"),
        "true_resonance_frequency": (resonance, "Hz", "True resonance frequency"),
        "true_quality_factor": (quality, "1", "True quality factor"),
        "true_phase": (phase, "rad", "True phase"),
        "true_domain": ((sign > 0).astype(np.int8), "1", "True domain"),
    }
    ds = xr.Dataset(
        {
            name: xr.Variable(("y", "x"), values, {"units": units, "long_name": label})
            for name, (values, units, label) in truth.items()
        },
        coords=coords,
    )
    row = xr.DataArray(np.broadcast_to(np.arange(shape[0])[:, None], shape), dims=("y", "x"))
    parameters = [ds[name] for name in ("true_amplitude", "true_resonance_frequency", "true_quality_factor")]
    inputs = [da.drop_vars(["y", "x"]) for da in (*parameters, ds.true_phase)]
    if chunks is not None:
        unknown = set(chunks) - {"y"}
        if unknown:
            raise ValueError(f"chunks={dict(chunks)}: only rows, 'y', can be split")
        inputs = [da.chunk({"y": chunks["y"], "x": -1}) for da in inputs]
        row = row.chunk({"y": chunks["y"], "x": -1})
    label = {"units": "V", "long_name": "Piezoresponse"}
    response = chunked.apply(
        _rows,
        *inputs,
        row,
        dims=[[]] * 5,
        outputs={"response": chunked.Output(np.complex64, ("frequency",), {"frequency": n_frequencies}, label)},
        kwargs={"frequency": frequency, "noise": noise, "seed": seed},
    )["response"]
    ds = ds.assign_coords(frequency=coordinate("frequency", frequency))
    surface = xr.Variable(("y", "x"), 2e-9 * height, {"units": "m", "long_name": "Height"})
    ds = ds.assign(response=response.variable, height=surface)
    order = ["response", "height", *truth]
    return ds[order].assign_attrs(
        title="Simulated band-excitation piezoresponse",
        modality="band excitation",
        instrument="simulator",
        data_type="spectral image",
        noise_standard_deviation=noise,
    )
