"""Fourier transforms of blocks: reciprocal axes and their inverse, windows, shifts, correlation peaks below one pixel.

NumPy kernels and coordinates that the processing modules share. May import numpy, scipy (inside functions), the base
floor and engine/axes; knows no dask.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis
from xpycro.schema import coordinate
from xpycro.units import combine_units

__all__ = [
    "find_shift_1d",
    "frequencies",
    "original_coordinate",
    "reciprocal_coordinate",
    "reciprocal_name",
    "reciprocal_units",
    "shift_1d",
    "taper",
]

_NAMES = {"time": "frequency", "x": "kx", "y": "ky", "z": "kz"}


def reciprocal_units(units: str) -> str:
    """Units of the reciprocal axis; Hz for seconds.

    Examples
    --------
    >>> reciprocal_units("s"), reciprocal_units("m"), reciprocal_units("Hz")
    ('Hz', '1/m', 's')
    """
    base = combine_units((units, -1))
    return {"1/s": "Hz", "1/Hz": "s"}.get(base, base)


def reciprocal_name(dim: str, taken: tuple[str, ...]) -> str:
    """The dim that takes the place of `dim` in a transform."""
    name = _NAMES.get(dim, "time" if dim == "frequency" else f"{dim}_frequency")
    return name if name not in taken else f"{dim}_frequency"


def frequencies(axis: Axis, *, one_sided: bool = False) -> np.ndarray:
    """Frequencies of the transform of an even axis, ascending, in cycles per unit of the axis."""
    step = abs(axis.step)
    return np.fft.rfftfreq(axis.size, step) if one_sided else np.fft.fftshift(np.fft.fftfreq(axis.size, step))


def reciprocal_coordinate(axis: Axis, name: str, *, one_sided: bool = False) -> xr.Variable:
    """The transform's coordinate; its attributes remember the axis it came from, so that the inverse restores it."""
    kind = {"kx": "reciprocal", "ky": "reciprocal", "kz": "reciprocal", "time": "temporal"}.get(name, "spectral")
    return coordinate(
        name,
        frequencies(axis, one_sided=one_sided),
        units=reciprocal_units(axis.units),
        dimension_type=kind,
        long_name=None if name in ("kx", "ky", "time", "frequency") else f"{axis.name} frequency",
        original_dim=axis.dim,
        original_name=axis.name,
        original_units=axis.units,
        original_start=float(axis.values[0]),
        original_step=float(axis.step),
        original_size=axis.size,
        one_sided=int(one_sided),
    )


def original_coordinate(coord: xr.DataArray) -> Axis:
    """The axis that a transform's coordinate came from; of any other even one, an axis from zero.

    Raises
    ------
    ValueError
        If the coordinate is uneven.
    """
    attrs = coord.attrs
    here = Axis(str(coord.dims[0]), str(coord.name), coord.values.astype(float), str(attrs.get("units", "1")))
    if "original_step" in attrs:
        # what is transformed back must be the whole spectrum: a cropped one has another length and step
        size, step = int(attrs["original_size"]), float(attrs["original_step"])
        length = size // 2 + 1 if attrs.get("one_sided") else size
        if length != coord.size:
            raise ValueError(
                f"{coord.name} has {coord.size} of the {length} values of the whole transform: mask with zeros, "
                "do not crop, before transforming back"
            )
        values = float(attrs["original_start"]) + step * np.arange(size)
        return Axis(str(attrs["original_dim"]), str(attrs["original_name"]), values, str(attrs["original_units"]))
    size = coord.size
    name = {"frequency": "time", "kx": "x", "ky": "y", "kz": "z", "time": "frequency"}.get(here.dim)
    name = name or here.dim.removesuffix("_frequency")
    name = name if name != here.dim else f"{here.dim}_frequency"
    values = np.arange(size) / (size * abs(here.step))
    return Axis(name, name, values, reciprocal_units(here.units))


def taper(window: str | tuple[str, float] | None, size: int) -> np.ndarray:
    """A window of mean square one, so that the power of noise is kept; ones for None."""
    if window is None or size < 3:
        return np.ones(size)
    from scipy.signal import get_window

    weights = get_window(window, size)
    return weights / np.sqrt(np.mean(weights**2))


def shift_1d(values: np.ndarray, shift: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Each row of `values` (..., n) moved by its own `shift` (...) in samples, cubic splines, `fill` from outside.

    A positive shift moves features to higher indices. A row of NaN stays NaN.
    """
    from scipy.ndimage import spline_filter1d

    kind = np.complex128 if values.dtype.kind == "c" else np.float64
    rows = values.reshape(-1, values.shape[-1]).astype(kind)
    n = rows.shape[-1]
    moves = np.broadcast_to(shift, values.shape[:-1]).reshape(-1)
    good = np.isfinite(moves) & np.isfinite(rows).all(axis=-1)
    out = np.full(rows.shape, fill, dtype=kind)
    if not good.any():
        return out.reshape(values.shape)
    moves = moves[good]
    coefficients = spline_filter1d(rows[good], axis=-1, mode="mirror") if n > 1 else rows[good]
    whole = np.floor(-moves).astype(np.int64)
    t = -moves - whole  # sample at i - shift = i + whole + t
    weights = ((1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6)
    place = np.arange(n) + whole[:, None]
    result = np.zeros(coefficients.shape, kind)
    period = max(2 * (n - 1), 1)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        index = np.abs(place + offset) % period
        index = np.minimum(index, period - index) if n > 1 else np.zeros_like(index)
        result += weight[:, None] * np.take_along_axis(coefficients, index, axis=-1)
    position = place + t[:, None]
    slack = 1e-9
    result[(position < -slack) | (position > n - 1 + slack)] = fill
    out[good] = result
    return out.reshape(values.shape)


def find_shift_1d(values: np.ndarray, target: np.ndarray, *, most: int) -> np.ndarray:
    """How many samples each row of `values` lies above `target`, within +-`most`.

    The best lag is that of the largest correlation coefficient over the samples that both have (a plain, zero-padded
    correlation is biased towards zero); Gauss-Newton steps on gain, offset and shift over splines refine it to about
    1e-4 of a sample. NaN where a row is not finite or constant.
    """
    shape, n = np.broadcast_shapes(values.shape, target.shape), values.shape[-1]
    rows, wanted = (np.broadcast_to(a, shape).reshape(-1, n).astype(float) for a in (values, target))
    rows, wanted = rows - rows.mean(axis=-1, keepdims=True), wanted - wanted.mean(axis=-1, keepdims=True)
    good = np.isfinite(rows).all(-1) & np.isfinite(wanted).all(-1) & rows.any(-1) & wanted.any(-1)
    out = np.full(len(rows), np.nan)
    if good.any():
        rows, wanted = rows[good], wanted[good]
        out[good] = _refined(rows, wanted, _best_lag(rows, wanted, most), most)
    return out.reshape(shape[:-1])


def _best_lag(a: np.ndarray, b: np.ndarray, most: int) -> np.ndarray:
    from scipy import fft as scipy_fft

    n = a.shape[-1]
    lags = np.arange(-most, most + 1)
    length = scipy_fft.next_fast_len(2 * n, real=True)
    product = scipy_fft.irfft(scipy_fft.rfft(a, length) * scipy_fft.rfft(b, length).conj(), length)[:, lags % length]
    low, high = np.maximum(lags, 0), np.minimum(n + lags, n)  # the part of a that meets b

    def sums(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=-1)], axis=-1)
        return total[:, end] - total[:, begin]

    count = high - low
    sum_a, sum_b = sums(a, low, high), sums(b, low - lags, high - lags)
    var_a = sums(a**2, low, high) - sum_a**2 / count
    var_b = sums(b**2, low - lags, high - lags) - sum_b**2 / count
    spread = np.sqrt(np.maximum(var_a, 1e-12 * np.sum(a**2, -1, keepdims=True)))
    spread *= np.sqrt(np.maximum(var_b, 1e-12 * np.sum(b**2, -1, keepdims=True)))
    return lags[((product - sum_a * sum_b / count) / spread).argmax(axis=-1)].astype(float)


def _refined(a: np.ndarray, b: np.ndarray, lag: np.ndarray, most: int) -> np.ndarray:
    shift, moving = lag.copy(), np.ones(lag.shape, bool)
    for _ in range(12):
        moved = shift_1d(a, -shift)
        used = np.isfinite(moved)
        moved = np.where(used, moved, 0.0)
        slope = np.where(used, np.gradient(shift_1d(a, -shift, 0.0), axis=-1), 0.0)
        slope[:, 1:-1] *= used[:, 2:] & used[:, :-2]  # differences across the border mean nothing
        design = np.stack([moved, used.astype(float), slope], axis=-1)
        normal = np.einsum("rni,rnj->rij", design, design)
        scale = np.sqrt(np.maximum(np.einsum("rii->ri", normal), 1e-300))
        normal = normal / scale[:, :, None] / scale[:, None, :] + 1e-12 * np.eye(3)
        moments = np.einsum("rni,rn->ri", design, np.where(used, b, 0.0)) / scale
        gain, _, move = np.moveaxis(np.linalg.solve(normal, moments[..., None])[..., 0] / scale, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.clip(np.nan_to_num(move / gain), -0.5, 0.5)
        step = np.where(moving, step, 0.0)  # a settled row stays, whatever the others of its block need
        shift = np.clip(shift + step, lag - 1, lag + 1)
        moving &= np.abs(step) > 1e-5
        if not moving.any():
            break
    return np.clip(shift, -most, most)
