"""Frames moved back by their drift, and both in one step.

May import numpy, xarray, scipy (inside functions), engine, the base floor and the drift beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, image_of, plane_of, real_numbers
from xpycro.processing.register.drifting import drift
from xpycro.provenance import recorded
from xpycro.schema import new_result

__all__ = ["rigid", "shift"]


def _moved(values: np.ndarray, moves: np.ndarray, *, method: str) -> np.ndarray:
    """Each image moved back by its shift in pixels, NaN where nothing was measured."""
    from scipy import fft as scipy_fft
    from scipy.ndimage import shift as spline_shift

    kind, (ny, nx) = floating(values.dtype), values.shape[-2:]
    shape = (*np.broadcast_shapes(values.shape[:-2], moves.shape[:-1]), ny, nx)
    images = np.broadcast_to(values, shape).reshape(-1, ny, nx)
    steps = np.broadcast_to(moves, (*shape[:-2], 2)).reshape(-1, 2)
    out = np.full((len(images), ny, nx), np.nan, kind)
    ky, kx = np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :]
    y, x = np.arange(ny)[:, None], np.arange(nx)[None, :]
    for index, (image, (dy, dx)) in enumerate(zip(images, steps, strict=True)):
        good = np.isfinite(image)
        if not (good.any() and np.isfinite(dy) and np.isfinite(dx)):
            continue
        filled = image.astype(kind) if good.all() else np.where(good, image, image[good].mean()).astype(kind)
        if dy == np.rint(dy) and dx == np.rint(dx) and good.all():
            moved = np.roll(filled, (-int(dy), -int(dx)), (0, 1))
        elif method == "fourier":
            ramp = np.exp(2j * np.pi * (ky * dy + kx * dx)).astype(np.complex64 if kind.itemsize == 4 else complex)
            moved = scipy_fft.irfft2(scipy_fft.rfft2(filled) * ramp, (ny, nx))
        else:
            moved = spline_shift(filled, (-dy, -dx), order=3, mode="mirror")
        slack = 1e-6
        inside = (y + dy >= -slack) & (y + dy <= ny - 1 + slack) & (x + dx >= -slack) & (x + dx <= nx - 1 + slack)
        if not good.all():  # what touches a gap is a gap
            inside &= spline_shift((~good).astype(float), (-dy, -dx), order=1, mode="nearest") < 1e-6
        out[index] = np.where(inside, moved, np.nan)
    return out.reshape(shape)


@recorded("register.shift")
def shift(
    data: xr.DataArray | xr.Dataset,
    by: xr.DataArray | xr.Dataset,
    *,
    variable: str | None = None,
    method: str = "spline",
    crop: bool = False,
) -> xr.DataArray:
    """Move frames back by their drift.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims and those of the drift; further dims (channels) move along.
    by : DataArray or Dataset
        ``shift(<frame>, axis)`` as of `drift`, in the units of the axes; also of another channel of the same scan.
    variable : str, optional
        Which variable of a Dataset.
    method : {"spline", "fourier"}
        Cubic splines; or a phase ramp, exact for band-limited periodic images. Whole pixels are moved as they are.
    crop : bool
        Keep only what every frame has; computes the drift.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the data, NaN where nothing was measured, and ``drift_<dim>`` along the frames
        as coordinates.

    Raises
    ------
    ValueError
        For an unknown method, a drift of other axes, or one larger than the image where cropping.

    Notes
    -----
    *Laziness*: lazy (the drift too, unless cropped); each image is held whole.

    Examples
    --------
    >>> first = np.random.default_rng(0).normal(size=(8, 8))
    >>> frames = xr.DataArray([first, np.roll(first, 2, 1)], dims=("frame", "y", "x"))
    >>> by = xr.DataArray([[0, 0], [0, 2]], dims=("frame", "axis"), coords={"axis": ["y", "x"]})
    >>> back = shift(frames, by, crop=True)
    >>> bool((back[0] == back[1]).all()), back.sizes["x"]
    (True, 6)
    """
    if method not in ("spline", "fourier"):
        raise ValueError(f"method={method!r}: choose 'spline' or 'fourier'")
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, d) for d in plane]
    amount = by["shift"] if isinstance(by, xr.Dataset) else by
    if "axis" not in amount.dims or list(amount.coords.get("axis", xr.DataArray(list(plane))).values) != list(plane):
        raise ValueError(f"by= must be a shift over 'axis' with {list(plane)}; it has {dict(amount.sizes)}")
    pixels = amount.drop_vars("axis", errors="ignore") / xr.DataArray([a.step for a in axes], dims="axis")
    output = chunked.Output(floating(da.dtype), plane, attrs=da.attrs)
    core = [list(plane), ["axis"]]
    found = chunked.apply(_moved, da, pixels, dims=core, outputs={"m": output}, kwargs={"method": method})["m"]
    units = axes[0].units
    extra = {
        f"drift_{d}": amount.isel(axis=i, drop=True).assign_attrs(units=units, long_name=f"Drift along {d}")
        for i, d in enumerate(plane)
    }
    extra = {name: value for name, value in extra.items() if set(value.dims) <= set(found.dims)}
    found = found.transpose(*[d for d in da.dims if d in found.dims], ...).assign_coords(extra).rename(da.name)
    return _cropped(found, pixels, axes) if crop else found


def _cropped(found: xr.DataArray, pixels: xr.DataArray, axes: list[Axis]) -> xr.DataArray:
    """The part that every frame covers."""
    values = pixels.transpose(..., "axis").values.reshape(-1, 2)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise ValueError("crop=True: no frame has a finite drift")
    region = {}
    for i, axis in enumerate(axes):
        low = int(np.ceil(max(0.0, -values[:, i].min()) - 1e-6))
        high = axis.size - int(np.ceil(max(0.0, values[:, i].max()) - 1e-6))
        if low >= high:
            raise ValueError(
                f"crop=True: the frames share nothing along {axis.dim}; the drift is larger than the image"
            )
        region[axis.dim] = slice(low, high)
    return found.isel(region)


@recorded("register.rigid")
def rigid(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    reference: str | int | xr.DataArray = "previous",
    weighting: str = "noise",
    max_shift: float | None = None,
    max_gap: int | None = None,
    window: str | None = "hann",
    method: str = "spline",
    crop: bool = False,
) -> xr.Dataset:
    """Find the drift of frames and move them back: `drift`, then `shift`.

    Parameters
    ----------
    data, dim, variable, reference, weighting, max_shift, max_gap, window
        As in `drift`.
    method, crop
        As in `shift`.

    Returns
    -------
    Dataset
        A ``registration``: ``image``, the frames in register (dims and units of the data, NaN where nothing was
        measured), with ``drift_<dim>`` as coordinates; ``shift(<dim>, axis)`` in the axes' units.

    Notes
    -----
    *Laziness*: lazy; the frames are read twice (drift, then moving). With `crop` the drift is computed now.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> first = gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 2, mode="wrap")
    >>> frames = xr.DataArray([first, np.roll(first, (3, -5), (0, 1))], dims=("frame", "y", "x"))
    >>> found = rigid(frames, crop=True)
    >>> bool(abs(found.image[1] - found.image[0]).max() < 0.01)
    True
    """
    da = real_numbers(image_of(data, variable))
    found = drift(
        da,
        dim,
        reference=reference,
        weighting=weighting,
        max_shift=max_shift,
        max_gap=max_gap,
        window=window,
    )["shift"]
    if crop and chunked.is_lazy(found):
        found = found.compute()
    source = da if not chunked.is_lazy(found) else chunked.after(chunked.lazily(da), found.variable._data)
    image = shift(source, found, method=method, crop=crop)
    return new_result("registration", {"image": image.rename("image"), "shift": found})
