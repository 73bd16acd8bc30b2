"""Measures of a surface: areal height parameters, the gradient, profiles along a line.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, image_of, left_out, plane_of, real_numbers
from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.units import combine_units, quantity

__all__ = ["gradient", "profile", "roughness"]

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


def _roughness(
    values: np.ndarray, exclude: np.ndarray | None = None, *, dy: float, dx: float
) -> tuple[np.ndarray, ...]:
    kept = values.astype(float) if exclude is None else np.where(exclude, np.nan, values)
    z = kept.reshape(-1, *values.shape[-2:])
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
def roughness(
    data: xr.DataArray | xr.Dataset, *, variable: str | None = None, exclude: xr.DataArray | None = None
) -> xr.Dataset:
    """Areal height parameters of ISO 25178-2, of the image as it is (level it first).

    Parameters
    ----------
    data : DataArray or Dataset
        Heights over two spatial dims; further dims give one value each.
    variable : str, optional
        Which variable of a Dataset.
    exclude : DataArray of bool, optional
        What does not count (grains, a scratch); slopes touching it do not count, either.

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
    values hold for the pixel size and frame at hand. NaN count as excluded. Sdr is meaningful only where heights and
    axes have the same unit; else it is NaN, as is Sdq for uncalibrated axes of unequal units.

    References
    ----------
    ISO 25178-2, Geometrical product specifications: surface texture, areal.

    Examples
    --------
    >>> steps = xr.DataArray(np.tile([1.0, -1.0], (4, 4)), dims=("y", "x"), attrs={"units": "m"})
    >>> float(roughness(steps).root_mean_square_height)
    1.0
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    along_y, along_x = (along(da, dim) for dim in plane)
    (dy, uy), (dx, ux) = (abs(along_y.step), along_y.units), (abs(along_x.step), along_x.units)
    unit = str(da.attrs.get("units", "1"))
    outputs = {}
    for name, (symbol, power) in _ROUGHNESS.items():
        units = combine_units((unit, 1), (ux, -1)) if power is None else (unit if power else "1")
        label = f"{name.replace('_', ' ').capitalize()} {symbol}"
        outputs[name] = chunked.Output(float, attrs={"units": units, "long_name": label})
    arrays = [da] if exclude is None else [da, left_out(exclude, da, plane)]
    kwargs = {"dy": dy, "dx": dx}
    found = chunked.apply(_roughness, *arrays, dims=[plane] * len(arrays), outputs=outputs, kwargs=kwargs)
    result = xr.Dataset(found)
    if uy != ux:
        result["root_mean_square_gradient"] = result.root_mean_square_gradient * np.nan
    if not uy == ux == unit:
        result["developed_area_ratio"] = result.developed_area_ratio * np.nan
    return result


def _gradient(values: np.ndarray, *, dy: float, dx: float) -> tuple[np.ndarray, ...]:
    image = values.astype(floating(values.dtype), copy=False)
    slopes = [
        np.gradient(image, step, axis=axis).astype(image.dtype)
        if image.shape[axis] > 1
        else np.full_like(image, np.nan)
        for axis, step in ((-2, dy), (-1, dx))
    ]
    return slopes[0], slopes[1], np.hypot(*slopes)


@recorded("image.gradient")
def gradient(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.Dataset:
    """Slopes of an image along its two dims, by central differences.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    Dataset
        ``gradient_<slow>``, ``gradient_<fast>`` and ``magnitude`` over the dims of the data, in its units per those of
        the axes: a slope of heights is dimensionless.

    Raises
    ------
    ValueError
        If an axis is uneven, or the two have different units.

    Notes
    -----
    *Laziness*: lazy; all from one pass, each image held whole. A NaN makes its four neighbours NaN.

    Examples
    --------
    >>> plane = xr.DataArray(np.add.outer([0.0, 2.0, 4.0], [0.0, 3.0]), dims=("y", "x"), attrs={"units": "m"})
    >>> found = gradient(plane)
    >>> float(found.gradient_y[0, 0]), float(found.gradient_x[0, 0])
    (2.0, 3.0)
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: slopes need one unit")
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axes[0].units, -1))
    label = da.attrs.get("long_name", da.name or "image")
    names = (f"gradient_{plane[0]}", f"gradient_{plane[1]}", "magnitude")
    labels = (f"Slope of {label} along {plane[0]}", f"Slope of {label} along {plane[1]}", f"Slope of {label}")
    outputs = {
        name: chunked.Output(floating(da.dtype), plane, attrs={"units": units, "long_name": text})
        for name, text in zip(names, labels, strict=True)
    }
    found = chunked.apply(_gradient, da, dims=[plane], outputs=outputs, kwargs={"dy": axes[0].step, "dx": axes[1].step})
    return xr.Dataset({name: part.transpose(*da.dims) for name, part in found.items()})


def _profile(values: np.ndarray, *, places: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    images = values.reshape(-1, *values.shape[-2:]).astype(float)
    lines = [map_coordinates(image, places, order=1, mode="nearest").mean(axis=0) for image in images]
    return np.array(lines).reshape(*values.shape[:-2], places.shape[-1])


def _number(value: float | str, units: str) -> float:
    return quantity(value, units) if isinstance(value, str) else float(value)


@recorded("image.profile")
def profile(
    data: xr.DataArray | xr.Dataset,
    start: Mapping[str, float | str],
    end: Mapping[str, float | str],
    *,
    variable: str | None = None,
    width: float | str = 0.0,
    points: int | None = None,
) -> xr.DataArray:
    """The values along a straight line, averaged across a width.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims of one unit; further dims broadcast.
    start, end : mapping
        The two ends by dim, in coordinate units, or text with one: ``{"y": 0, "x": "1 nm"}``.
    variable : str, optional
        Which variable of a Dataset.
    width : float or str
        Across the line, in coordinate units, or text with one.
    points : int, optional
        How many; None is one for each pixel length.

    Returns
    -------
    DataArray
        ``distance`` (from the start, in the axes' units) in place of the two dims, which become coordinates along it;
        units of the data. Bilinear interpolation.

    Raises
    ------
    ValueError
        If an end (or, with a width, a corner) lies outside the image, or the ends coincide.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. NaN touch their neighbours.

    Examples
    --------
    >>> ramp = xr.DataArray(np.add.outer(np.zeros(3), np.arange(5.0)), dims=("y", "x"))
    >>> profile(ramp, {"y": 1, "x": 0}, {"y": 1, "x": 4}).values
    array([0., 1., 2., 3., 4.])
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: a line needs one unit")
    for name, place in (("start", start), ("end", end)):
        if set(place) != set(plane):
            raise ValueError(f"{name}={place!r}: give both {plane[0]!r} and {plane[1]!r}, as a dict")
    units = axes[0].units
    begin, finish = (np.array([_number(place[d], units) for d in plane]) for place in (start, end))
    width = _number(width, units)
    length = float(np.hypot(*(finish - begin)))
    if length == 0:
        raise ValueError(f"start and end are the same point {dict(start)}")
    pixel = min(abs(axis.step) for axis in axes)
    count = points or round(length / pixel) + 1
    rows = max(1, round(width / pixel) + 1) if width else 1
    across = np.array([finish[1] - begin[1], begin[0] - finish[0]]) / length
    t = np.linspace(0, 1, count)
    line = begin[:, None] + (finish - begin)[:, None] * t
    offsets = np.linspace(-width / 2, width / 2, rows) if rows > 1 else np.zeros(1)
    places = line[:, None, :] + across[:, None, None] * offsets[None, :, None]
    index = np.stack([(place - axis.values[0]) / axis.step for place, axis in zip(places, axes, strict=True)])
    for k, axis in enumerate(axes):
        if index[k].min() < -0.5 or index[k].max() > axis.size - 0.5:
            raise ValueError(
                f"the line{' with its width' if width else ''} leaves the image along {axis.dim}, which spans "
                f"{axis.values.min():g} to {axis.values.max():g} {axis.units}"
            )
    output = chunked.Output(float, ("distance",), {"distance": count}, da.attrs)
    found = chunked.apply(_profile, da, dims=[plane], outputs={"p": output}, kwargs={"places": index})["p"]
    coords: dict[str, xr.Variable] = {
        "distance": coordinate(
            "distance", t * length, units=axes[0].units, long_name="Distance", dimension_type="spatial"
        )
    }
    for axis, values in zip(axes, line, strict=True):
        coords[axis.dim] = coordinate("distance", values, name=axis.dim, units=axis.units)
    return found.assign_coords(coords).rename(da.name)
