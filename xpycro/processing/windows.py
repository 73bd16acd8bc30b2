"""Cleaning images by the principal components of their overlapping windows, which are never laid out.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, image_of, plane_of, real_numbers
from xpycro.engine.spots import spot_list
from xpycro.provenance import recorded

__all__ = ["clean", "svd", "window_size"]

_BLOCK_BYTES = 32 << 20  # windows laid out at a time for the Gram matrix
_LARGEST = 4096  # pixels of a window: the Gram matrix has their square


def _places(size: int, window: int, step: int) -> np.ndarray:
    """Where windows begin: every `step`, and one at the end, so that every pixel is in some."""
    places = np.arange(0, size - window + 1, step)
    return places if places[-1] == size - window else np.append(places, size - window)


def _gram(image: np.ndarray, window: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sum over the windows of their outer products."""
    from numpy.lib.stride_tricks import sliding_window_view

    pixels = window * window
    gram = np.zeros((pixels, pixels))
    every = sliding_window_view(image, (window, window))
    count = max(1, _BLOCK_BYTES // (image.itemsize * pixels * columns.size))
    for begin in range(0, rows.size, count):
        part = every[rows[begin : begin + count]][:, columns].reshape(-1, pixels)
        gram += part.T @ part
    return gram


def _contributions(
    image: np.ndarray, basis: np.ndarray, window: int, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """What each component adds to the image, overlapping windows averaged: two convolutions a component.

    The score of every window is a correlation of the image with the component, and laying the windows back is a
    convolution with it, so no window is ever made.
    """
    from scipy.signal import fftconvolve

    ones = np.zeros((image.shape[0] - window + 1, image.shape[1] - window + 1), image.dtype)
    at = np.ix_(rows, columns)
    ones[at] = 1
    cover = np.rint(fftconvolve(ones, np.ones((window, window), image.dtype)))
    out = np.empty((basis.shape[1], *image.shape), image.dtype)
    for number, vector in enumerate(basis.T):
        kernel = vector.reshape(window, window).astype(image.dtype)
        scores = np.zeros_like(ones)
        scores[at] = fftconvolve(image, kernel[::-1, ::-1], mode="valid")[at]
        out[number] = fftconvolve(scores, kernel) / cover
    return out


def _svd(values: np.ndarray, *, window: int, step: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from scipy import linalg

    from xpycro.engine.linalg import fix_signs

    kind = floating(values.dtype)
    images = values.reshape(-1, *values.shape[-2:]).astype(kind)
    rows, columns = (_places(n, window, step) for n in images.shape[-2:])
    pixels = window * window
    cleaned = np.full((len(images), count, *images.shape[-2:]), np.nan, kind)
    components = np.full((len(images), count, window, window), np.nan)
    strength = np.full((len(images), pixels), np.nan)
    for index, image in enumerate(images):
        if not np.isfinite(image).all():
            continue
        mean = image.mean(dtype=float)
        centred = (image - mean).astype(kind)
        squares, vectors = linalg.eigh(_gram(centred, window, rows, columns))
        basis = vectors[:, ::-1][:, :count]
        basis = basis * fix_signs(basis)
        strength[index] = np.sqrt(np.maximum(squares[::-1], 0))
        components[index] = basis.T.reshape(count, window, window)
        parts = _contributions(centred, basis, window, rows, columns)
        cleaned[index] = np.cumsum(parts, axis=0, dtype=kind) + kind.type(mean)
    lead = values.shape[:-2]
    return (
        cleaned.reshape(*lead, *cleaned.shape[1:]),
        components.reshape(*lead, *components.shape[1:]),
        strength.reshape(*lead, pixels),
    )


def _size_of(data: xr.DataArray, plane: tuple[str, str], size: float | None) -> int:
    axes = [along(data, dim) for dim in plane]
    if size is None:
        if chunked.is_lazy(data) or data.ndim > 2:
            raise ValueError("size=None finds the window from one image in memory: pass size=, as of window_size")
        size = float(window_size(data))
    pixels = round(size / min(abs(a.step) for a in axes))
    if not 2 <= pixels <= min(a.size for a in axes):
        raise ValueError(f"size={size:g} {axes[0].units} is {pixels} pixels; a window has 2 up to the image's side")
    if pixels * pixels > _LARGEST:
        raise ValueError(
            f"size={size:g} {axes[0].units} is {pixels} pixels; at most {int(_LARGEST**0.5)} (rebin the image first)"
        )
    return pixels


@recorded("windows.window_size")
def window_size(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.DataArray:
    """A window that holds two periods of an image's strongest lattice spot.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Side of the window, in the axes' units; at least four pixels, at most a sixth of the image. An image without a
        spot gives a sixteenth of its side.

    Notes
    -----
    *Laziness*: lazy; each image is held whole.

    Examples
    --------
    >>> wave = xr.DataArray(np.tile(np.cos(2 * np.pi * np.arange(96) / 6), (96, 1)), dims=("y", "x"))
    >>> round(float(window_size(wave)), 2)
    12.0
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: windows need one unit")
    output = chunked.Output(float, attrs={"units": axes[0].units, "long_name": "Window size"})
    kwargs = {"dy": axes[0].step, "dx": axes[1].step}
    return chunked.apply(_two_periods, da, dims=[plane], outputs={"window_size": output}, kwargs=kwargs)["window_size"]


def _two_periods(values: np.ndarray, *, dy: float, dx: float) -> np.ndarray:
    spots = spot_list(values, dy=dy, dx=dx, count=1, least=6.0, directions=1)[..., 0, :]
    side = min(values.shape[-2] * abs(dy), values.shape[-1] * abs(dx))
    with np.errstate(divide="ignore", invalid="ignore"):
        period = 1 / np.hypot(spots[..., 0], spots[..., 1])
    return np.clip(np.where(np.isfinite(period), 2 * period, side / 16), 4 * max(abs(dy), abs(dx)), side / 6)


@recorded("windows.svd")
def svd(
    data: xr.DataArray | xr.Dataset,
    size: float | None = None,
    *,
    variable: str | None = None,
    n_components: int = 16,
    step: int | None = None,
) -> xr.Dataset:
    """Principal components of all overlapping windows of an image, and the image rebuilt with each number of them.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims; further dims broadcast.
    size : float, optional
        Side of a window in the axes' units, at most 64 pixels; None takes `window_size` of an image in memory.
    variable : str, optional
        Which variable of a Dataset.
    n_components : int
    step : int, optional
        Pixels from one window to the next; None is an eighth of the side, 1 all windows.

    Returns
    -------
    Dataset
        ``cleaned(component, y, x)``: the image rebuilt with the first 1, 2, ... components, overlaps averaged, units of
        the data (a slider over it costs nothing); ``components(component, window_y, window_x)`` orthonormal;
        ``singular_values(window_pixel)``, all of them, in the units of the data.

    Raises
    ------
    ValueError
        If the window does not suit the image, or axes differ in step or units.

    Notes
    -----
    *Laziness*: lazy; each image is held whole, its windows never: their Gram matrix is summed block by block, scores
    and rebuilding are convolutions. The image's mean is left out and added again. One NaN makes an image NaN:
    `inpaint` first.

    References
    ----------
    S. Somnath et al., Adv. Struct. Chem. Imaging 4, 3 (2018).

    Examples
    --------
    >>> wave = xr.DataArray(np.tile(np.cos(2 * np.pi * np.arange(48) / 6), (48, 1)), dims=("y", "x"))
    >>> found = svd(wave, 12, n_components=2)  # a sine has two components
    >>> bool(abs(found.cleaned[-1] - wave).max() < 1e-9)
    True
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units or not np.isclose(abs(axes[0].step), abs(axes[1].step), rtol=1e-2):
        raise ValueError(
            f"pixels must be square: {plane[0]} steps by {axes[0].step:g} {axes[0].units}, {plane[1]} by "
            f"{axes[1].step:g} {axes[1].units}"
        )
    window = _size_of(da, plane, size)
    if not 1 <= n_components <= window * window:
        raise ValueError(f"n_components={n_components}: a window of {window} pixels a side has {window * window}")
    pace = max(1, window // 8) if step is None else int(step)
    if not 1 <= pace <= window:
        raise ValueError(f"step={step}: from 1 to {window} pixels, the side of a window")
    unit, label = str(da.attrs.get("units", "1")), da.attrs.get("long_name", da.name or "image")
    outputs = {
        "cleaned": chunked.Output(
            floating(da.dtype),
            ("component", *plane),
            {"component": n_components},
            {**da.attrs, "long_name": f"Cleaned {label}"},
        ),
        "components": chunked.Output(
            float,
            ("component", "window_y", "window_x"),
            {"component": n_components, "window_y": window, "window_x": window},
            {"units": "1", "long_name": "Component"},
        ),
        "singular_values": chunked.Output(
            float,
            ("window_pixel",),
            {"window_pixel": window * window},
            {"units": unit, "long_name": "Singular value"},
        ),
    }
    kwargs = {"window": window, "step": pace, "count": n_components}
    found = chunked.apply(_svd, da, dims=[plane], outputs=outputs, kwargs=kwargs)
    coords = {
        "component": xr.Variable("component", np.arange(1, n_components + 1), {"units": "1", "long_name": "Components"})
    }
    return xr.Dataset(found).assign_coords(coords)


@recorded("windows.clean")
def clean(
    data: xr.DataArray | xr.Dataset,
    components: int,
    size: float | None = None,
    *,
    variable: str | None = None,
    step: int | None = None,
) -> xr.DataArray:
    """An image rebuilt from the first principal components of its overlapping windows.

    Parameters
    ----------
    data, size, variable, step
        As in `svd`.
    components : int
        How many are kept.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the data.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. What was taken away is the data minus this.

    Examples
    --------
    >>> wave = np.tile(np.cos(2 * np.pi * np.arange(48) / 6), (48, 1))
    >>> noisy = xr.DataArray(wave + np.random.default_rng(0).normal(0, 0.5, wave.shape), dims=("y", "x"))
    >>> bool((clean(noisy, 2, 12) - wave).std() < 0.1)
    True
    """
    da = real_numbers(image_of(data, variable))
    found = svd(da, size, n_components=components, step=step).cleaned.isel(component=-1, drop=True)
    return found.transpose(*da.dims).rename(da.name)
