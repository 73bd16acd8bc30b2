"""Atoms found in an image: maxima of its Laplacian of a Gaussian.

May import numpy, xarray, scipy (inside functions), the base floor and the tables beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.processing.lattice.tables import atom_coordinate, single, table
from xpycro.provenance import recorded

__all__ = ["find_atoms"]


@recorded("lattice.find_atoms")
def find_atoms(
    data: xr.DataArray | xr.Dataset,
    width: float,
    *,
    variable: str | None = None,
    min_distance: float | None = None,
    threshold: float = 4.0,
    dark: bool = False,
    border: float | None = None,
) -> xr.Dataset:
    """Bright (or dark) spots of an image: maxima of its Laplacian of a Gaussian, to a fraction of a pixel.

    Parameters
    ----------
    data : DataArray or Dataset
        One real image over two evenly spaced spatial dims of one unit.
    width : float
        Full width at half maximum of an atom, in the axes' unit.
    variable : str, optional
        Which variable of a Dataset.
    min_distance : float, optional
        Least distance of two atoms; of two closer ones the stronger counts. None is `width`.
    threshold : float
        How many times the noise of the filtered image a maximum must exceed; also two per cent of the highest one
        (twenty where a lattice fills the image). The noise is 1.4826 times the median absolute deviation, or that of
        single pixels, from their second differences, where a lattice fills the image.
    dark : bool
        Atoms are darker than what is around them.
    border : float, optional
        Maxima nearer to the edge are left out; None is half of `width`.

    Returns
    -------
    Dataset
        Over ``atom``, strongest first: ``y``, ``x`` (named as the dims, in the axes' unit), ``height`` (of the filtered
        maximum, that of a Gaussian of this width; units of the data).

    Raises
    ------
    ValueError
        If the width is not positive or the image is a stack.

    Notes
    -----
    *Laziness*: computes the image now, since the number of atoms is the length of the result. NaN count as the mean.

    Examples
    --------
    >>> y, x = np.indices((40, 40))
    >>> image = np.exp(-((y - 12.3) ** 2 + (x - 25.7) ** 2) / 18)
    >>> found = find_atoms(xr.DataArray(image, dims=("y", "x")), 7.0)
    >>> found.y.values.round(1), found.x.values.round(1)
    (array([12.3]), array([25.7]))
    """
    from scipy import ndimage

    da, axes = single(data, variable)
    if not width > 0:
        raise ValueError(f"width={width}: must be positive, in {axes[0].units}")
    image = da.values.astype(float) * (-1.0 if dark else 1.0)
    good = np.isfinite(image)
    if not good.any():
        raise ValueError("the image has no finite value")
    mean = image[good].mean()
    image = np.where(good, image - mean, 0.0)
    steps = np.array([abs(a.step) for a in axes])
    sigma = width / 2.3548200450309493 / steps
    filtered = _filtered(image, sigma)
    least = max(_least(image, filtered, sigma, threshold), 1e-9 * float(np.ptp(image)))
    highest = ndimage.maximum_filter(filtered, 3, mode="reflect")
    edge = width / 2 if border is None else border
    inside = np.zeros(image.shape, bool)
    margin = [max(1, int(np.ceil(edge / s))) for s in steps]
    inside[margin[0] : image.shape[0] - margin[0], margin[1] : image.shape[1] - margin[1]] = True
    peak = (filtered == highest) & inside & (filtered > least) & good
    places = np.argwhere(peak)
    height = filtered[peak]
    order = np.argsort(-height, kind="stable")
    places, height = places[order], height[order]
    refined = places + _parabolas(filtered, places)
    keep = _apart(refined * steps, width if min_distance is None else min_distance)
    refined, height = refined[keep], height[keep]
    unit = str(da.attrs.get("units", "1"))
    variables = {
        axis.dim: table(axis.values[0] + axis.step * refined[:, i], axis.units, f"{axis.dim} of the atom")
        for i, axis in enumerate(axes)
    }
    variables["height"] = table(-height if dark else height, unit, "Height")
    return xr.Dataset(variables, coords={"atom": atom_coordinate(len(refined))}, attrs={"width": float(width)})


def _filtered(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The negative Laplacian of a Gaussian, of the height of a Gaussian of the same width at its top."""
    from scipy import ndimage

    # of a Gaussian of the same width the filter's maximum is half its height: hence the two
    return -2.0 * sum(
        s**2 * ndimage.gaussian_filter(image, sigma, order=[2 * (k == i) for k in range(2)], mode="reflect")
        for i, s in enumerate(sigma)
    )


def _deviation(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _least(image: np.ndarray, filtered: np.ndarray, sigma: np.ndarray, threshold: float) -> float:
    """The height that tells an atom from noise.

    Where atoms stand apart, most of the filtered image is background and its spread is the noise, whatever its
    correlation. Where a lattice fills the image its spread is the lattice: then the noise of single pixels, from
    second differences along both axes, is taken through the filter.
    """
    from scipy import ndimage

    high, noise = float(filtered.max()), _deviation(filtered)
    if threshold * noise < high / 2:
        return max(threshold * noise, 0.02 * high)
    pixels = _deviation(ndimage.convolve(image, np.outer([1, -2, 1], [1, -2, 1]) / 6.0))
    reach = [int(np.ceil(5 * s)) for s in sigma]
    impulse = np.zeros([2 * r + 1 for r in reach])
    impulse[tuple(reach)] = 1.0
    passed = pixels * float(np.linalg.norm(_filtered(impulse, sigma)))
    return max(threshold * min(noise, passed), 0.2 * high)


def _parabolas(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Maximum of the quadric through the nine pixels around each place, within half a pixel."""
    if not len(places):
        return np.zeros((0, 2))
    y, x = places.T
    v = {(i, j): image[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1)}
    gy, gx = (v[1, 0] - v[-1, 0]) / 2, (v[0, 1] - v[0, -1]) / 2
    yy, xx = v[1, 0] - 2 * v[0, 0] + v[-1, 0], v[0, 1] - 2 * v[0, 0] + v[0, -1]
    xy = (v[1, 1] - v[1, -1] - v[-1, 1] + v[-1, -1]) / 4
    determinant = yy * xx - xy**2
    safe = np.where(determinant > 0, determinant, 1.0)
    move = -np.stack([xx * gy - xy * gx, yy * gx - xy * gy], axis=-1) / safe[:, None]
    return np.clip(np.where((determinant > 0)[:, None], move, 0.0), -0.5, 0.5)


def _apart(places: np.ndarray, distance: float) -> np.ndarray:
    """Which places stay where, in the order given, none may lie closer than `distance` to one before."""
    from scipy.spatial import cKDTree

    keep = np.ones(len(places), bool)
    if len(places) < 2:
        return keep
    tree = cKDTree(places)
    for index in range(len(places)):
        if keep[index]:
            near = [k for k in tree.query_ball_point(places[index], distance * (1 - 1e-9)) if k > index]
            keep[near] = False
    return keep
