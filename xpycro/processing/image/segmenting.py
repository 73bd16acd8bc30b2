"""Grains, particles, pores: an image cut into regions, and the table of what each one is.

May import numpy, xarray, scipy and scikit-image (inside functions), engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis, along, image_of, plane_of, real_numbers
from xpycro.errors import MissingExtra
from xpycro.provenance import recorded
from xpycro.units import combine_units

__all__ = ["grains"]


def _otsu(values: np.ndarray) -> float:
    """The threshold that leaves the least variance within the two classes (Otsu 1979), of 256 bins."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    counts, edges = np.histogram(values, 256, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    between = np.where(np.isfinite(between), between, -1.0)
    best = between >= between.max() * (1 - 1e-12)  # empty bins between two classes are all as good: take their middle
    return float(edges[1:][best].mean())


def _split_touching(inside: np.ndarray, steps: tuple[float, float], distance: float) -> np.ndarray:
    """Watershed of the distance from the border, one basin for each maximum at least `distance` apart."""
    try:
        from skimage.feature import peak_local_max
        from skimage.segmentation import watershed
    except ImportError:
        raise MissingExtra("scikit-image", "image", "grains with method='watershed'") from None
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(inside, sampling=steps)
    smooth = ndimage.gaussian_filter(depth, 1.0)  # steps of the pixel grid would split every grain
    regions, _ = ndimage.label(inside)
    pixels = max(1, round(distance / min(steps)))
    peaks = peak_local_max(smooth, min_distance=pixels, labels=regions, exclude_border=False)
    markers = np.zeros(inside.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-smooth, markers, mask=inside)


@recorded("image.grains")
def grains(
    data: xr.DataArray | xr.Dataset,
    threshold: float | str = "otsu",
    *,
    variable: str | None = None,
    method: str = "threshold",
    below: bool = False,
    min_area: float = 0.0,
    min_distance: float | None = None,
    keep_border: bool = True,
) -> xr.Dataset:
    """The connected regions above (or below) a threshold, with their areas and heights.

    Parameters
    ----------
    data : DataArray or Dataset
        One real image over two evenly spaced spatial dims of one unit, leveled.
    threshold : float or "otsu"
        In the units of the data; ``"otsu"`` divides its values into two classes.
    variable : str, optional
        Which variable of a Dataset.
    method : {"threshold", "watershed"}
        Regions as they are (four neighbours connect), or touching ones split at their waists (extra ``image``).
    below : bool
        Pores instead of grains.
    min_area : float
        Smaller ones are left out; in the square of the axes' unit.
    min_distance : float, optional
        For ``watershed``: least distance between two centres, in the axes' unit; None is five pixels.
    keep_border : bool
        Whether those cut by the border count.

    Returns
    -------
    Dataset
        Over ``grain``: ``area`` (m^2), ``equivalent_diameter`` (m; of the circle of equal area), ``center_y``,
        ``center_x`` (centroid, in the axes' unit), ``mean_height``, ``max_height`` (lowest for pores) in the
        units of the data, ``volume`` (above the threshold, data times area); and ``labels`` over the image (0: none, n:
        the grain of that label). The attribute ``threshold`` holds the value used.

    Raises
    ------
    ValueError
        For a stack of images, an unknown method, or no finite value.
    MissingExtra
        If scikit-image is needed and not installed.

    Notes
    -----
    *Laziness*: computes the image now, since the number of grains is the length of the result. NaN belong to none.

    References
    ----------
    N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).

    Examples
    --------
    >>> image = np.zeros((10, 10)); image[2:4, 2:5] = 1; image[7:9, 7:9] = 2
    >>> found = grains(xr.DataArray(image, dims=("y", "x")), 0.5)
    >>> found.area.values, found.max_height.values
    (array([6., 4.]), array([1., 2.]))
    """
    from scipy import ndimage

    if method not in ("threshold", "watershed"):
        raise ValueError(f"method={method!r}: choose 'threshold' or 'watershed'")
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    if da.ndim != 2:
        raise ValueError(f"grains takes one image; this array has {dict(da.sizes)}: select one with isel or sel")
    da = da.transpose(*plane)
    axes: list[Axis] = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: areas need one unit")
    image = da.values.astype(float)
    good = np.isfinite(image)
    if not good.any():
        raise ValueError("the image has no finite value")
    if isinstance(threshold, str) and threshold != "otsu":
        raise ValueError(f"threshold={threshold!r}: a number or 'otsu'")
    limit = _otsu(image[good]) if isinstance(threshold, str) else float(threshold)
    sign = -1.0 if below else 1.0
    inside = good & (sign * np.where(good, image, 0.0) > sign * limit)
    steps = (abs(axes[0].step), abs(axes[1].step))
    pixel = steps[0] * steps[1]
    if method == "watershed":
        distance = 5 * min(steps) if min_distance is None else min_distance
        labels = _split_touching(inside, steps, distance)
    else:
        labels, _ = ndimage.label(inside)
    counts = np.bincount(labels.ravel())
    keep = counts * pixel >= min_area
    if not keep_border:
        keep[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = False
    keep[0] = False
    keep &= counts > 0
    number = np.zeros(counts.size, int)
    number[keep] = np.arange(1, keep.sum() + 1)
    labels = number[labels]
    every = np.arange(1, int(keep.sum()) + 1)
    filled = np.where(good, image, 0.0)
    unit, length = str(da.attrs.get("units", "1")), axes[0].units
    area = ndimage.sum_labels(np.ones(image.shape), labels, every) * pixel
    extreme = ndimage.minimum if below else ndimage.maximum
    heights = np.asarray(extreme(filled, labels, every), dtype=float) if every.size else np.zeros(0)
    mean = np.asarray(ndimage.mean(filled, labels, every), dtype=float) if every.size else np.zeros(0)
    label = da.attrs.get("long_name", da.name or "value")

    def table(values: np.ndarray, units: str, text: str) -> xr.Variable:
        return xr.Variable("grain", np.asarray(values, dtype=float), {"units": units, "long_name": text})

    variables = {
        "area": table(area, combine_units((length, 2)), "Area"),
        "equivalent_diameter": table(np.sqrt(4 * area / np.pi), length, "Equivalent diameter"),
        "mean_height": table(mean, unit, f"Mean {label}"),
        "max_height": table(heights, unit, f"{'Lowest' if below else 'Highest'} {label}"),
        "volume": table(
            sign * (mean - limit) * area, combine_units((unit, 1), (length, 2)), f"Volume beyond {limit:g} {unit}"
        ),
        "labels": xr.Variable(plane, labels, {"units": "1", "long_name": "Grain"}),
    }
    for k, axis in enumerate(axes):
        grid = np.broadcast_to(axis.values[:, None] if k == 0 else axis.values[None, :], image.shape)
        place = np.asarray(ndimage.mean(grid, labels, every), dtype=float) if every.size else np.zeros(0)
        variables[f"center_{axis.dim}"] = table(place, axis.units, f"Centre along {axis.dim}")
    coords = {"grain": xr.Variable("grain", every, {"units": "1", "long_name": "Grain", "dimension_type": "component"})}
    coords |= {d: da.coords[d].variable for d in plane if d in da.coords}
    return xr.Dataset(variables, coords=coords, attrs={"threshold": limit})
