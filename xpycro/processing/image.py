"""Images: leveling, roughness, Fourier transform, over the two spatial dims; further dims broadcast.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.errors import DimensionError
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick, plane_dims
from xpycro.units import combine_units

__all__ = ["fft", "level", "roughness"]


def _plane_of(data: xr.DataArray) -> tuple[str, str]:
    dims = plane_dims(data)
    if dims is None:
        raise DimensionError(f"an image needs two spatial dims; this array has {list(map(str, data.dims))}")
    if 0 in (data.sizes[dims[0]], data.sizes[dims[1]]):
        raise ValueError(f"the image is empty: {dict(data.sizes)}")
    return dims


def _axis(data: xr.DataArray, dim: str) -> tuple[np.ndarray, str]:
    """Coordinate values and units of a dim; pixels where it has none."""
    if dim in data.coords:
        return data[dim].values.astype(float), str(data[dim].attrs.get("units", "1"))
    return np.arange(data.sizes[dim], dtype=float), "pixel"


def _spacing(data: xr.DataArray, dim: str) -> tuple[float, str]:
    values, units = _axis(data, dim)
    if values.size < 2:
        return 1.0, units
    steps = np.diff(values)
    if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        raise ValueError(
            f"{dim} is not evenly spaced (steps {steps.min():g} to {steps.max():g} {units}): resample it first"
        )
    return float(abs(steps.mean())), units


def _real(data: xr.DataArray) -> xr.DataArray:
    if data.dtype.kind == "c":
        raise TypeError(f"{data.name} is complex: pass its real part, magnitude or phase")
    if data.dtype.kind not in "fiub":
        raise TypeError(f"{data.name} has dtype {data.dtype}, not numbers")
    return data


def _left_out(values: np.ndarray, exclude: np.ndarray | None) -> np.ndarray:
    """What takes part in a fit, NaN elsewhere."""
    return np.where(exclude, np.nan, values) if exclude is not None else values


def _plane(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Least-squares plane subtracted from each (..., y, x) image; NaN where fewer than three points count."""
    ny, nx = values.shape[-2:]
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    design = np.stack([np.ones_like(y), y, x], axis=-1).reshape(-1, 3)
    flat = values.reshape(-1, ny * nx).astype(float)
    used = np.isfinite(_left_out(values, exclude).reshape(flat.shape).astype(float))
    result = np.full(flat.shape, np.nan)
    for index, (image, good) in enumerate(zip(flat, used, strict=True)):
        if good.any():
            solution = np.linalg.lstsq(design[good], image[good], rcond=None)[0]
            result[index] = image - design @ solution
    return result.reshape(values.shape)


def _median(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Each scan line's median subtracted."""
    counted = _left_out(values, exclude).astype(float)
    return values - _quiet_nanmedian(counted)


def _median_difference(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Lines shifted so that the median of the differences to the line before is zero; keeps large terraces."""
    counted = _left_out(values, exclude).astype(float)
    steps = _quiet_nanmedian(np.diff(counted, axis=-2))
    shifts = np.concatenate([np.zeros_like(steps[..., :1, :]), np.nancumsum(steps, axis=-2)], axis=-2)
    leveled = values - shifts
    return leveled - np.nanmean(leveled, axis=(-2, -1), keepdims=True) if np.isfinite(leveled).any() else leveled


def _quiet_nanmedian(values: np.ndarray) -> np.ndarray:
    """Median along the last axis, kept; NaN of a line without values, which NumPy would warn about."""
    missing = np.isnan(values).all(axis=-1, keepdims=True)
    median = np.nanmedian(np.where(missing, 0.0, values), axis=-1, keepdims=True)
    return np.where(missing, np.nan, median)


_LEVELING: dict[str, Callable[..., np.ndarray]] = {
    "plane": _plane,
    "median": _median,
    "median_difference": _median_difference,
}


@recorded("image.level")
def level(
    data: xr.DataArray | xr.Dataset,
    method: str = "plane",
    *,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """Take tilt or line offsets out of an image.

    Parameters
    ----------
    data : DataArray or Dataset
        Over two spatial dims; further dims (direction, frame) are leveled one image at a time.
    method : {"plane", "median", "median_difference"}
        Least-squares plane; the median of each scan line; or lines shifted so that the median difference to the line
        before is zero, which keeps terraces that a line median would flatten.
    variable : str, optional
        Which variable of a Dataset.
    exclude : DataArray of bool, optional
        What does not count in the fit (a particle, a step); it is leveled all the same.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input, float64.

    Raises
    ------
    DimensionError
        If there are not two spatial dims.
    ValueError, TypeError
        For an unknown method, complex or empty data.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. NaN stay NaN and do not count.

    Examples
    --------
    >>> tilted = xr.DataArray(np.add.outer([0.0, 1.0, 2.0], [0.0, 3.0, 6.0]), dims=("y", "x"))
    >>> bool(abs(level(tilted)).max() < 1e-12)
    True
    """
    if method not in _LEVELING:
        raise ValueError(f"method={method!r}: choose one of {list(_LEVELING)}")
    da = _real(pick(data, variable, plane_dims(data)) if isinstance(data, xr.Dataset) else data)
    plane = _plane_of(da)
    arrays, core = [da], [plane]
    if exclude is not None:
        arrays.append(exclude.astype(bool))
        core.append(plane)
    output = chunked.Output(float, plane, attrs=da.attrs)
    leveled = chunked.apply(_LEVELING[method], *arrays, dims=core, outputs={"leveled": output})["leveled"]
    return leveled.transpose(*da.dims).rename(da.name)


# Symbol of ISO 25178-2, name, power of the height's unit (None for a gradient or ratio).
_ROUGHNESS = {
    "arithmetical_mean_height": ("Sa", 1),
    "root_mean_square_height": ("Sq", 1),
    "skewness": ("Ssk", 0),
    "kurtosis": ("Sku", 0),
    "maximum_peak_height": ("Sp", 1),
    "maximum_pit_height": ("Sv", 1),
    "maximum_height": ("Sz", 1),
    "root_mean_square_gradient": ("Sdq", None),
    "developed_area_ratio": ("Sdr", 0),
}


def _roughness(values: np.ndarray, *, dy: float, dx: float) -> tuple[np.ndarray, ...]:
    z = values.reshape(-1, *values.shape[-2:]).astype(float)
    rows = np.full((len(_ROUGHNESS), len(z)), np.nan)
    for index, image in enumerate(z):
        good = image[np.isfinite(image)]
        if not good.size:
            continue
        centred = good - good.mean()
        sq = np.sqrt(np.mean(centred**2))
        moments = [np.mean(centred**3) / sq**3, np.mean(centred**4) / sq**4] if sq > 0 else [np.nan, np.nan]
        shape = [np.mean(np.abs(centred)), sq, *moments, centred.max(), -centred.min(), np.ptp(centred)]
        slopes = [np.nan, np.nan]
        if min(image.shape) > 1:
            steep = np.gradient(image, dy, axis=0) ** 2 + np.gradient(image, dx, axis=1) ** 2
            steep = steep[np.isfinite(steep)]
            if steep.size:
                slopes = [np.sqrt(steep.mean()), np.mean(np.sqrt(1 + steep)) - 1]
        rows[:, index] = [*shape, *slopes]
    return tuple(row.reshape(values.shape[:-2]) for row in rows)


@recorded("image.roughness")
def roughness(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.Dataset:
    """Areal height parameters of ISO 25178-2, of the image as it is (level it first).

    Parameters
    ----------
    data : DataArray or Dataset
        Heights over two spatial dims; further dims give one value each.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    Dataset
        ``arithmetical_mean_height`` (Sa), ``root_mean_square_height`` (Sq), ``maximum_peak_height`` (Sp),
        ``maximum_pit_height`` (Sv), ``maximum_height`` (Sz) in the units of the data, ``skewness`` (Ssk), ``kurtosis``
        (Sku, 3 for a normal distribution), ``developed_area_ratio`` (Sdr) dimensionless, and
        ``root_mean_square_gradient`` (Sdq) in the data's units per that of the axes. Over the remaining dims.

    Notes
    -----
    *Laziness*: lazy, one pass. Heights are taken from their mean; no filter is applied (no S- or L-filter), so the
    values hold for the pixel size and frame at hand. NaN are left out. Sdr is meaningful only where heights and axes
    have the same unit; else it is NaN, as is Sdq for uncalibrated axes of unequal units.

    References
    ----------
    ISO 25178-2, Geometrical product specifications: surface texture, areal.

    Examples
    --------
    >>> steps = xr.DataArray(np.tile([1.0, -1.0], (4, 4)), dims=("y", "x"), attrs={"units": "m"})
    >>> float(roughness(steps).root_mean_square_height)
    1.0
    """
    da = _real(pick(data, variable, plane_dims(data)) if isinstance(data, xr.Dataset) else data)
    plane = _plane_of(da)
    (dy, uy), (dx, ux) = _spacing(da, plane[0]), _spacing(da, plane[1])
    unit = str(da.attrs.get("units", "1"))
    outputs = {}
    for name, (symbol, power) in _ROUGHNESS.items():
        units = combine_units((unit, 1), (ux, -1)) if power is None else (unit if power else "1")
        label = f"{name.replace('_', ' ').capitalize()} {symbol}"
        outputs[name] = chunked.Output(float, attrs={"units": units, "long_name": label})
    found = chunked.apply(_roughness, da, dims=[plane], outputs=outputs, kwargs={"dy": dy, "dx": dx})
    result = xr.Dataset(found)
    if uy != ux:
        result["root_mean_square_gradient"] = result.root_mean_square_gradient * np.nan
    if not uy == ux == unit:
        result["developed_area_ratio"] = result.developed_area_ratio * np.nan
    return result


def _fft2(values: np.ndarray, *, weights: np.ndarray, cell: float, reverse: tuple[bool, bool]) -> np.ndarray:
    from scipy import fft as scipy_fft

    image = values.astype(np.complex128 if values.dtype.kind == "c" else float)
    image = image - image.mean(axis=(-2, -1), keepdims=True)
    flipped = image[..., :: -1 if reverse[0] else 1, :: -1 if reverse[1] else 1]
    return scipy_fft.fftshift(scipy_fft.fft2(flipped * weights), axes=(-2, -1)) * cell


@recorded("image.fft")
def fft(data: xr.DataArray | xr.Dataset, *, variable: str | None = None, window: str | None = "hann") -> xr.DataArray:
    """Two-dimensional Fourier transform of an image about its mean.

    ``F(k) = sum f(r) w(r) exp(-2 pi i k r) dA`` with k in cycles per unit length, the phase counted from the first
    pixel; the window is normalised to a mean square of one, so that Parseval's sum holds on average.

    Parameters
    ----------
    data : DataArray or Dataset
        Over two evenly spaced spatial dims; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.
    window : str or None
        Any window of `scipy.signal.get_window`, against streaks from the frame's edges; None for none.

    Returns
    -------
    DataArray
        Complex, dims ``ky, kx`` in place of the two, ascending, in 1/m (1/pixel where uncalibrated); units of the data
        times area.

    Raises
    ------
    ValueError
        If an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. One NaN makes a transform NaN: fill missing lines first.

    Examples
    --------
    >>> wave = xr.DataArray(np.tile(np.cos(2 * np.pi * np.arange(8) / 4), (8, 1)), dims=("y", "x"))
    >>> spectrum = abs(fft(wave, window=None))
    >>> float(abs(spectrum.kx[spectrum.argmax(("ky", "kx"))["kx"]]))
    0.25
    """
    da = pick(data, variable, plane_dims(data)) if isinstance(data, xr.Dataset) else data
    plane = _plane_of(da)
    steps, units = zip(*(_spacing(da, dim) for dim in plane), strict=True)
    shape = [da.sizes[dim] for dim in plane]
    weights = np.ones(shape)
    if window is not None:
        from scipy.signal import get_window

        weights = np.multiply.outer(*(get_window(window, n) if n > 2 else np.ones(n) for n in shape))
        weights = weights / np.sqrt(np.mean(weights**2))
    descending = tuple(bool(np.diff(_axis(da, dim)[0])[:1].sum() < 0) for dim in plane)
    reciprocal = ("ky", "kx")
    outputs = {
        "fft": chunked.Output(
            np.complex128,
            reciprocal,
            dict(zip(reciprocal, shape, strict=True)),
            {
                "units": combine_units((str(da.attrs.get("units", "1")), 1), (units[0], 1), (units[1], 1)),
                "long_name": f"Fourier transform of {da.attrs.get('long_name', da.name or 'image')}",
            },
        )
    }
    kwargs = {"weights": weights, "cell": float(np.prod(steps)), "reverse": descending}
    result = chunked.apply(_fft2, da, dims=[plane], outputs=outputs, kwargs=kwargs)["fft"]
    coords = {
        k: coordinate(k, np.fft.fftshift(np.fft.fftfreq(n, step)), units=combine_units((unit, -1)))
        for k, n, step, unit in zip(reciprocal, shape, steps, units, strict=True)
    }
    return result.assign_coords(coords).rename(f"{da.name}_fft" if da.name else "fft")
