"""The detector as a plane: which dims it has, which pixels lie within radii, under a mask, in a ring.

May import numpy, xarray, engine, the base floor and the kinds beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis
from xpycro.errors import DimensionError
from xpycro.processing.diffraction.kinds import RadialProfile
from xpycro.schema import dimension_type

__all__ = ["detector_dims", "on_detector", "rings", "within"]


def detector_dims(da: xr.DataArray, dims: Sequence[str] | None = None) -> tuple[str, str]:
    """The two dims of a diffraction pattern: ky and kx, else the two reciprocal ones."""
    if dims is not None:
        found = tuple(dims)
    elif "ky" in da.dims and "kx" in da.dims:
        found = ("ky", "kx")
    else:
        found = tuple(str(d) for d in da.dims if dimension_type(da, d) == "reciprocal")
    if len(found) != 2 or any(d not in da.dims for d in found):
        raise DimensionError(
            f"a diffraction pattern needs two reciprocal dims; this array has {dict(da.sizes)}: pass dims=(slow, fast)"
        )
    return found[0], found[1]


def _distance(axes: Sequence[Axis], center: tuple[float, float]) -> np.ndarray:
    return np.hypot(axes[0].values[:, None] - center[0], axes[1].values[None, :] - center[1])


def within(axes: Sequence[Axis], inner: float, outer: float, center: tuple[float, float], what: str) -> np.ndarray:
    """Which pixels lie between two radii, both included."""
    distance = _distance(axes, center)
    inside = (distance >= inner) & (distance <= outer)
    if not inside.any():
        raise ValueError(
            f"{what}: no pixel lies between {inner:g} and {outer:g} {axes[0].units} of {center}; the detector spans "
            f"{axes[0].values.min():g} to {axes[0].values.max():g} and {axes[1].values.min():g} to "
            f"{axes[1].values.max():g}"
        )
    return inside


def on_detector(mask: xr.DataArray, axes: Sequence[Axis], what: str) -> np.ndarray:
    """The numbers of a mask over the detector's dims, slow and fast."""
    dims = (axes[0].dim, axes[1].dim)
    if not isinstance(mask, xr.DataArray):
        raise TypeError(f"{what}= is of type {type(mask).__name__}: pass a DataArray over {list(dims)}")
    if set(mask.dims) != set(dims) or mask.sizes != {d: a.size for d, a in zip(dims, axes, strict=True)}:
        raise ValueError(f"{what}= is {dict(mask.sizes)}; the detector is {[(a.dim, a.size) for a in axes]}")
    return mask.transpose(*dims).values


def rings(
    item: RadialProfile, axes: Sequence[Axis], keep: np.ndarray, radius: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's ring (-1 beyond the last, and where it is left out) and the radius of each ring.

    Rings about a centre have their middle; along a coordinate (`radius`) they have the mean of their pixels, so that
    what varies evenly within a ring is right at its place.
    """
    if radius is not None:
        return _along(item, keep, radius)
    width = item.width or max(abs(axis.step) for axis in axes)
    reach = [
        min(abs(axis.values.max() - c), abs(axis.values.min() - c)) for axis, c in zip(axes, item.center, strict=True)
    ]
    outer = item.outer if item.outer is not None else min(reach)
    count = int(outer / width + 1e-9)
    if count < 1:
        raise ValueError(f"RadialProfile: no ring of width {width:g} fits within {outer:g} {axes[0].units}")
    number = (_distance(axes, item.center) / width + 1e-9).astype(np.int32)
    return np.where((number < count) & keep, number, np.int32(-1)), (np.arange(count) + 0.5) * width


def _along(item: RadialProfile, keep: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings of even width along a coordinate of the detector's pixels."""
    fine = np.isfinite(radius)
    slopes = [np.abs(np.gradient(radius, axis=axis)) for axis, size in enumerate(radius.shape) if size > 1]
    width = item.width or float(np.nanmedian(np.hypot(*slopes) if len(slopes) == 2 else slopes[0]))
    inner = float(radius[fine].min())
    outer = item.outer if item.outer is not None else float(radius[fine].max())
    count = int(np.ceil((outer - inner) / width - 1e-9)) if width > 0 else 0
    if count < 1:
        raise ValueError(f"RadialProfile: no ring of width {width:g} fits between {inner:g} and {outer:g}")
    inside = fine & (radius <= outer) & keep
    number = np.full(radius.shape, -1, np.int32)
    number[inside] = np.minimum((radius[inside] - inner) / width, count - 1).astype(np.int32)
    pixels = np.bincount(number[inside], minlength=count)
    total = np.bincount(number[inside], radius[inside], minlength=count)
    middle = inner + (np.arange(count) + 0.5) * width
    return number, np.where(pixels > 0, total / np.maximum(pixels, 1), middle)
