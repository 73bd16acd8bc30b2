"""Leveling: tilt and bow, offsets between scan lines, stripes.

May import numpy, xarray, engine and the base floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, image_of, left_out, plane_of, real_numbers, samples
from xpycro.provenance import recorded

__all__ = ["destripe", "level"]

_METHODS = ("plane", "polynomial", "three_point", "median", "median_difference", "matched")


def _counted(values: np.ndarray, exclude: np.ndarray | None) -> np.ndarray:
    """What takes part in a fit, NaN elsewhere."""
    counted = values.astype(float)
    return np.where(exclude, np.nan, counted) if exclude is not None else counted


def _surface(values: np.ndarray, exclude: np.ndarray | None = None, *, order: int) -> np.ndarray:
    """Least-squares polynomial of total degree `order` subtracted from each image; NaN where no point counts."""
    ny, nx = values.shape[-2:]
    y, x = (np.polynomial.legendre.legvander(np.linspace(-1, 1, n) if n > 1 else np.zeros(1), order) for n in (ny, nx))
    design = np.stack(
        [np.multiply.outer(y[:, i], x[:, j]).ravel() for i in range(order + 1) for j in range(order + 1 - i)], axis=-1
    )
    flat = values.reshape(-1, ny * nx).astype(float)
    counted = _counted(values, None if exclude is None else np.broadcast_to(exclude, values.shape))
    used = np.isfinite(counted).reshape(flat.shape)
    result = np.full(flat.shape, np.nan)
    for index, (image, good) in enumerate(zip(flat, used, strict=True)):
        if good.any():
            solution = np.linalg.lstsq(design[good], image[good], rcond=None)[0]
            result[index] = image - design @ solution
    return result.reshape(values.shape)


def _three_point(
    values: np.ndarray, exclude: np.ndarray | None = None, *, places: np.ndarray, radius: float
) -> np.ndarray:
    """The plane through three points subtracted; each the mean of what counts within `radius` pixels."""
    ny, nx = values.shape[-2:]
    row, column = np.indices((ny, nx))
    counted = _counted(values, exclude)
    heights = []
    for y, x in places:
        near = np.hypot(row - y, column - x) <= max(radius, np.sqrt(0.5) + 1e-9)
        heights.append(_quiet_nanmean(counted[..., near]))
    basis = np.column_stack([np.ones(3), places])
    coefficients = np.linalg.solve(basis, np.stack(heights).reshape(3, -1)).reshape(3, *values.shape[:-2], 1, 1)
    return values - (coefficients[0] + coefficients[1] * row + coefficients[2] * column)


def _quiet_nanmean(values: np.ndarray) -> np.ndarray:
    good = np.isfinite(values)
    total = np.where(good, values, 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / np.where(good.any(axis=-1), good.sum(axis=-1), np.nan)


def _quiet_nanmedian(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Median along an axis, kept; NaN of a line without values, which NumPy would warn about."""
    missing = np.isnan(values).all(axis=axis, keepdims=True)
    median = np.nanmedian(np.where(missing, 0.0, values), axis=axis, keepdims=True)
    return np.where(missing, np.nan, median)


def _median(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Each scan line's median subtracted."""
    return values - _quiet_nanmedian(_counted(values, exclude))


def _median_difference(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Lines shifted so that the median of the differences to the line before is zero; keeps large terraces."""
    return _shifted(values, _quiet_nanmedian(np.diff(_counted(values, exclude), axis=-2)))


def _matched(values: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Lines shifted to the line before where both are flat: a robust mean of the differences there."""
    counted = _counted(values, exclude)
    difference = np.diff(counted, axis=-2)
    slope = np.abs(np.gradient(counted, axis=-1)) if values.shape[-1] > 1 else np.zeros(counted.shape)
    steep = slope[..., 1:, :] + slope[..., :-1, :]
    known_slope = np.sort(np.where(np.isfinite(steep), steep, np.inf), axis=-1)
    count = np.isfinite(steep).sum(axis=-1, keepdims=True)
    # the flattest quarter of a line sets what flat means
    typical = np.take_along_axis(known_slope, np.maximum(count - 1, 0) // 4, -1)
    typical = np.where(np.isfinite(typical), np.maximum(typical, 1e-300), 1e-300)
    ratio = np.minimum(np.where(np.isfinite(steep), steep, np.inf) / typical, 30.0)
    flat = np.where(np.isfinite(difference) & np.isfinite(steep), np.exp(-0.5 * ratio**2), 0.0)
    flattest = np.where(ratio <= 1.0, difference, np.nan)
    shift = _quiet_nanmedian(flattest)
    scale = np.maximum(1.4826 * _quiet_nanmedian(np.abs(flattest - shift)), 1e-300)
    known = np.where(np.isfinite(difference), difference, 0.0)
    for _ in range(20):  # always all of them: stopping early would make one image depend on the others of its block
        # Tukey's biweight: what lies 4.7 standard deviations away, an edge of a grain, does not count
        u = np.minimum(np.abs(known - np.nan_to_num(shift)) / (4.685 * scale), 1.0)
        weight = flat * (1 - u**2) ** 2
        total = weight.sum(axis=-1, keepdims=True)
        shift = np.where(total > 0, (weight * known).sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1), shift)
    return _shifted(values, shift)


def _shifted(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Lines moved by the sum of the steps up to each, the mean of the image taken away."""
    shifts = np.concatenate([np.zeros_like(steps[..., :1, :]), np.nancumsum(steps, axis=-2)], axis=-2)
    leveled = values - shifts
    flat = leveled.reshape(*leveled.shape[:-2], -1)
    return leveled - _quiet_nanmean(flat)[..., None, None]


_KERNELS: dict[str, Any] = {
    "plane": _surface,
    "polynomial": _surface,
    "three_point": _three_point,
    "median": _median,
    "median_difference": _median_difference,
    "matched": _matched,
}


@recorded("image.level")
def level(
    data: xr.DataArray | xr.Dataset,
    method: str = "plane",
    *,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    order: int = 2,
    points: Sequence[Mapping[str, float]] | None = None,
    radius: float = 0.0,
) -> xr.DataArray:
    """Take tilt, bow or line offsets out of an image.

    Parameters
    ----------
    data : DataArray or Dataset
        Over two spatial dims; further dims (direction, frame) are leveled one image at a time.
    method : {"plane", "polynomial", "three_point", "median", "median_difference", "matched"}
        Least-squares plane, or polynomial of total degree `order`; the plane through three `points`; the median of
        each scan line; lines shifted so that the median difference to the line before is zero, which keeps terraces
        that a line median would flatten; or so that they match where both are flat, which edges and grains do not
        disturb.
    variable : str, optional
        Which variable of a Dataset.
    exclude : DataArray of bool, optional
        What does not count in the fit (a particle, a step); it is leveled all the same.
    order : int
        Of the polynomial.
    points : sequence of three mappings
        For ``three_point``: places by dim in coordinate units, ``{"y": 0, "x": 1e-6}``.
    radius : float
        For ``three_point``: heights are means within this distance, in coordinate units.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input, float64.

    Raises
    ------
    DimensionError
        If there are not two spatial dims.
    ValueError, TypeError
        For an unknown method, points on one line, an uneven axis (surfaces), complex or empty data.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. NaN stay NaN and do not count; scan lines run along the second dim.
    ``median_difference`` and ``matched`` add up small errors from line to line: a ``plane`` or ``polynomial`` belongs
    after them, not before; and what whole lines have in common (a step along the slow axis, round features that fill
    the image) goes with the offsets.

    Examples
    --------
    >>> tilted = xr.DataArray(np.add.outer([0.0, 1.0, 2.0], [0.0, 3.0, 6.0]), dims=("y", "x"))
    >>> bool(abs(level(tilted)).max() < 1e-12)
    True
    """
    if method not in _METHODS:
        raise ValueError(f"method={method!r}: choose one of {list(_METHODS)}")
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    arrays, core = [da], [plane]
    if exclude is not None:
        arrays.append(left_out(exclude, da, plane))
        core.append(plane)
    kwargs: dict[str, Any] = {}
    if method in ("plane", "polynomial"):
        kwargs["order"] = 1 if method == "plane" else int(order)
        for dim in plane:
            _ = along(da, dim).step  # surfaces are fitted over pixels: an uneven axis would bend them
        if not 0 <= kwargs["order"] <= 12:
            raise ValueError(f"order={order}: a polynomial surface has an order of 0 to 12")
    elif method == "three_point":
        kwargs = _three_places(da, plane, points, radius)
    output = chunked.Output(float, plane, attrs=da.attrs)
    leveled = chunked.apply(_KERNELS[method], *arrays, dims=core, outputs={"l": output}, kwargs=kwargs)["l"]
    return leveled.transpose(*da.dims).rename(da.name)


def _three_places(
    da: xr.DataArray, plane: tuple[str, str], points: Sequence[Mapping[str, float]] | None, radius: float
) -> dict[str, Any]:
    """Points and radius in pixels."""
    if points is None or len(points) != 3 or any(set(p) != set(plane) for p in points):
        raise ValueError(f"method='three_point' needs points=, three places such as {dict.fromkeys(plane, 0.0)}")
    axes = [along(da, dim) for dim in plane]
    places = np.array([[(p[a.dim] - a.values[0]) / a.step for a in axes] for p in points])
    for k, axis in enumerate(axes):
        if places[:, k].min() < -0.5 or places[:, k].max() > axis.size - 0.5:
            raise ValueError(f"points= leave the image along {axis.dim}: {[p[axis.dim] for p in points]}")
    if abs(np.linalg.det(np.column_stack([np.ones(3), places]))) < 1.0:
        raise ValueError(f"the three points lie on one line: {[dict(p) for p in points]}")
    return {"places": places, "radius": radius / min(abs(a.step) for a in axes)}


def _destriped(values: np.ndarray, exclude: np.ndarray | None = None, *, lines: int) -> np.ndarray:
    """Each line's median distance from the local median of the lines around it subtracted."""
    counted = _counted(values, exclude)
    half, count = lines // 2, values.shape[-2]
    offset = np.zeros((*values.shape[:-1], 1))
    for i in range(count):
        first, last = max(0, i - half), min(count, i + half + 1)
        around = counted[..., first:last, :]
        if last - first > 2:
            # at the border, and beside a stripe, the median of a slope is not the slope in the middle
            slope = _quiet_nanmedian(np.diff(around, axis=-2), axis=-2)
            around = around - slope * (np.arange(first, last) - i)[:, None]
        local = _quiet_nanmedian(around, axis=-2)
        offset[..., i, :] = _quiet_nanmedian(counted[..., i : i + 1, :] - local)[..., 0]
    return values - np.where(np.isfinite(offset), offset, 0.0)


@recorded("image.destripe")
def destripe(
    data: xr.DataArray | xr.Dataset,
    width: float | None = None,
    *,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """Take out single scan lines or few that lie too high or too low, without touching slow changes.

    Parameters
    ----------
    data : DataArray or Dataset
        Over two spatial dims, lines along the second; further dims broadcast.
    width : float, optional
        Over how many lines, in units of the slow axis, the local median is taken: more than twice the width of a
        stripe, less than that of real features. None is nine lines.
    variable : str, optional
        Which variable of a Dataset.
    exclude : DataArray of bool, optional
        What does not count.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input, float64.

    Raises
    ------
    ValueError
        If the width does not suit the axis.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. NaN stay NaN and do not count.

    Examples
    --------
    >>> smooth = np.add.outer(np.linspace(0, 1, 30), np.zeros(20))
    >>> striped = xr.DataArray(smooth + np.where(np.arange(30) == 12, 0.7, 0)[:, None], dims=("y", "x"))
    >>> bool(abs(destripe(striped) - smooth).max() < 1e-12)
    True
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axis = along(da, plane[0])
    lines = min(9, axis.size) if width is None else samples(axis, width, odd=True, least=3)
    arrays, core = [da], [plane]
    if exclude is not None:
        arrays.append(left_out(exclude, da, plane))
        core.append(plane)
    output = chunked.Output(float, plane, attrs=da.attrs)
    found = chunked.apply(_destriped, *arrays, dims=core, outputs={"d": output}, kwargs={"lines": lines})["d"]
    return found.transpose(*da.dims).rename(da.name)
