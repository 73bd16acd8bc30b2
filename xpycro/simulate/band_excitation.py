"""Band excitation on a ferroelectric: the complex response of a contact resonance at every pixel, with its truth.

May import the floors below; the parameters are drawn at once, the spectra row by row, so that they can stay lazy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.io.translators._be_steps import Steps, steps_of
from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.simulate.surface import axes, domains, smooth_field
from xpycro.simulate.switching import MAPS, static_response, switching_maps

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
    excitation: np.ndarray,
    frequency: np.ndarray,
    noise: float,
    seed: int,
) -> np.ndarray:
    """Noisy spectra of a block of whole rows; each row has its own stream, so that chunks do not change a number."""
    clean = excitation * sho_response(frequency, amplitude, resonance_frequency, quality_factor, phase)
    result = np.empty(clean.shape, np.complex64)
    for index in range(clean.shape[0]):
        rng = np.random.default_rng([seed, 1, int(np.ravel(row[index])[0])])
        quadratures = rng.standard_normal((*clean.shape[1:], 2))
        result[index] = clean[index] + noise * (quadratures[..., 0] + 1j * quadratures[..., 1])
    return result


def _step_rows(
    maps: np.ndarray,
    resonance_frequency: np.ndarray,
    quality_factor: np.ndarray,
    row: np.ndarray,
    *,
    bias: np.ndarray,
    fields: tuple[str, ...],
    cycles: int,
    drive: np.ndarray | None,
    phase: float,
    excitation: np.ndarray,
    frequency: np.ndarray,
    noise: float,
    seed: int,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Noisy spectra of every step of a block of whole rows."""
    ny, nx = resonance_frequency.shape
    result = np.empty((ny, nx, *shape, frequency.size), np.complex64)
    for index in range(ny):
        static = static_response(maps[index], bias, fields, cycles, drive=drive).reshape(nx, -1)
        gain = sho_response(
            frequency, np.ones(nx), resonance_frequency[index], quality_factor[index], np.full(nx, phase)
        )
        rng = np.random.default_rng([seed, 2, int(np.ravel(row[index])[0])])
        target = result[index].reshape(nx, -1, frequency.size)
        for x in range(nx):  # a pixel at a time, for the noise in double precision would be four times the result
            quadratures = rng.standard_normal((*target.shape[1:], 2))
            clean = static[x][:, None] * (gain[x] * excitation)
            target[x] = clean + noise * (quadratures[..., 0] + 1j * quadratures[..., 1])
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
    mode: str = "line",
    n_steps: int = 64,
    bias_amplitude: float = 10.0,
    n_cycles: int = 1,
    n_forc: int = 1,
    field: str = "out",
    phase_offset: float = 0.6,
    drive_ripple: float = 0.0,
    seed: int = 0,
    chunks: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """A band-excitation piezoresponse measurement with domains and known truth: a map, or a switching experiment.

    Resonance follows the topography (contact stiffness), the quality factor drifts slowly, the response falls at domain
    walls. A map (``mode="line"``) has one spectrum a pixel, whose phase turns by pi between domains. A switching
    experiment has one for each step of a bias sweep, along which each pixel runs through its own nine-parameter loop;
    loops of opposite domains have opposite sign.

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
        Median response at resonance (of a loop, half its height) over the standard deviation of the noise in one
        quadrature.
    scan_size : (float, float)
        Height and width of the frame, m.
    mode : {"line", "dc", "current", "ac"}
        One spectrum a pixel; a bias sweep; the same with the current beside it; a sweep of the drive, up twice, the
        second time with the chirp reversed.
    n_steps : int
        Steps of one full cycle, a multiple of four.
    bias_amplitude : float
        V; of the sweep, or the largest drive.
    n_cycles : int
    n_forc : int
        More than one: first-order reversal curves, the lowest bias going from a tenth of the amplitude to all of it.
    field : {"out", "in", "both"}
        Measured after each bias pulse, while it is on (where the electrostatic force adds a line), or both.
    phase_offset : float
        Of the instrument, rad.
    drive_ripple : float
        How unevenly the drive fills the band, as a share of it; the response is that to this drive.
    seed : int
    chunks : mapping, optional
        Rows in a block, ``{"y": 16}``: the spectra become lazy; the numbers stay the same.

    Returns
    -------
    Dataset
        ``response(y, x, [forc], [cycle], [direction], [field], [step], frequency)`` complex64 in V, dims of one element
        left out; ``height(y, x)`` in m; ``excitation(frequency)``; with ``mode="current"`` ``current`` in A. Coordinate
        ``bias(step)`` or ``bias(forc, step)``, in AC mode ``drive_amplitude(step)``. The truth over (y, x):
        ``true_resonance_frequency`` (Hz), ``true_quality_factor``, ``true_domain`` (0 or 1); of a map
        ``true_amplitude`` (V) and ``true_phase`` (rad); of a switching experiment the parameters of the loop out of
        field (``true_lower_level`` to ``true_width_3``, as `xpycro.loops.fit` finds them), ``true_polarity`` (1 or -1),
        ``true_electrostatic_slope`` (V/V) and ``true_surface_potential`` (V).

    Raises
    ------
    ValueError
        If an argument is impossible; the message names it.

    Notes
    -----
    *Laziness*: the spectra are lazy with `chunks`; the truth is always in memory. What is simulated is the formula of
    `sho_response` times the drive, with white Gaussian noise in both quadratures; no crosstalk, no relaxation.

    References
    ----------
    S. Jesse, H. N. Lee, S. V. Kalinin, Rev. Sci. Instrum. 77, 073702 (2006).

    Examples
    --------
    >>> ds = band_excitation((4, 6), 32)
    >>> ds.response.dims, ds.response.dtype.name
    (('y', 'x', 'frequency'), 'complex64')
    >>> ds = band_excitation((2, 3), 16, mode="dc", n_steps=8, n_cycles=2, field="both")
    >>> dict(ds.response.sizes)
    {'y': 2, 'x': 3, 'cycle': 2, 'field': 2, 'step': 8, 'frequency': 16}
    """
    if min(shape) < 1 or n_frequencies < 2:
        raise ValueError(f"shape={shape}, n_frequencies={n_frequencies}: at least one pixel and two frequencies")
    low, high = band
    if not 0 < low < high:
        raise ValueError(f"band={band}: needs 0 < lowest < highest, in Hz")
    if chunks is not None and set(chunks) - {"y"}:
        raise ValueError(f"chunks={dict(chunks)}: only rows, 'y', can be split")
    if mode not in ("line", "dc", "current", "ac"):
        raise ValueError(f"mode={mode!r} must be one of line, dc, current, ac")
    rng = np.random.default_rng([seed, 0])
    correlation = max(shape) / 10
    height = smooth_field(shape, correlation / 2, rng)
    sign, wall = domains(shape, correlation, rng)
    amplitude = 1e-4 * (0.15 + 0.85 * wall) * (1 + 0.1 * smooth_field(shape, correlation, rng).clip(-3, 3))
    centre, width = (low + high) / 2, high - low
    resonance = centre + 0.08 * width * height.clip(-3, 3)
    quality = quality_factor * (1 + 0.12 * smooth_field(shape, correlation, rng).clip(-3, 3))
    frequency = np.linspace(low, high, n_frequencies)
    excitation = 1 + drive_ripple * np.sin(np.linspace(0, 9 * np.pi, n_frequencies))
    truth = {
        "resonance_frequency": (resonance, "Hz"),
        "quality_factor": (quality, "1"),
        "domain": ((sign > 0).astype(np.int8), "1"),
    }
    common = {"frequency": frequency, "seed": seed}
    row = xr.DataArray(np.broadcast_to(np.arange(shape[0])[:, None], shape), dims=("y", "x"))
    steps = Steps()
    if mode == "line":
        phase = np.where(sign > 0, phase_offset, phase_offset - np.pi)
        truth = {"amplitude": (amplitude, "V"), **truth, "phase": (phase, "rad")}
        noise = float(np.median(amplitude * quality)) / signal_to_noise
        function: Any = _rows
        inputs = [xr.DataArray(m, dims=("y", "x")) for m in (amplitude, resonance, quality, phase)]
        core: list[list[str]] = [[]] * 4
        arguments: dict[str, Any] = {"excitation": excitation}
    else:
        fields = _checked_steps(mode, n_steps, n_cycles, n_forc, field, bias_amplitude)
        maps = switching_maps(shape, bias_amplitude, wall, sign, rng)
        truth |= {name: (values, _UNITS.get(name, "V")) for name, values in maps.items()}
        steps = _steps(mode, n_steps, n_cycles, n_forc, fields, bias_amplitude)
        noise = float(np.median(maps["height"] / 2 * quality)) / signal_to_noise
        function = _step_rows
        stacked = xr.DataArray(np.stack([maps[name] for name in MAPS], axis=-1), dims=("y", "x", "map"))
        inputs = [stacked, *(xr.DataArray(m, dims=("y", "x")) for m in (resonance, quality))]
        core = [["map"], [], []]
        drive = np.linspace(0, 1, n_steps // 2) if mode == "ac" else None
        bias = np.zeros((1, 1)) if mode == "ac" else np.atleast_2d(steps.coords["bias"].values)
        arguments = {"bias": bias, "fields": fields, "cycles": n_cycles, "drive": drive, "phase": phase_offset,
                     "excitation": excitation, "shape": steps.shape}  # fmt: skip
    if chunks is not None:
        rows = {"y": chunks["y"], "x": -1}
        inputs, row = [da.chunk({**rows, **dict.fromkeys(da.dims[2:], -1)}) for da in inputs], row.chunk(rows)
    sizes = {"frequency": n_frequencies, **dict(zip(steps.dims, steps.shape, strict=True))}
    response = chunked.apply(
        function, *inputs, row, dims=[*core, []],
        outputs={"response": chunked.Output(np.complex64, (*steps.dims, "frequency"), sizes,
                                            {"units": "V", "long_name": "Piezoresponse"})},
        kwargs={**common, **arguments, "noise": noise},
    )["response"]  # fmt: skip
    variables: dict[str, Any] = {"response": response.variable}
    variables["height"] = xr.Variable(("y", "x"), 2e-9 * height, {"units": "m", "long_name": "Height"})
    variables["excitation"] = xr.Variable(
        "frequency", excitation.astype(np.complex64), {"units": "V", "long_name": "Excitation spectrum"}
    )
    if mode == "current":
        conductance = 1e-10 * (1 + 0.3 * smooth_field(shape, correlation, rng).clip(-2.5, 2.5))
        truth["conductance"] = (conductance, "A/V")
        variables["current"] = _current(conductance, steps)
    for name, (values, units) in truth.items():
        label = f"True {name.replace('_', ' ')}"
        variables[f"true_{name}"] = xr.Variable(("y", "x"), values, {"units": units, "long_name": label})
    coords = {**axes(shape, scan_size), **steps.coords, "frequency": coordinate("frequency", frequency)}
    kind = {"data_type": "spectral image"} if mode == "line" else {"data_type": "BEPS", "vs_mode": _VS_MODES[mode]}
    return xr.Dataset(variables, coords).assign_attrs(
        title="Simulated band-excitation piezoresponse" if mode == "line" else "Simulated switching spectroscopy",
        modality="band excitation",
        instrument="simulator",
        **kind,
        noise_standard_deviation=noise,
        true_phase_offset=phase_offset,
    )


_UNITS = {"polarity": "1", "slope": "1", "electrostatic_slope": "1"}  # the others are in V, V/V being 1
_VS_MODES = {
    "dc": "DC modulation mode", "current": "current mode", "ac": "AC modulation mode with time reversal",
}  # fmt: skip


def _checked_steps(
    mode: str, n_steps: int, n_cycles: int, n_forc: int, field: str, bias_amplitude: float
) -> tuple[str, ...]:
    """The fields that are measured, all arguments being possible."""
    if n_steps < 4 or n_steps % 4:
        raise ValueError(f"n_steps={n_steps} must be a multiple of four: each quarter of a cycle has as many steps")
    if n_cycles < 1 or n_forc < 1:
        raise ValueError(f"n_cycles={n_cycles}, n_forc={n_forc}: both must be at least 1")
    if field not in ("in", "out", "both"):
        raise ValueError(f"field={field!r} must be in, out or both")
    if mode == "ac" and (n_cycles > 1 or n_forc > 1 or field != "out"):
        raise ValueError(
            f"mode='ac' sweeps the drive: n_cycles={n_cycles}, n_forc={n_forc}, field={field!r} do not apply"
        )
    if not bias_amplitude > 0:
        raise ValueError(f"bias_amplitude={bias_amplitude} must be positive, in V")
    return ("in", "out") if field == "both" else (field,)


def _steps(mode: str, n_steps: int, n_cycles: int, n_forc: int, fields: tuple[str, ...], amplitude: float) -> Steps:
    ends = ((amplitude, amplitude), (-0.1 * amplitude, -amplitude))
    steps = steps_of(
        n_steps, mode="ac" if mode == "ac" else "dc", amplitude=amplitude, cycles=n_cycles, n_forc=n_forc, forc=ends
    )
    if len(fields) < 2:
        return steps
    coords = {**steps.coords, "field": coordinate("field", np.array(fields))}
    return Steps((*steps.dims[:-1], "field", "step"), (*steps.shape[:-1], 2, steps.shape[-1]), coords)


def _current(conductance: np.ndarray, steps: Steps) -> xr.Variable:
    """Ohmic; the bias stays on in this mode, so that it flows in both fields."""
    bias = steps.coords["bias"].values
    shape = [n if d in ("forc", "step") else 1 for d, n in zip(steps.dims, steps.shape, strict=True)]
    wave = np.broadcast_to(bias.reshape(shape if bias.ndim == 2 else [*([1] * (len(shape) - 1)), -1]), steps.shape)
    values = conductance[(..., *[None] * len(steps.shape))] * wave
    return xr.Variable(("y", "x", *steps.dims), values.astype(np.float32), {"units": "A", "long_name": "Current"})
